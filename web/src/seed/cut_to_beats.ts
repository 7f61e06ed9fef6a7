/** Cuts a recording to a whole number of beats, so that it can be looped. */

import { USUAL_DURATION } from "../jam/clip";
import type { Bpm, Hertz, Seconds } from "../units";
import { findTempo } from "./tempo";

/** A loop cut from a recording. */
export interface BeatLoop {
  readonly samples: Float32Array;
  /** null if no tempo was found; the loop is then as long as a clip. */
  readonly tempo: Bpm | null;
  readonly beats: number | null;
}

/** A seed loop is at most as long as a clip. */
const MAX_DURATION = USUAL_DURATION;
/** Half a frame of a spectrogram: a file with a loop of 8 beats is often a few samples too short. */
const TOLERANCE: Seconds = 0.005;
/** Length of the crossfade from the end of the loop to its start. */
const SEAM: Seconds = 0.03;
/** Shorter loops leave too little time to make the next clip. */
const MIN_DURATION: Seconds = 1;
/** Amplitudes below this are silence: -60 dBFS. */
const SILENCE = 1e-3;
/** Length of one frame of the server's spectrograms. Loops have whole frames, as any remainder would add one more frame. */
const FRAME: Seconds = 0.01;
/** Beats per bar. Whole bars are preferred to a longer loop. */
const BEATS_PER_BAR = 4;

/**
 * The longest loop of whole bars from the first beat, or of whole beats if it is shorter than a bar.
 *
 * @param samples mono, in [-1, 1]
 */
export function cutToBeats(samples: Float32Array, sampleRate: Hertz): BeatLoop {
  const estimate = findTempo(samples, sampleRate);
  const duration = samples.length / sampleRate;
  if (estimate === null) {
    return { samples: loopFrom(samples, 0, Math.min(duration, MAX_DURATION), sampleRate), tempo: null, beats: null };
  }
  const beat = 60 / estimate.tempo;
  const fits = (start: Seconds): number => Math.floor((Math.min(MAX_DURATION, duration - start) + TOLERANCE) / beat);
  const start = fits(estimate.firstBeat) >= fits(0) ? estimate.firstBeat : 0;
  const available = Math.max(1, fits(start));
  const beats = available > BEATS_PER_BAR ? available - (available % BEATS_PER_BAR) : available;
  return { samples: loopFrom(samples, start, beats * beat, sampleRate), tempo: estimate.tempo, beats };
}

/** Why a recording cannot be a loop and what to do, as the end of a sentence; null if it can. */
export function whyNoLoop(samples: Float32Array, sampleRate: Hertz): string | null {
  const duration = samples.length / sampleRate;
  if (duration < MIN_DURATION) return `lasts ${duration.toFixed(1)} s; choose a file of at least ${MIN_DURATION} s.`;
  if (samples.every((sample) => Math.abs(sample) < SILENCE)) {
    return `is silent for its first ${Math.round(duration)} s; choose a file that starts earlier.`;
  }
  return null;
}

/** A section as a loop, if it is as long as one may be; otherwise what to do, for the user. */
export function loopOfSection(samples: Float32Array, start: Seconds, duration: Seconds, sampleRate: Hertz): Float32Array | { readonly problem: string } {
  if (duration < MIN_DURATION || duration > MAX_DURATION + TOLERANCE) {
    return { problem: `The section lasts ${duration.toFixed(2)} s; mark ${MIN_DURATION} to ${MAX_DURATION} s for a seed loop.` };
  }
  return loopFrom(samples, start, duration, sampleRate);
}

/** Cuts a loop. The audio after its end is crossfaded into its start, so the repeat is seamless. */
function loopFrom(samples: Float32Array, start: Seconds, duration: Seconds, sampleRate: Hertz): Float32Array {
  const first = Math.round(start * sampleRate);
  const whole = Math.round(duration / FRAME) * FRAME;
  const length = Math.min(Math.round(whole * sampleRate), samples.length - first);
  const loop = samples.slice(first, first + length);
  const rest = samples.subarray(first + length, first + length + Math.round(SEAM * sampleRate));
  for (let i = 0; i < Math.min(rest.length, length); i++) {
    const weight = Math.sin((Math.PI / 2) * (i / rest.length)) ** 2;
    loop[i] = weight * (loop[i] ?? 0) + (1 - weight) * (rest[i] ?? 0);
  }
  return loop;
}
