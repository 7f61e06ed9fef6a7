/** A look-ahead limiter, whose gains are computed in steps of about a tenth of a millisecond: Python's `audio/limiter.py`. */

import type { Hertz, Seconds } from "../../units";
import { ABSOLUTE_GATE_LUFS, gatedLoudness } from "./loudness_meter";
import { roundHalfEven } from "./rounding";

/** Fewest steps per second, at rates that have as many samples. Gains are linear between two edges. */
const STEP_RATE: Hertz = 10_000;
/** Largest gain reduction; more would be audible. */
const MAX_REDUCTION_DB = 12;
/** The gain falls over this time before a peak, and starts to rise this long after it. */
const ATTACK: Seconds = 0.005;
/** Speeds in dB/s at which the gain recovers; the first that reaches the target is used. */
const RELEASES = [40, 160, 640];
/** Largest distance from the target to the absolute gate: more than the largest reduction. */
const GATE_BELOW_TARGET_LU = 20;
const TOLERANCE_LU = 0.01;
const MAX_ROUNDS = 12;
const SMALLEST = 1e-12;
const NEPERS_PER_DB = Math.LN10 / 20;

/**
 * Finds gains that bring a clip to a loudness, its peaks at or under a ceiling.
 *
 * The clip is divided into steps, and has a gain at each edge of a step. Both edges of a step have a gain that is low
 * enough for the step's highest peak, so the gains between them are, too. The loudness after the limiter is predicted:
 * gains change slowly, so they may nearly as well be applied after the meter's weighting as before.
 */
export class Limiter {
  private readonly step: number;
  private readonly rate: Hertz;
  /** Steps of the attack. */
  private readonly half: number;
  private readonly numSteps: number;
  /** Highest peak of each step, in dB above the ceiling. */
  private readonly excess: Float64Array;
  /** Mean weighted power of each step. */
  private readonly powers: Float64Array;

  /**
   * @param peaks largest magnitudes around each sample
   * @param powers weighted powers of the meter, of as many samples
   * @param ceiling highest peak of the result, in dB
   * @param circular whether the clip is a loop; gains at its end are then those at its start
   */
  constructor(
    peaks: Float32Array, powers: Float64Array, sampleRate: Hertz, ceiling: number, private readonly circular: boolean,
  ) {
    this.step = Math.max(1, Math.trunc(sampleRate / STEP_RATE));
    this.rate = sampleRate / this.step;
    this.half = Math.max(1, roundHalfEven(ATTACK * this.rate));
    this.numSteps = Math.ceil(peaks.length / this.step);
    this.excess = new Float64Array(this.numSteps);
    this.powers = new Float64Array(this.numSteps);
    for (let n = 0; n < this.numSteps; n++) {
      const [start, end] = [n * this.step, Math.min(peaks.length, (n + 1) * this.step)];
      let [highest, sum] = [SMALLEST, 0];
      for (let i = start; i < end; i++) {
        highest = Math.max(highest, peaks[i]!);
        sum += powers[i]!;
      }
      this.excess[n] = 20 * Math.log10(highest) - ceiling;
      this.powers[n] = sum / (end - start);
    }
  }

  /**
   * Gains at the edges of all steps, one more than steps, and whether they reach the target. All are 1 if the clip is
   * below the meter's gate.
   *
   * @param target loudness that the meter would show, but for the prediction's error
   */
  gains(target: number): { gains: Float64Array; reached: boolean } {
    const asGiven = new Float64Array(this.numSteps + 1).fill(1);
    const loudness = this.loudness(asGiven, target);
    if (loudness === -Infinity) return { gains: asGiven, reached: false };
    const lowest = target - loudness;
    const highest = MAX_REDUCTION_DB - this.excess.reduce((most, value) => Math.max(most, value));
    if (lowest < highest) {
      for (const release of RELEASES) {
        const gains = this.gainsBetween(lowest, highest, release, target);
        if (gains) return { gains, reached: true };
      }
    }
    return { gains: this.limitedGains(highest, RELEASES.at(-1)!), reached: false };
  }

  /** The clip with the gains of `gains`. */
  applied(gains: Float64Array, waveform: Float32Array): Float32Array<ArrayBuffer> {
    const result = new Float32Array(waveform.length);
    for (let n = 0; n < this.numSteps; n++) {
      const start = n * this.step;
      const length = Math.min(this.step, waveform.length - start);
      const [before, after] = [gains[n]!, gains[n + 1]!];
      for (let i = 0; i < length; i++) {
        result[start + i] = waveform[start + i]! * (before + ((after - before) * i) / length);
      }
    }
    return result;
  }

  /**
   * Gains that reach the target with a gain before the limiter between two, or undefined.
   *
   * The louder a clip before a limiter, the louder it is after it, but for blocks that come above a gate. So the gain is
   * found by false position, where an end that stays counts half (the Illinois algorithm: Dowell and Jarratt, "A modified
   * regula falsi method for computing the root of an equation", 1971).
   */
  private gainsBetween(low: number, high: number, release: number, target: number): Float64Array | undefined {
    let gains = this.limitedGains(low, release);
    let missingLow = target - this.loudness(gains, target);
    if (missingLow < TOLERANCE_LU) return gains;
    gains = this.limitedGains(high, release);
    let missingHigh = target - this.loudness(gains, target);
    if (missingHigh > 0) return undefined;
    for (let round = 0, last = 0; round < MAX_ROUNDS; round++) {
      const gain = low + ((high - low) * missingLow) / (missingLow - missingHigh);
      gains = this.limitedGains(gain, release);
      const missing = target - this.loudness(gains, target);
      if (Math.abs(missing) < TOLERANCE_LU) break;
      const share = missing * last > 0 ? 0.5 : 1;
      if (missing > 0) [low, missingLow, missingHigh] = [gain, missing, missingHigh * share];
      else [high, missingHigh, missingLow] = [gain, missing, missingLow * share];
      last = missing;
    }
    return gains;
  }

  /** Predicted loudness in LUFS with gains at the edges of all steps. */
  private loudness(gains: Float64Array, target: number): number {
    const powers = this.powers.map((power, n) => {
      const [early, late] = [gains[n]!, gains[n + 1]!];
      return ((early * early + early * late + late * late) / 3) * power; // the mean of squares along a line
    });
    return gatedLoudness(powers, this.rate, Math.min(ABSOLUTE_GATE_LUFS, target - GATE_BELOW_TARGET_LU));
  }

  /** Gains at the edges of all steps: a constant one, less the reduction. */
  private limitedGains(gain: number, release: number): Float64Array {
    return this.reduction(gain, release / this.rate).map((reduction) => Math.exp(NEPERS_PER_DB * (gain - reduction)));
  }

  /**
   * A smooth gain reduction in dB at the edges of all steps, at least as large as both steps beside an edge need.
   *
   * @param gain in dB
   * @param slope fall of the reduction after a peak, in dB per step
   */
  private reduction(gain: number, slope: number): Float64Array {
    const { numSteps, half, excess, circular } = this;
    const held = new Float64Array(numSteps + 2 * half);
    let level = 0;
    // A loop is processed twice, so that the second time starts from the end of the first.
    for (let round = circular ? 0 : 1; round < 2; round++) {
      for (let n = 0; n < numSteps; n++) {
        level = Math.max(excess[n]! + gain, level - slope, 0);
        held[half + n] = level;
      }
    }
    if (circular) wrapAround(held, half, numSteps);
    const edges = new Float64Array(numSteps + 2 * half - 1); // half - 1 before the first, and after the last
    edges.set(runningMaximum(held, 2 * half), half - 1);
    if (circular) {
      wrapAround(edges, half - 1, numSteps);
    } else {
      edges.fill(edges[half - 1]!, 0, half - 1);
      edges.fill(edges[half - 1 + numSteps]!, half + numSteps);
    }
    return smoothened(edges, half);
  }
}

/** Largest of `width` neighbours, for each place where they fit. */
function runningMaximum(values: Float64Array, width: number): Float64Array {
  const largest = new Float64Array(values.length - width + 1);
  const candidates = new Int32Array(values.length); // values that may be the maximum of a later place, the largest first
  let [first, end] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    while (end > first && values[candidates[end - 1]!]! <= values[i]!) end--;
    candidates[end++] = i;
    if (candidates[first]! <= i - width) first++;
    if (i >= width - 1) largest[i - width + 1] = values[candidates[first]!]!;
  }
  return largest;
}

/**
 * The mean under a Hann window, (1 - cos(2π j / period)) / period for j = 1 to period - 1, with period = 2 · half. With
 * cos(m - n) = cos m cos n + sin m sin n it follows from three running sums.
 */
function smoothened(values: Float64Array, half: number): Float64Array {
  const period = 2 * half;
  const cos = Float64Array.from({ length: period }, (_, i) => Math.cos((2 * Math.PI * i) / period));
  const sin = Float64Array.from({ length: period }, (_, i) => Math.sin((2 * Math.PI * i) / period));
  const smooth = new Float64Array(values.length - period + 2);
  let [sum, cosSum, sinSum] = [0, 0, 0];
  for (let m = 0; m < values.length; m++) {
    const turn = m % period;
    if (m >= period - 1) {
      const gone = values[m - period + 1]!;
      const at = (turn + 1) % period; // period - 1 values earlier
      sum -= gone;
      cosSum -= gone * cos[at]!;
      sinSum -= gone * sin[at]!;
    }
    sum += values[m]!;
    cosSum += values[m]! * cos[turn]!;
    sinSum += values[m]! * sin[turn]!;
    const n = m - period + 2;
    if (n >= 0) {
      const at = (n + period - 1) % period;
      smooth[n] = (sum - cosSum * cos[at]! - sinSum * sin[at]!) / period;
    }
  }
  return smooth;
}

/** Fills what is around `length` values from `first` on with the values of a loop. */
function wrapAround(values: Float64Array, first: number, length: number): void {
  for (let i = 0; i < values.length; i++) values[i] = values[first + modulo(i - first, length)]!;
}

function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}
