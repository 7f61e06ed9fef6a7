/**
 * Brings a clip to the loudness of a server's clips, with a ceiling for the true peak: Python's `audio/loudness.py`.
 *
 * Music with high peaks would have to stay quiet to fit under the ceiling; a look-ahead limiter lowers the peaks
 * alone, so that it reaches the target too.
 */

import type { Hertz, Seconds } from "../../units";
import type { Kernels } from "./kernels";
import { measureLoudness } from "./loudness_meter";
import { roundHalfEven } from "./rounding";
import { envelope } from "./true_peak";

/** The loudness at which streaming services play music. */
const TARGET_LUFS = -14;
/** EBU R 128's ceiling of -1 dBTP, less a margin for rounding and for differences between meters. */
const CEILING_DB = -1 - 0.1;
/** Largest gain reduction of the limiter; more would be audible. */
const MAX_REDUCTION_DB = 12;
const TOLERANCE_LU = 0.05;
const MAX_ROUNDS = 8;
/** The limiter's gain falls over this time before a peak, and starts to rise this long after it. */
const ATTACK: Seconds = 0.005;
/** Speeds in dB/s at which the gain recovers; the first that reaches the target is used. */
const RELEASES = [40, 160, 640];
const NEPERS_PER_DB = Math.LN10 / 20;
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
  const loudness = measureLoudness(waveform, sampleRate);
  const result = loudness === -Infinity ? waveform : limited(kernels, waveform, sampleRate, TARGET_LUFS - loudness, circular);
  const excess = decibels(highest(envelope(kernels, result, circular))) - CEILING_DB;
  if (excess <= 0) return result;
  const gain = 10 ** (-excess / 20);
  return result.map((value) => value * gain);
}

/** The waveform at the target loudness. The limiter lowers the loudness, so the gain is raised until the target is met. */
function limited(
  kernels: Kernels, waveform: Float32Array<ArrayBuffer>, sampleRate: Hertz, firstGain: number, circular: boolean,
): Float32Array<ArrayBuffer> {
  const peaks = new Float64Array(envelope(kernels, waveform, circular));
  for (let i = 0; i < peaks.length; i++) peaks[i] = decibels(Math.max(peaks[i]!, 1e-12));
  const highestGain = CEILING_DB + MAX_REDUCTION_DB - highest(peaks);
  const limiter = new Limiter(waveform.length, Math.max(1, roundHalfEven(ATTACK * sampleRate)), circular);
  const result = new Float32Array(waveform.length);
  let gain = firstGain;
  for (const release of RELEASES) {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      gain = Math.min(gain, highestGain);
      const reduction = limiter.reduction(peaks, gain - CEILING_DB, release / sampleRate);
      for (let i = 0; i < result.length; i++) result[i] = waveform[i]! * Math.exp((gain - reduction[i]!) * NEPERS_PER_DB);
      const missing = TARGET_LUFS - measureLoudness(result, sampleRate);
      if (Math.abs(missing) < TOLERANCE_LU) return result;
      if (missing > 0 && gain === highestGain) break;
      gain += 1.5 * missing; // more than is missing, as the limiter takes part of it
    }
  }
  return result;
}

/** Smooth gain reductions of clips of one length. */
class Limiter {
  /** The reductions' running maximum, with half a window of silence on either side. */
  private readonly held: Float64Array;
  /** Maxima of the windows around each sample, with half a window on either side. */
  private readonly ahead: Float64Array;
  private readonly smooth: Float64Array;
  private readonly candidates: Int32Array;
  private readonly cos: Float64Array;
  private readonly sin: Float64Array;

  /** @param half samples of the attack: windows have twice as many and one more */
  constructor(private readonly length: number, private readonly half: number, private readonly circular: boolean) {
    this.held = new Float64Array(length + 2 * half);
    this.ahead = new Float64Array(length + 2 * half);
    this.smooth = new Float64Array(length);
    this.candidates = new Int32Array(length + 2 * half);
    const period = 2 * half + 2;
    this.cos = Float64Array.from({ length: period }, (_, i) => Math.cos((2 * Math.PI * i) / period));
    this.sin = Float64Array.from({ length: period }, (_, i) => Math.sin((2 * Math.PI * i) / period));
  }

  /**
   * A smooth reduction in dB that is at least `peaks + gain` at every sample; it is overwritten by the next call.
   *
   * @param gain in dB, relative to the ceiling
   * @param slope fall of the reduction after a peak, in dB per sample
   */
  reduction(peaks: Float64Array, gain: number, slope: number): Float64Array {
    const { length, half, held, smooth } = this;
    let level = 0;
    // A loop is processed twice, so that the second time starts from the end of the first.
    for (let round = this.circular ? 0 : 1; round < 2; round++) {
      for (let i = 0; i < length; i++) {
        level = Math.max(peaks[i]! + gain, level - slope, 0);
        held[half + i] = level;
      }
    }
    if (this.circular) wrapAround(held, half, length);
    this.lookAhead();
    this.smoothen();
    for (let i = 0; i < length; i++) smooth[i] = Math.max(smooth[i]!, peaks[i]! + gain, 0); // the sums round
    return smooth;
  }

  /** The maximum over one attack time on either side; beyond the ends its first and last value, or those of a loop. */
  private lookAhead(): void {
    const { length, half, held, ahead, candidates } = this;
    let [first, end] = [0, 0]; // samples that may be the maximum of a later window, the largest first
    for (let i = 0; i < held.length; i++) {
      while (end > first && held[candidates[end - 1]!]! <= held[i]!) end--;
      candidates[end++] = i;
      if (candidates[first]! < i - 2 * half) first++;
      if (i >= 2 * half) ahead[i - half] = held[candidates[first]!]!;
    }
    if (this.circular) return wrapAround(ahead, half, length);
    ahead.fill(ahead[half]!, 0, half);
    ahead.fill(ahead[half + length - 1]!, half + length);
  }

  /**
   * The mean under a Hann window, (1 - cos(2π j / period)) / period for j = 1 to period - 1. With
   * cos(m - n) = cos m cos n + sin m sin n it follows from three running sums.
   */
  private smoothen(): void {
    const { half, ahead, smooth, cos, sin } = this;
    const period = 2 * half + 2;
    let [sum, cosSum, sinSum] = [0, 0, 0];
    for (let m = 0, turn = 0; m < ahead.length; m++) {
      const oldest = m - 2 * half - 1;
      if (oldest >= 0) {
        const gone = ahead[oldest]!;
        const at = (turn + 1) % period; // period - 1 samples earlier
        sum -= gone;
        cosSum -= gone * cos[at]!;
        sinSum -= gone * sin[at]!;
      }
      sum += ahead[m]!;
      cosSum += ahead[m]! * cos[turn]!;
      sinSum += ahead[m]! * sin[turn]!;
      const n = m - 2 * half;
      if (n >= 0) {
        const at = (((n - 1) % period) + period) % period;
        smooth[n] = (sum - cosSum * cos[at]! - sinSum * sin[at]!) / period;
      }
      turn = turn + 1 === period ? 0 : turn + 1;
    }
  }
}

/** Fills `half` values on either side of `length` values with those of a loop. */
function wrapAround(values: Float64Array, half: number, length: number): void {
  for (let i = 0; i < half; i++) {
    values[half - 1 - i] = values[half + length - 1 - (i % length)]!;
    values[half + length + i] = values[half + (i % length)]!;
  }
}

function decibels(value: number): number {
  return 20 * Math.log10(value);
}

function highest(values: Float32Array | Float64Array): number {
  let most = -Infinity;
  for (const value of values) if (value > most) most = value;
  return most;
}
