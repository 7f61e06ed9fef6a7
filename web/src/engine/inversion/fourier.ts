/** Fourier transforms of one length: their factors and twiddle factors in the kernels' memory. */

import { type Address, COMPLEX_BYTES, type Kernels } from "./kernels";

/** Radices with code of their own; four comes first, as it needs the fewest operations. */
const RADICES = [4, 2, 3, 5];
const LARGEST_COMPILED = 5;
/** Rows after the last one that the kernels may touch. */
const SPARE_ROWS = 3;

export class Fourier {
  private readonly factors: Address;
  private readonly twiddles: Address;

  constructor(private readonly kernels: Kernels, readonly length: number) {
    const factors = factorsOf(length);
    this.factors = kernels.reserveInts(factors);
    this.twiddles = kernels.reserveFloats(twiddlesOf(length, factors));
  }

  /** Bytes of a buffer for one batch. */
  get bytes(): number {
    return (this.length + SPARE_ROWS) * COMPLEX_BYTES;
  }

  /** Transforms `source`, and returns the buffer with the result: `source` or `spare`. */
  transform(source: Address, spare: Address): Address {
    return this.kernels.run.transform(source, spare, this.length, this.factors, this.twiddles);
  }
}

function factorsOf(length: number): number[] {
  const factors: number[] = [];
  let rest = length;
  for (const radix of RADICES) {
    for (; rest % radix === 0; rest /= radix) factors.push(radix);
  }
  for (let prime = 7; rest > 1; prime += 2) {
    for (; rest % prime === 0; rest /= prime) factors.push(prime);
  }
  return factors;
}

/** Cosines and sines in the order in which the stages read them; see `kernels/inversion/transform.ts`. */
function twiddlesOf(length: number, factors: readonly number[]): number[] {
  const values: number[] = [];
  const push = (cycles: number): void => void values.push(Math.cos(2 * Math.PI * cycles), Math.sin(2 * Math.PI * cycles));
  let remaining = length;
  for (const radix of factors) {
    if (radix > LARGEST_COMPILED) for (let j = 0; j < radix; j++) push(j / radix);
    for (let p = 0; p < remaining / radix; p++) {
      for (let k = 1; k < radix; k++) push((p * k) / remaining);
    }
    remaining /= radix;
  }
  return values;
}
