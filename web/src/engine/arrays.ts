/** Arithmetic on arrays of single precision, rounded after each operation as NumPy does. */

import type { Share } from "../units";

export type Floats = Float32Array<ArrayBuffer>;

/** Cosine above which sin θ is too small to divide by, and the line is close to the circle. */
const NEARLY_PARALLEL = 0.9995;

/** a·x + b·y for each element. */
export function weightedSum(a: number, x: Floats, b: number, y: Floats): Floats {
  const [first, second] = [Math.fround(a), Math.fround(b)];
  return x.map((value, index) => Math.fround(first * value) + Math.fround(second * y[index]!));
}

/** Linear interpolation from `start` (share 0) to `end` (share 1). */
export function lerp(start: number, end: number, share: Share): number {
  return start * (1 - share) + end * share;
}

/** Linear interpolation of arrays, exact at both ends. */
export function lerpArrays(start: Floats, end: Floats, share: Share): Floats {
  const [near, far] = [Math.fround(share), Math.fround(1 - share)];
  return start.map((first, index) => {
    const last = end[index]!;
    const change = Math.fround(last - first);
    return share < 0.5 ? first + Math.fround(near * change) : last - Math.fround(far * change);
  });
}

/**
 * Spherical interpolation from `start` (share 0) to `end` (share 1), each as one long vector (Shoemake 1985).
 *
 * The straight line between two samples of Gaussian noise passes closer to the origin than either end; the great circle
 * keeps the norm. With the angle θ between the ends: (sin((1 − t) θ) · a + sin(t θ) · b) / sin θ.
 * Parallel or zero ends are interpolated linearly.
 */
export function slerp(share: Share, start: Floats, end: Floats): Floats {
  const norms = Math.sqrt(dot(start, start)) * Math.sqrt(dot(end, end));
  const cosine = norms > 0 ? dot(start, end) / norms : 1;
  if (Math.abs(cosine) > NEARLY_PARALLEL) return weightedSum(1 - share, start, share, end);
  const angle = Math.acos(cosine);
  const [a, b] = [Math.sin((1 - share) * angle) / Math.sin(angle), Math.sin(share * angle) / Math.sin(angle)];
  return weightedSum(a, start, b, end);
}

/** Joins arrays. */
export function concatenated(parts: readonly Floats[]): Floats {
  const whole = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let end = 0;
  for (const part of parts) {
    whole.set(part, end);
    end += part.length;
  }
  return whole;
}

/** Rounds halves to the even neighbour, as NumPy does. */
export function roundedToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

function dot(x: Floats, y: Floats): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
}
