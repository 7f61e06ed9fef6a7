/** Peaks of the continuous signal, by 8-fold oversampling: ITU-R BS.1770, Annex 2. */

import type { Kernels } from "./kernels";

const OVERSAMPLING = 8;
/** Samples on either side that are used to interpolate between two samples. */
const HALF_TAPS = 32;
const KAISER_BETA = 8;

/**
 * Largest magnitude around each sample, up to its neighbours, so a smooth gain that bounds this envelope also bounds
 * the peaks between two samples. Beyond its ends the signal is silent, or repeats if circular.
 *
 * @param samples mono
 */
export function envelope(kernels: Kernels, samples: Float32Array, circular = false): Float32Array {
  const mark = kernels.mark;
  const count = 4 * Math.ceil((samples.length + 1) / 4);
  const signal = kernels.reserve(4 * (count + 2 * HALF_TAPS + 4));
  const taps = kernels.reserveFloats(interpolationKernels());
  const out = kernels.reserve(4 * count);
  kernels.floats(signal + 4 * HALF_TAPS, samples.length).set(samples);
  if (circular) {
    const around = kernels.floats(signal, samples.length + 2 * HALF_TAPS);
    for (let i = 0; i < HALF_TAPS; i++) {
      around[HALF_TAPS - 1 - i] = samples[samples.length - 1 - (i % samples.length)]!;
      around[HALF_TAPS + samples.length + i] = samples[i % samples.length]!;
    }
  }
  kernels.run.peaksAround(signal, taps, 2 * HALF_TAPS, count, out);
  const between = kernels.floats(out, count);
  const peaks = samples.map((value, i) => Math.max(Math.abs(value), between[i]!, between[i + 1]!));
  kernels.release(mark);
  return peaks;
}

/**
 * Kaiser-windowed sincs between two samples: for each tap, the weights of the phases 1/8 to 7/8.
 *
 * The value at time n - 1 + phase is the sum of the samples n - 32 to n + 31 times the taps in this order.
 */
function interpolationKernels(): number[] {
  const scale = besselI0(KAISER_BETA);
  return Array.from({ length: 2 * HALF_TAPS }, (_, tap) =>
    Array.from({ length: OVERSAMPLING - 1 }, (_, index) => {
      const offset = HALF_TAPS - 1 - tap + (index + 1) / OVERSAMPLING;
      const shape = Math.sqrt(Math.max(0, 1 - (offset / HALF_TAPS) ** 2));
      return ((Math.sin(Math.PI * offset) / (Math.PI * offset)) * besselI0(KAISER_BETA * shape)) / scale;
    })).flat();
}

/** The modified Bessel function of order 0, by its power series. */
function besselI0(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
