/**
 * The Mersenne Twister MT19937 (Matsumoto and Nishimura 1998): 32-bit words from a seed.
 *
 * Its state is 624 words; each is replaced by a mix of itself, the next one and the one 397 further on. A seed below
 * 2^32 fills the state as `init_genrand` of its authors does, a larger one as `init_by_array` of its two halves, which is
 * how the Python engine uses it.
 */

const SIZE = 624;
const SHIFT = 397;
const MATRIX = 0x9908b0df;
const UPPER_BIT = 0x80000000;
const LOWER_BITS = 0x7fffffff;
const ARRAY_SEED = 19650218;

export class MersenneTwister {
  private readonly state: Uint32Array;
  private next = SIZE;

  /** @param seed from 0 to 2^64 - 1 */
  constructor(seed: bigint) {
    const low = Number(BigInt.asUintN(32, seed));
    const high = Number(seed >> 32n);
    this.state = high === 0 ? filledBySeed(low) : filledByArray([low, high]);
  }

  /** The next word, from 0 to 2^32 - 1. */
  word(): number {
    if (this.next === SIZE) {
      this.twist();
      this.next = 0;
    }
    let word = this.state[this.next++]!;
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    word ^= word >>> 18;
    return word >>> 0;
  }

  private twist(): void {
    const { state } = this;
    for (let i = 0; i < SIZE; i++) {
      const mixed = (state[i]! & UPPER_BIT) | (state[(i + 1) % SIZE]! & LOWER_BITS);
      state[i] = state[(i + SHIFT) % SIZE]! ^ (mixed >>> 1) ^ (mixed & 1 ? MATRIX : 0);
    }
  }
}

function filledBySeed(seed: number): Uint32Array {
  const state = new Uint32Array(SIZE);
  state[0] = seed;
  for (let i = 1; i < SIZE; i++) {
    const before = state[i - 1]! ^ (state[i - 1]! >>> 30);
    state[i] = Math.imul(before, 1812433253) + i;
  }
  return state;
}

function filledByArray(key: readonly number[]): Uint32Array {
  const state = filledBySeed(ARRAY_SEED);
  let i = 1;
  const advance = (): void => {
    if (++i < SIZE) return;
    state[0] = state[SIZE - 1]!;
    i = 1;
  };
  const mixed = (factor: number): number => state[i]! ^ Math.imul(state[i - 1]! ^ (state[i - 1]! >>> 30), factor);
  for (let k = 0; k < Math.max(SIZE, key.length); k++) {
    const j = k % key.length;
    state[i] = mixed(1664525) + key[j]! + j;
    advance();
  }
  for (let k = 1; k < SIZE; k++) {
    state[i] = mixed(1566083941) - i;
    advance();
  }
  state[0] = UPPER_BIT;
  return state;
}
