/**
 * Integrated loudness of ITU-R BS.1770-4: K-weighting, and the mean power of gated blocks.
 *
 * The weighting is a high shelf for the head and a high pass, with the coefficients of Python's
 * `audio/loudness_meter.py` (R. Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients").
 */

import type { Hertz, Seconds } from "../../units";
import { roundHalfEven } from "./rounding";

/** Length of a block; blocks overlap by three quarters. */
const BLOCK: Seconds = 0.4;
const STEP: Seconds = 0.1;
const SHELF_GAIN_DB = 4;
const SHELF_HZ: Hertz = 1500;
const SHELF_QUALITY = Math.SQRT1_2;
const HIGH_PASS_HZ: Hertz = 38;
const HIGH_PASS_QUALITY = 0.5;
/** Makes a full-scale sine of 1 kHz on one channel -3.01 LUFS. */
const OFFSET_LUFS = -0.691;
export const ABSOLUTE_GATE_LUFS = -70;
/** -10 LU. */
const RELATIVE_GATE = 0.1;

/** Coefficients of the numerator and of the denominator, by powers of the delay; the denominator's first is 1. */
interface Biquad {
  readonly b: readonly [number, number, number];
  readonly a: readonly [number, number];
}

/**
 * Integrated loudness in LUFS; -Infinity for silence and below the gate of -70 LUFS.
 *
 * @param samples mono; a clip shorter than a block is measured as if it were repeated
 */
export function measureLoudness(samples: Float32Array, sampleRate: Hertz): number {
  return gatedLoudness(weightedPowers(samples, sampleRate), sampleRate);
}

/**
 * The loudness of weighted powers; with less than a block of them, they are repeated. -Infinity without any.
 *
 * @param absoluteGate the standard's, or another
 */
export function gatedLoudness(powers: Float64Array, rate: Hertz, absoluteGate = ABSOLUTE_GATE_LUFS): number {
  const numPowers = powers.length * repetitions(powers.length, rate);
  const sums = new Float64Array(numPowers + 1);
  for (let i = 0, at = 0; i < numPowers; i++) {
    sums[i + 1] = sums[i]! + powers[at]!;
    at = at + 1 === powers.length ? 0 : at + 1;
  }
  const numBlocks = roundHalfEven((numPowers / rate - BLOCK) / STEP) + 1;
  const means = Array.from({ length: numBlocks }, (_, block) => {
    const start = block * (STEP * rate);
    const end = Math.min(numPowers, Math.trunc(start + BLOCK * rate));
    return (sums[end]! - sums[Math.trunc(start)]!) / (BLOCK * rate);
  });
  const audible = means.filter((power) => power >= 10 ** ((absoluteGate - OFFSET_LUFS) / 10));
  if (audible.length === 0) return -Infinity;
  const gate = RELATIVE_GATE * mean(audible);
  return OFFSET_LUFS + 10 * Math.log10(mean(audible.filter((power) => power > gate)));
}

/** Squares of the weighted samples, of a clip that is repeated as often as fills a block. */
export function weightedPowers(samples: Float32Array, sampleRate: Hertz): Float64Array {
  const [shelf, pass] = [highShelf(sampleRate), highPass(sampleRate)];
  const powers = new Float64Array(samples.length * repetitions(samples.length, sampleRate));
  let [u1, u2, v1, v2] = [0, 0, 0, 0]; // the filters' states
  for (let i = 0, at = 0; i < powers.length; i++) {
    const x = samples[at]!;
    at = at + 1 === samples.length ? 0 : at + 1;
    const y = shelf.b[0] * x + u1;
    u1 = shelf.b[1] * x - shelf.a[0] * y + u2;
    u2 = shelf.b[2] * x - shelf.a[1] * y;
    const z = pass.b[0] * y + v1;
    v1 = pass.b[1] * y - pass.a[0] * z + v2;
    v2 = pass.b[2] * y - pass.a[1] * z;
    powers[i] = z * z;
  }
  return powers;
}

function repetitions(length: number, rate: Hertz): number {
  return Math.max(1, Math.ceil((BLOCK * rate) / Math.max(1, length)));
}

function highShelf(sampleRate: Hertz): Biquad {
  const gain = 10 ** (SHELF_GAIN_DB / 40);
  const turn = (2 * Math.PI * SHELF_HZ) / sampleRate;
  const cos = Math.cos(turn);
  const width = (Math.sin(turn) / SHELF_QUALITY) * Math.sqrt(gain);
  const [above, below] = [gain + 1, gain - 1];
  const a0 = above - below * cos + width;
  return {
    b: [
      (gain * (above + below * cos + width)) / a0,
      (-2 * gain * (below + above * cos)) / a0,
      (gain * (above + below * cos - width)) / a0,
    ],
    a: [(2 * (below - above * cos)) / a0, (above - below * cos - width) / a0],
  };
}

function highPass(sampleRate: Hertz): Biquad {
  const turn = (2 * Math.PI * HIGH_PASS_HZ) / sampleRate;
  const cos = Math.cos(turn);
  const width = Math.sin(turn) / (2 * HIGH_PASS_QUALITY);
  const a0 = 1 + width;
  return {
    b: [(1 + cos) / 2 / a0, -(1 + cos) / a0, (1 + cos) / 2 / a0],
    a: [(-2 * cos) / a0, (1 - width) / a0],
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
