/**
 * Start times of clips on the audio clock.
 *
 * A clip is a loop. One pass through it is a round. The loop repeats until the next clip takes over, which
 * happens only at the end of a round. So the beat continues even if the network fails.
 */

import type { Seconds } from "../units";

/** A loop that is playing or scheduled. */
export interface PlayingLoop {
  readonly start: Seconds;
  readonly duration: Seconds;
}

/** A take-over must be scheduled at least this long ahead, so that it is not missed. */
export const LEAD: Seconds = 0.08;
/**
 * A take-over is scheduled when it is less than this far away. Timers of hidden pages fire once per second,
 * so there are at least two chances. A later decision lets the user change the next clip for longer.
 */
export const HORIZON: Seconds = 2.5;
/** Seconds or rounds, for rounding errors of divisions; far below one sample. */
const TOLERANCE = 1e-6;

/** The first end of a round at or after `earliest`. A loop plays at least one round. */
export function boundaryAfter(loop: PlayingLoop, earliest: Seconds): Seconds {
  const rounds = Math.ceil((earliest - loop.start) / loop.duration - TOLERANCE);
  return loop.start + Math.max(1, rounds) * loop.duration;
}

/** The time at which a ready clip takes over, or null if it need not be scheduled yet. */
export function takeOverTime(loop: PlayingLoop, now: Seconds): Seconds | null {
  const boundary = boundaryAfter(loop, now + LEAD);
  return boundary - now <= HORIZON ? boundary : null;
}

/** Number of rounds that have begun at `now`; 0 before the first. */
export function roundsBegun(loop: PlayingLoop, now: Seconds): number {
  return Math.max(0, Math.floor((now - loop.start) / loop.duration + TOLERANCE) + 1);
}

/** `time` rounded to the nearest sample. */
export function onSample(time: Seconds, sampleRate: number): Seconds {
  return Math.round(time * sampleRate) / sampleRate;
}
