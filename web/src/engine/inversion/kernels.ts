/** The compiled inner loops (`kernels/inversion`), and the memory that they work on. */

import base64 from "../../../kernels/inversion/index.ts?compiled";

/** An address in the kernels' memory, in bytes. */
export type Address = number;

/** The exported functions; their documentation is in `kernels/inversion`. */
interface KernelFunctions {
  readonly memory: WebAssembly.Memory;
  transform(source: Address, spare: Address, length: number, factors: Address, twiddles: Address): Address;
  windowed(out: Address, signal: Address, starts: Address, window: Address, length: number, size: number): void;
  split(z: Address, size: number, spectrum: Address, magnitudes: Address): void;
  merged(spectrum: Address, numBins: number, z: Address, size: number): void;
  overlapAdded(
    z: Address, signal: Address, starts: Address, weights: Address, window: Address, length: number, scale: number,
  ): void;
  weightedSums(values: Address, rows: Address, weights: Address, numRows: number, out: Address): void;
  bandGains(
    magnitudes: Address, rows: Address, weights: Address, numBands: number, target: Address, epsilon: number, out: Address,
  ): void;
  multiplied(values: Address, factors: Address, count: number): void;
  scaled(spectrum: Address, gains: Address, numBins: number): void;
  rotated(spectrum: Address, rotation: Address, numBins: number): void;
  regionPhases(
    phases: Address, lane: number, ends: Address, perBin: Address, atZero: Address, numRegions: number,
  ): void;
  polar(magnitudes: Address, phases: Address, spectrum: Address, numBins: number): void;
  divided(values: Address, divisors: Address, count: number): void;
  advanced(
    estimate: Address, last: Address, sums: Address, norm: Address, count: number,
    relaxation: number, momentum: number, onePlusMomentum: number,
  ): void;
  peaksAround(signal: Address, kernels: Address, numTaps: number, count: number, out: Address): void;
}

/** Frames that the kernels compute at once. */
export const FRAMES_PER_BATCH = 8;
/** Bytes per row of values and of complex numbers, and per bin of a spectrum. */
export const VALUES_BYTES = 32;
export const COMPLEX_BYTES = 32;
export const BIN_BYTES = 64;

const PAGE = 65_536;
const ALIGNMENT = 64;
/** The compiler keeps the first kilobyte free. */
const FIRST_ADDRESS = 1024;

/** This browser has no WebAssembly with SIMD. */
export class UnsupportedError extends Error {}

let compiled: WebAssembly.Module | null = null;

function kernelModule(): WebAssembly.Module {
  if (compiled) return compiled;
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  if (typeof WebAssembly === "undefined" || !WebAssembly.validate(bytes)) {
    throw new UnsupportedError(
      "This browser has no WebAssembly with SIMD, which makes the audio. " +
        "Use Chrome 91, Firefox 89, Safari 16.4 or a newer one.",
    );
  }
  return (compiled = new WebAssembly.Module(bytes));
}

/** The kernels with memory of their own, which is reserved in sequence and released together. */
export class Kernels {
  readonly run: KernelFunctions;
  private free = FIRST_ADDRESS;

  /** @throws UnsupportedError */
  constructor() {
    this.run = new WebAssembly.Instance(kernelModule()).exports as unknown as KernelFunctions;
  }

  /** What is reserved so far; `release` frees what is reserved later. */
  get mark(): Address {
    return this.free;
  }

  release(mark: Address): void {
    this.free = mark;
  }

  /** The address of `bytes` bytes, all of them 0. */
  reserve(bytes: number): Address {
    const address = this.free;
    this.free += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    const missing = this.free - this.run.memory.buffer.byteLength;
    if (missing > 0) this.run.memory.grow(Math.ceil(missing / PAGE));
    new Uint8Array(this.run.memory.buffer, address, this.free - address).fill(0);
    return address;
  }

  /** Reserves memory for a copy of `values`. */
  reserveFloats(values: ArrayLike<number>): Address {
    const address = this.reserve(4 * values.length);
    this.floats(address, values.length).set(values);
    return address;
  }

  reserveInts(values: ArrayLike<number>): Address {
    const address = this.reserve(4 * values.length);
    this.ints(address, values.length).set(values);
    return address;
  }

  /** A view of memory, which is valid until more is reserved. */
  floats(address: Address, length: number): Float32Array {
    return new Float32Array(this.run.memory.buffer, address, length);
  }

  ints(address: Address, length: number): Int32Array {
    return new Int32Array(this.run.memory.buffer, address, length);
  }
}
