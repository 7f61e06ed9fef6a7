/**
 * The normal numbers of PyTorch's CPU generator: the same seed gives the same noise as in Python, to 2e-6.
 *
 * From 16 numbers on:
 *
 *   u = (word mod 2^24) · 2^-24                                     for each number
 *   √(-2 ln(1 - u_j)) · cos(2π u_{j+8}), then the same with sin     j = 0 … 7 of each block of 16
 *
 * which is the Box-Muller transform. If the size isn't a multiple of 16, 16 further words are drawn, and the last 16
 * numbers are redrawn from them. Latents are never fewer than 16 numbers.
 */

import { MersenneTwister } from "./mersenne_twister";

const BLOCK = 16;
const HALF_BLOCK = 8;
const UNIFORM_BITS = 24;
const UNIFORM_MASK = 2 ** UNIFORM_BITS - 1;
const UNIFORM_SCALE = 2 ** -UNIFORM_BITS;
const FULL_TURN = Math.fround(2 * Math.PI);

/** A stream of normal numbers, which a seed begins. */
export class NormalNumbers {
  private readonly twister: MersenneTwister;

  /** @param seed from 0 to 2^63 - 1 */
  constructor(seed: bigint) {
    this.twister = new MersenneTwister(seed);
  }

  /** The next `size` numbers, mean 0 and variance 1. `size` is at least 16. */
  normal(size: number): Float32Array<ArrayBuffer> {
    if (size < BLOCK) throw new RangeError(`size=${size} must be at least ${BLOCK}`);
    const numbers = this.uniform(size);
    for (let start = 0; start + BLOCK <= size; start += BLOCK) boxMuller(numbers.subarray(start, start + BLOCK));
    if (size % BLOCK !== 0) {
      const last = this.uniform(BLOCK);
      boxMuller(last);
      numbers.set(last, size - BLOCK);
    }
    return numbers;
  }

  private uniform(size: number): Float32Array<ArrayBuffer> {
    return Float32Array.from({ length: size }, () => (this.twister.word() & UNIFORM_MASK) * UNIFORM_SCALE);
  }
}

/** Replaces 16 uniform numbers by normal ones. */
function boxMuller(block: Float32Array): void {
  for (let j = 0; j < HALF_BLOCK; j++) {
    const logarithm = Math.fround(Math.log(1 - block[j]!));
    const radius = Math.fround(Math.sqrt(Math.fround(-2 * logarithm)));
    const angle = Math.fround(FULL_TURN * block[j + HALF_BLOCK]!);
    block[j] = radius * Math.fround(Math.cos(angle));
    block[j + HALF_BLOCK] = radius * Math.fround(Math.sin(angle));
  }
}
