/** Lowers the timeline's detail where it is drawn too slowly, and in the end how often it is drawn. */

import type { Milliseconds } from "../units";

/** How finely the timeline is drawn. */
export interface Detail {
  /** Of a clip's height map, along time and along pitch. */
  readonly columns: number;
  readonly rows: number;
  /** The most pixels for one of the page's. */
  readonly pixelRatio: number;
  /** From one frame to the next, at least. */
  readonly interval: Milliseconds;
  /** Where a frame takes longer, there is to be less. */
  readonly slow: Milliseconds;
}

const SLOW: Milliseconds = 1000 / 45;
/** So long takes only a processor that draws by itself, and then it makes the music, too: it needs a rest. */
const UNAIDED: Milliseconds = 100;

export const DETAILS: readonly [Detail, ...Detail[]] = [
  { columns: 320, rows: 192, pixelRatio: 2, interval: 0, slow: SLOW },
  { columns: 192, rows: 128, pixelRatio: 1.5, interval: 0, slow: SLOW },
  { columns: 128, rows: 96, pixelRatio: 1, interval: 0, slow: SLOW },
  { columns: 64, rows: 64, pixelRatio: 0.6, interval: 0, slow: UNAIDED },
  { columns: 40, rows: 32, pixelRatio: 0.6, interval: 240, slow: Infinity },
];

/** Slower, and it isn't tried how much less would do. */
const HOPELESS: Milliseconds = 200;
/** A frame that took longer was none: the page was in the background. */
const PAUSE: Milliseconds = 5000;
/** So many frames are judged at once, or as many as there were in a while. */
const FRAMES_TO_JUDGE = 45;
const FEWEST_FRAMES = 4;
const WHILE: Milliseconds = 1500;

export class AdaptiveDetail {
  private level = 0;
  private frames: Milliseconds[] = [];

  get detail(): Detail {
    return DETAILS[this.level] ?? DETAILS[0];
  }

  /** Notes how long a frame took; true if the detail is another from now on. */
  note(duration: Milliseconds): boolean {
    if (duration > PAUSE) return false;
    this.frames.push(duration);
    const { length } = this.frames;
    const total = this.frames.reduce((sum, frame) => sum + frame, 0);
    if (length < FRAMES_TO_JUDGE && (length < FEWEST_FRAMES || total < WHILE)) return false;
    const median = this.frames.sort((a, b) => a - b)[length >> 1] ?? 0;
    this.frames = [];
    if (median <= this.detail.slow) return false;
    this.level = median > HOPELESS ? DETAILS.length - 1 : this.level + 1;
    return true;
  }
}
