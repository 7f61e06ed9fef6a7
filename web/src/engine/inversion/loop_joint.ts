/** Where a loop's end meets its start, as in Python's `spectrogram/inversion/loop_joint.py`, which says why. */

import type { Hertz, Seconds } from "../../units";
import { roundHalfEven } from "./rounding";

/** Largest change from the last frame to the first, relative to the louder one. */
const MAX_CHANGE = 0.5;
/** Time after the joint in which the end fades out. */
const SMOOTHED: Seconds = 0.003;

/**
 * Whether a spectrogram's first frame can follow its last one.
 *
 * @param amplitudes frame by frame, `numBands` of each
 */
export function continuesAtStart(amplitudes: Float32Array, numBands: number): boolean {
  const first = amplitudes.subarray(0, numBands);
  const last = amplitudes.subarray(amplitudes.length - numBands);
  const change = norm(first.map((value, band) => value - last[band]!));
  return change <= MAX_CHANGE * Math.max(norm(first), norm(last));
}

/** Changes the first 3 ms of a mono clip, so that they follow its end without a click. */
export function smoothJoint(waveform: Float32Array, sampleRate: Hertz): void {
  const numSamples = waveform.length;
  const length = Math.min(roundHalfEven(SMOOTHED * sampleRate), Math.floor(numSamples / 2));
  const last = waveform[numSamples - 1]!;
  for (let i = 0; i < length; i++) {
    const rise = Math.sin((Math.PI / 2) * ((i + 0.5) / length)) ** 2;
    const continued = 2 * last - waveform[numSamples - 2 - i]!;
    waveform[i] = waveform[i]! * rise + continued * (1 - rise);
  }
}

function norm(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}
