/**
 * When clips begin, on the audio clock.
 *
 * A clip is a loop. It plays round after round until the next one takes over, and that happens only at
 * the end of a round: then the beat goes on, whatever happens to the network meanwhile.
 */

import type { Seconds } from "../units";

/** A loop that sounds, or is about to. */
export interface PlayingLoop {
  readonly start: Seconds;
  readonly duration: Seconds;
}

/** A take-over must be ordered so long before it, to be sure to happen. */
export const LEAD: Seconds = 0.08;
/**
 * A take-over is ordered when it is nearer than that. Timers of hidden pages fire once a second, so
 * there are two chances; the later it is ordered, the longer it can be something else.
 */
export const HORIZON: Seconds = 2.5;
/** Rounding of times on the way through divisions: far below a sample. */
const TOLERANCE = 1e-6;

/** The first end of a round at or after `earliest`; a loop is heard at least once. */
export function boundaryAfter(loop: PlayingLoop, earliest: Seconds): Seconds {
  const rounds = Math.ceil((earliest - loop.start) / loop.duration - TOLERANCE);
  return loop.start + Math.max(1, rounds) * loop.duration;
}

/** When a clip that is ready takes over, or null if that needs no decision yet. */
export function takeOverTime(loop: PlayingLoop, now: Seconds): Seconds | null {
  const boundary = boundaryAfter(loop, now + LEAD);
  return boundary - now <= HORIZON ? boundary : null;
}

/** How many rounds have begun at `now`; 0 before the first. */
export function roundsBegun(loop: PlayingLoop, now: Seconds): number {
  return Math.max(0, Math.floor((now - loop.start) / loop.duration + TOLERANCE) + 1);
}

/** `time` on the nearest sample, where starts are exact. */
export function onSample(time: Seconds, sampleRate: number): Seconds {
  return Math.round(time * sampleRate) / sampleRate;
}
