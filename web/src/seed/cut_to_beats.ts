/** Cuts a recording to whole beats, so that it loops. */

import type { Bpm, Hertz, Seconds } from "../units";
import { findTempo } from "./tempo";

/** A loop cut out of a recording. */
export interface Cut {
  readonly samples: Float32Array;
  /** null where no pulse was found, and the loop is as long as a clip. */
  readonly tempo: Bpm | null;
  readonly beats: number | null;
}

/** As long as the clips that the published checkpoint makes. */
const LONGEST: Seconds = 5.12;
/** Half a column of a spectrogram: a loop of 8 beats is often some samples short of them. */
const TOLERANCE: Seconds = 0.005;
const SEAM: Seconds = 0.03;
/** A jam needs more time than that for its next clip. */
const SHORTEST: Seconds = 1;
/** Amplitudes below are silence: -60 dBFS. */
const SILENCE = 1e-3;
/** Loops are as long as whole columns of the server's image: any more would become a further column. */
const COLUMN: Seconds = 0.01;
/** Whole bars are better than more beats. */
const BAR = 4;

/**
 * The longest loop of whole bars, or of whole beats if there is no bar in it, from the first beat on.
 *
 * @param samples mono, in [-1, 1]
 */
export function cutToBeats(samples: Float32Array, sampleRate: Hertz): Cut {
  const pulse = findTempo(samples, sampleRate);
  const duration = samples.length / sampleRate;
  if (pulse === null) {
    return { samples: loopFrom(samples, 0, Math.min(duration, LONGEST), sampleRate), tempo: null, beats: null };
  }
  const beat = 60 / pulse.tempo;
  const fits = (start: Seconds): number => Math.floor((Math.min(LONGEST, duration - start) + TOLERANCE) / beat);
  const start = fits(pulse.firstBeat) >= fits(0) ? pulse.firstBeat : 0;
  const available = Math.max(1, fits(start));
  const beats = available > BAR ? available - (available % BAR) : available;
  return { samples: loopFrom(samples, start, beats * beat, sampleRate), tempo: pulse.tempo, beats };
}

/** What keeps a recording from being a loop, and what to do, as the end of a sentence; null if it can be one. */
export function whyNoLoop(samples: Float32Array, sampleRate: Hertz): string | null {
  const duration = samples.length / sampleRate;
  if (duration < SHORTEST) return `lasts ${duration.toFixed(1)} s; choose a sound of at least ${SHORTEST} s.`;
  if (samples.every((sample) => Math.abs(sample) < SILENCE)) {
    return `is silent for its first ${Math.round(duration)} s; choose a sound that begins earlier.`;
  }
  return null;
}

/** A part that goes on as the recording did when it starts again: what follows is crossfaded into its start. */
function loopFrom(samples: Float32Array, start: Seconds, duration: Seconds, sampleRate: Hertz): Float32Array {
  const first = Math.round(start * sampleRate);
  const whole = Math.round(duration / COLUMN) * COLUMN;
  const length = Math.min(Math.round(whole * sampleRate), samples.length - first);
  const loop = samples.slice(first, first + length);
  const rest = samples.subarray(first + length, first + length + Math.round(SEAM * sampleRate));
  for (let i = 0; i < Math.min(rest.length, length); i++) {
    const weight = Math.sin((Math.PI / 2) * (i / rest.length)) ** 2;
    loop[i] = weight * (loop[i] ?? 0) + (1 - weight) * (rest[i] ?? 0);
  }
  return loop;
}
