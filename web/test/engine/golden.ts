/** What Python gives, from the files that `scripts/write_engine_golden.py` writes. */

import { readFileSync } from "node:fs";
import { parseExactly } from "../exact_json";

/** The content of a golden file, with long whole numbers as texts; a missing one is an error. */
export function golden<T>(name: string): T {
  return parseExactly<T>(readFileSync(new URL(`../golden/engine/${name}.json`, import.meta.url), "utf8"));
}

export function bytes(base64: string): Uint8Array {
  return Uint8Array.from(Buffer.from(base64, "base64"));
}

/** Largest difference of two lists of equal length. */
export function largestDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) return Infinity;
  return Array.from(found).reduce((largest, value, index) => Math.max(largest, Math.abs(value - expected[index]!)), 0);
}

/** Peak signal-to-noise ratio of bytes in dB. */
export function psnr(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) return -Infinity;
  const error = Array.from(found).reduce((sum, value, index) => sum + (value - expected[index]!) ** 2, 0) / found.length;
  return 10 * Math.log10(255 ** 2 / error);
}
