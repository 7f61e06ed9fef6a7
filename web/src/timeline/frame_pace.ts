/**
 * How far apart frames are where rendering is slow. The processor then renders, and probably makes the clips as well, so
 * rendering may take only a share of the time, and hardly any while the music waits for clips.
 */

import type { Milliseconds } from "../units";

/** moving: the user moves the view, or an image has arrived; late: the next clip is late; usual: neither */
export type Situation = "moving" | "usual" | "late";

interface Pace {
  /** Time between two frames, as a multiple of the time that one takes. */
  readonly multiple: number;
  readonly min: Milliseconds;
  readonly max: Milliseconds;
}

const PACES: Readonly<Record<Situation, Pace>> = {
  moving: { multiple: 2, min: 80, max: 500 },
  usual: { multiple: 5, min: 240, max: 2000 },
  late: { multiple: 25, min: 1000, max: 5000 },
};
/** The median is taken over so many of the last frames. */
const NUM_RECENT = 5;

export class FramePace {
  private recent: Milliseconds[] = [];

  /** Adds the time that a frame took, until the GPU had finished it. */
  add(cost: Milliseconds): void {
    this.recent = [...this.recent, cost].slice(-NUM_RECENT);
  }

  /** Shortest time from the start of a frame to that of the next one. */
  interval(situation: Situation): Milliseconds {
    const { multiple, min, max } = PACES[situation];
    const sorted = [...this.recent].sort((a, b) => a - b);
    const cost = sorted[sorted.length >> 1] ?? 0;
    return Math.min(max, Math.max(min, multiple * cost));
  }
}
