/**
 * Finds the beats of a recording, so that edits can snap to them.
 *
 * The tempo is found first; then the beats are the sequence of onsets that is strongest and most even: D. P. W.
 * Ellis, "Beat tracking by dynamic programming", JNMR 36, 2007. Its beats follow a tempo that drifts.
 */

import { onsetStrength, tempoOf } from "../seed/tempo";
import type { Bpm, Hertz, Seconds } from "../units";

export interface BeatGrid {
  readonly tempo: Bpm;
  /** In ascending order, from the start to the end of the recording. */
  readonly beats: readonly Seconds[];
}

/** Length of one frame of the onset strength. */
const FRAME: Seconds = 0.01;
/** Weight of evenness against strength; Ellis's `tightness` for a strength whose standard deviation is 1. */
const TIGHTNESS = 100;

/**
 * The beats, or null if no beat is found.
 *
 * @param samples mono, in [-1, 1]
 */
export function findBeats(samples: Float32Array, sampleRate: Hertz): BeatGrid | null {
  const strength = onsetStrength(samples, sampleRate);
  const estimate = tempoOf(strength);
  if (estimate === null) return null;
  const hop = Math.round(FRAME * sampleRate) / sampleRate;
  const period = 60 / estimate.tempo / hop;
  const frames = beatFrames(normalized(strength), period);
  const beats = frames.map((frame) => frame * hop);
  return { tempo: estimate.tempo, beats: extended(beats, 60 / estimate.tempo, samples.length / sampleRate) };
}

/** Means of `factor` samples each: what they lose in high frequencies isn't heard as a beat. */
export function decimated(samples: Float32Array, factor: number): Float32Array {
  if (factor <= 1) return samples;
  const result = new Float32Array(Math.floor(samples.length / factor));
  for (let i = 0; i < result.length; i++) {
    let sum = 0;
    for (let k = 0; k < factor; k++) sum += samples[i * factor + k] ?? 0;
    result[i] = sum / factor;
  }
  return result;
}

/**
 * The frames of the best sequence of beats.
 *
 * The score of a frame is its strength plus the best score of a frame about one period before; the logarithm of
 * the ratio of their distance to the period is penalized. The best last beat is followed back to the first one.
 */
export function beatFrames(strength: Float64Array, period: number): number[] {
  const length = strength.length;
  const scores = new Float64Array(length);
  const before = new Int32Array(length).fill(-1);
  const [nearest, farthest] = [Math.max(1, Math.round(period / 2)), Math.round(2 * period)];
  const penalties = Float64Array.from({ length: farthest + 1 }, (_, lag) => -TIGHTNESS * Math.log(Math.max(1, lag) / period) ** 2);
  for (let frame = 0; frame < length; frame++) {
    let best = 0; // a beat may also be the first one
    for (let lag = nearest; lag <= farthest && lag <= frame; lag++) {
      const score = (scores[frame - lag] ?? 0) + (penalties[lag] ?? 0);
      if (score > best) [best, before[frame]] = [score, frame - lag];
    }
    scores[frame] = (strength[frame] ?? 0) + best;
  }
  let last = Math.max(0, length - 1);
  for (let frame = Math.max(0, length - Math.round(period)); frame < length; frame++) {
    if ((scores[frame] ?? 0) > (scores[last] ?? 0)) last = frame;
  }
  const frames: number[] = [];
  for (let frame = last; frame >= 0; frame = before[frame] ?? -1) frames.unshift(frame);
  return frames;
}

/** Strength with a standard deviation of 1. */
function normalized(strength: Float64Array): Float64Array {
  const mean = strength.reduce((sum, value) => sum + value, 0) / Math.max(1, strength.length);
  const variance = strength.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, strength.length);
  const deviation = Math.sqrt(variance) || 1;
  return strength.map((value) => value / deviation);
}

/** Continues the beats evenly to both ends of the recording: a quiet start or end has a grid, too. */
function extended(beats: readonly Seconds[], period: Seconds, duration: Seconds): Seconds[] {
  const [first, last] = [beats[0] ?? 0, beats.at(-1) ?? 0];
  const result = [...beats];
  for (let beat = first - period; beat >= 0; beat -= period) result.unshift(beat);
  for (let beat = last + period; beat <= duration; beat += period) result.push(beat);
  return result;
}
