/** Lowers the detail of the timeline, and finally its frame rate, when rendering is too slow. */

import type { Milliseconds } from "../units";

/** One level of detail. */
export interface Detail {
  /** Grid cells of the height map of a clip, along time and along pitch. */
  readonly columns: number;
  readonly rows: number;
  /** Largest number of device pixels per CSS pixel. */
  readonly pixelRatio: number;
  /** Shortest time between two rendered frames. */
  readonly interval: Milliseconds;
  /** If the median frame takes longer than this, the detail is lowered. */
  readonly slow: Milliseconds;
}

const SLOW: Milliseconds = 1000 / 45;
/** Only software rendering takes this long. The same CPU then probably makes the clips, so rendering must use less of it. */
const SOFTWARE_RENDERING: Milliseconds = 100;

export const DETAILS: readonly [Detail, ...Detail[]] = [
  { columns: 320, rows: 192, pixelRatio: 2, interval: 0, slow: SLOW },
  { columns: 192, rows: 128, pixelRatio: 1.5, interval: 0, slow: SLOW },
  { columns: 128, rows: 96, pixelRatio: 1, interval: 0, slow: SLOW },
  { columns: 64, rows: 64, pixelRatio: 0.6, interval: 0, slow: SOFTWARE_RENDERING },
  { columns: 40, rows: 32, pixelRatio: 0.6, interval: 240, slow: Infinity },
];

/** If frames take longer than this, the lowest detail is used at once. */
const VERY_SLOW: Milliseconds = 200;
/** Longer frames are ignored: the page was in the background. */
const PAUSE: Milliseconds = 5000;
/** The median is taken over this many frames, or over at least `MIN_FRAMES` that took `MIN_TIME` together. */
const MAX_FRAMES = 45;
const MIN_FRAMES = 4;
const MIN_TIME: Milliseconds = 1500;

export class AdaptiveDetail {
  private level = 0;
  private frames: Milliseconds[] = [];

  get detail(): Detail {
    return DETAILS[this.level] ?? DETAILS[0];
  }

  /** Adds the duration of a frame. Returns true if the detail has changed. */
  add(duration: Milliseconds): boolean {
    if (duration > PAUSE) return false;
    this.frames.push(duration);
    const { length } = this.frames;
    const total = this.frames.reduce((sum, frame) => sum + frame, 0);
    if (length < MAX_FRAMES && (length < MIN_FRAMES || total < MIN_TIME)) return false;
    const median = this.frames.sort((a, b) => a - b)[length >> 1] ?? 0;
    this.frames = [];
    if (median <= this.detail.slow) return false;
    this.level = median > VERY_SLOW ? DETAILS.length - 1 : this.level + 1;
    return true;
  }
}
