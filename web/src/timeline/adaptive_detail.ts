/** Lowers the detail of the timeline when rendering is too slow, and raises it again when rendering has become fast. */

import type { Milliseconds } from "../units";

/** One level of detail. */
export interface Detail {
  /** Grid cells of the height map of a clip, along time and along pitch. */
  readonly columns: number;
  readonly rows: number;
  /** Largest number of device pixels per CSS pixel. */
  readonly pixelRatio: number;
  /** Whether only some frames are drawn: see `FramePace`. */
  readonly isSparse: boolean;
  /** If the median frame takes longer than this, the detail is lowered. */
  readonly slow: Milliseconds;
  /** If it takes at most this for a while, more detail is tried. */
  readonly fast: Milliseconds;
}

const SLOW: Milliseconds = 1000 / 45;
/** Only software rendering takes this long. The same CPU then probably makes the clips, so rendering must use less of it. */
const SOFTWARE_RENDERING: Milliseconds = 100;
/** A sparse frame is seen to be finished when a later frame begins, on any GPU: after one or two sixtieths of a second. */
const FAST_SPARSE: Milliseconds = 40;

export const DETAILS: readonly [Detail, ...Detail[]] = [
  { columns: 320, rows: 192, pixelRatio: 2, isSparse: false, slow: SLOW, fast: SLOW },
  { columns: 192, rows: 128, pixelRatio: 1.5, isSparse: false, slow: SLOW, fast: SLOW },
  { columns: 128, rows: 96, pixelRatio: 1, isSparse: false, slow: SLOW, fast: SLOW },
  { columns: 64, rows: 64, pixelRatio: 0.6, isSparse: false, slow: SOFTWARE_RENDERING, fast: SLOW },
  { columns: 40, rows: 32, pixelRatio: 0.6, isSparse: true, slow: Infinity, fast: FAST_SPARSE },
];
const LOWEST = DETAILS.length - 1;

/** If frames take longer than this, the lowest detail is used at once. */
const VERY_SLOW: Milliseconds = 200;
/** Longer frames are ignored, and longer times between two count as this: the page was in the background. */
const PAUSE: Milliseconds = 5000;
/** The median is taken over this many frames, or over at least `MIN_FRAMES` in at least `MIN_TIME`. */
const MAX_FRAMES = 45;
const MIN_FRAMES = 4;
const MIN_TIME: Milliseconds = 1500;
/** Frames must be fast for so long before more detail is tried. After a failed trial, it is four times as long. */
const FIRST_PATIENCE: Milliseconds = 10_000;
const IMPATIENCE = 4;
const MAX_PATIENCE: Milliseconds = 640_000;

export class AdaptiveDetail {
  private level: number;
  private frames: Milliseconds[] = [];
  private time: Milliseconds = 0;
  /** Time for which all medians were fast. */
  private fastFor: Milliseconds = 0;
  private patience = FIRST_PATIENCE;
  private isTrial = false;

  /** @param isSoftware whether the processor renders; then the detail is always the lowest */
  constructor(private readonly isSoftware = false) {
    this.level = isSoftware ? LOWEST : 0;
  }

  get detail(): Detail {
    return DETAILS[this.level] ?? DETAILS[0];
  }

  /**
   * Adds the duration of a frame. Returns true if the detail has changed.
   *
   * @param elapsed time since the frame before, which is longer if only some frames are drawn
   */
  add(duration: Milliseconds, elapsed: Milliseconds = duration): boolean {
    if (this.isSoftware || duration > PAUSE) return false;
    this.frames.push(duration);
    this.time += Math.min(elapsed, PAUSE);
    const { length } = this.frames;
    if (length < MAX_FRAMES && (length < MIN_FRAMES || this.time < MIN_TIME)) return false;
    const median = this.frames.sort((a, b) => a - b)[length >> 1] ?? 0;
    this.fastFor = median <= this.detail.fast ? this.fastFor + this.time : 0;
    this.frames = [];
    this.time = 0;
    if (median > this.detail.slow) return this.lower(median);
    return this.fastFor >= this.patience && this.raise();
  }

  private lower(median: Milliseconds): true {
    if (this.isTrial) this.patience = Math.min(MAX_PATIENCE, IMPATIENCE * this.patience);
    this.isTrial = false;
    this.level = median > VERY_SLOW ? LOWEST : this.level + 1;
    return true;
  }

  /** Tries the next higher detail. The one that was tried before has proved itself. */
  private raise(): boolean {
    if (this.isTrial) this.patience = FIRST_PATIENCE;
    this.isTrial = this.level > 0;
    this.fastFor = 0;
    if (this.level === 0) return false;
    this.level--;
    return true;
  }
}
