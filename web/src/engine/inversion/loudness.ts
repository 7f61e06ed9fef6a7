/**
 * Brings a clip to the loudness of a server's clips, with a ceiling for the true peak: Python's `audio/loudness.py`.
 *
 * Music with high peaks would have to stay quiet to fit under the ceiling; a look-ahead limiter lowers the peaks
 * alone, so that it reaches the target too.
 */

import type { Hertz } from "../../units";
import type { Kernels } from "./kernels";
import { Limiter } from "./limiter";
import { gatedLoudness, measureLoudness, weightedPowers } from "./loudness_meter";
import { envelope } from "./true_peak";

/** The loudness at which streaming services play music. */
const TARGET_LUFS = -14;
/** EBU R 128's ceiling of -1 dBTP, less a margin for rounding and for differences between meters. */
const CEILING_DB = -1 - 0.1;
const TOLERANCE_LU = 0.05;
const MAX_ATTEMPTS = 6;
/** Lowest rate with room for BS.1770's high shelf. */
const LOWEST_RATE: Hertz = 8000;

/**
 * A clip at the target loudness, its true peak under the ceiling. Silence stays silent, and a clip that would need more
 * than 12 dB of limiting stays quieter.
 *
 * @param waveform mono; values may exceed full scale, [-1, 1]
 * @param circular whether the clip is a loop; the limiter then wraps around its ends, which leaves no seam
 * @throws RangeError for a sample rate below 8 kHz
 */
export function normalized(
  kernels: Kernels, waveform: Float32Array<ArrayBuffer>, sampleRate: Hertz, circular = false,
): Float32Array<ArrayBuffer> {
  if (sampleRate < LOWEST_RATE) {
    const remedy = "use a checkpoint with a higher one";
    throw new RangeError(`sample_rate=${sampleRate} must be at least ${LOWEST_RATE} to measure the loudness; ${remedy}`);
  }
  const powers = weightedPowers(waveform, sampleRate);
  let result = waveform;
  if (gatedLoudness(powers, sampleRate) > -Infinity) {
    const peaks = envelope(kernels, waveform, circular);
    const means = meansOfRepetitions(powers, waveform.length);
    result = limited(waveform, sampleRate, new Limiter(peaks, means, sampleRate, CEILING_DB, circular));
  }
  const excess = decibels(highest(envelope(kernels, result, circular))) - CEILING_DB;
  if (excess <= 0) return result;
  const gain = 10 ** (-excess / 20);
  return result.map((value) => value * gain);
}

/**
 * The waveform at the target loudness, with its peaks at or under about the ceiling. The limiter's prediction is compared
 * with the meter; the nearest of a few attempts is returned.
 */
function limited(waveform: Float32Array<ArrayBuffer>, sampleRate: Hertz, limiter: Limiter): Float32Array<ArrayBuffer> {
  let [aim, nearest, least] = [TARGET_LUFS, waveform, Infinity];
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const { gains, reached } = limiter.gains(aim);
    const result = limiter.applied(gains, waveform);
    const missing = TARGET_LUFS - measureLoudness(result, sampleRate);
    if (attempt === 0 || Math.abs(missing) < least) [nearest, least] = [result, Math.abs(missing)];
    if (!reached || least < TOLERANCE_LU || !Number.isFinite(missing)) break;
    aim += missing;
  }
  return nearest;
}

/** Means over the repetitions of a clip that is shorter than a block. */
function meansOfRepetitions(powers: Float64Array, length: number): Float64Array {
  const share = length / powers.length;
  const means = new Float64Array(length);
  for (let i = 0; i < powers.length; i++) means[i % length]! += powers[i]! * share;
  return means;
}

function decibels(value: number): number {
  return 20 * Math.log10(value);
}

function highest(values: Float32Array | Float64Array): number {
  let most = -Infinity;
  for (const value of values) if (value > most) most = value;
  return most;
}
