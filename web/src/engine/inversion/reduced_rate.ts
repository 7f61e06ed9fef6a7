/**
 * The lowest sample rate that still contains the mel bands, at which hop and window are whole numbers with fast Fourier
 * transforms: Python's `spectrogram/inversion/reduced_stft.py`.
 */

import type { Hertz } from "../../units";
import type { MelFrames } from "./mel_frames";

/** Relative time of a transform whose length has a factor of 7. */
const FACTOR_7_COST = 1.2;

export interface ReducedRate {
  readonly hop: number;
  readonly windowLength: number;
  /** Fewest frames that a clip must have. */
  readonly minFrames: number;
}

/** The bins of one FFT length at the reduced rate. */
export interface ReducedBins {
  readonly size: number;
  readonly numBins: number;
  readonly binHz: Hertz;
  /** The same transform at the full rate. */
  readonly fullSize: number;
}

export function reducedRate(frames: MelFrames): ReducedRate {
  const hop = reducedHop(frames);
  const windowLength = Math.floor((frames.windowLength * hop) / frames.hop);
  return { hop, windowLength, minFrames: Math.floor(windowLength / hop) + 2 };
}

/** @param windowsPerFft length of the FFT in windows, about */
export function reducedBins(frames: MelFrames, { hop, windowLength }: ReducedRate, windowsPerFft: number): ReducedBins {
  const step = hop / greatestCommonDivisor(hop, frames.hop); // the full rate's size is whole for multiples of this
  const longest = Math.floor((frames.numFft * hop) / frames.hop);
  const wanted = Math.min(Math.round(windowsPerFft * windowLength), longest);
  const near: number[] = [];
  for (let size = step * Math.ceil(windowLength / step); size <= longest; size += step) {
    if (Math.abs(size - wanted) <= wanted / 4) near.push(size);
  }
  const isSlow = (length: number): number => Number(cost(length) === Infinity);
  near.sort((a, b) => isSlow(a) - isSlow(b) || Math.abs(a - wanted) - Math.abs(b - wanted));
  const size = near[0] ?? windowLength;
  return {
    size,
    numBins: Math.floor(size / 2) + 1,
    binHz: (frames.sampleRate * hop) / frames.hop / size,
    fullSize: Math.floor((size * frames.hop) / hop),
  };
}

/**
 * By how many hops frames start earlier at the reduced rate. They start half a window before their centre, rounded down
 * to a sample, and the two rates may round differently.
 */
export function windowShift(frames: MelFrames, { hop, windowLength }: ReducedRate): number {
  return Math.floor(windowLength / 2) / hop - Math.floor(frames.windowLength / 2) / frames.hop;
}

function reducedHop(frames: MelFrames): number {
  const mainLobe = (2 * frames.sampleRate) / frames.windowLength;
  const top = Math.min(frames.maxHz + mainLobe, frames.sampleRate / 2);
  const lowest = Math.ceil(((2 * top) / frames.sampleRate) * frames.hop);
  let fastest = { hop: frames.hop, cost: Infinity };
  for (let hop = Math.max(1, lowest); hop <= frames.hop; hop++) {
    const length = (hop * frames.windowLength) / frames.hop;
    if (Number.isInteger(length) && cost(length) < fastest.cost) fastest = { hop, cost: cost(length) };
  }
  return fastest.hop;
}

/** Relative time of an FFT; infinite for lengths with a prime factor above 7. */
function cost(length: number): number {
  let rest = length;
  for (const prime of [2, 3, 5, 7]) while (rest % prime === 0) rest /= prime;
  return rest > 1 ? Infinity : length * (length % 7 === 0 ? FACTOR_7_COST : 1);
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
