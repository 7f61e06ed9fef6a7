/** Random numbers, interpolation and embeddings of guidance against Python's. */

import { describe, expect, test } from "vitest";
import { lerpArrays, roundedToEven, slerp } from "../../src/engine/arrays";
import { guidanceEmbedding } from "../../src/engine/distilled_sampling";
import { MersenneTwister } from "../../src/engine/mersenne_twister";
import { NormalNumbers } from "../../src/engine/normal_numbers";
import { golden, largestDifference } from "./golden";

interface Golden {
  readonly normal: Readonly<Record<string, number[][]>>;
  readonly later: number[];
  readonly slerp: Readonly<Record<string, number[]>>;
  readonly parallel: number[];
  readonly guidance: Readonly<Record<string, number[]>>;
}

/** Logarithm, sine and cosine are rounded by other functions, and the files have seven digits. */
const TOLERANCE = 2e-6;
/** An angle of 8,000 radians in single precision is off by up to 2.4e-4, and its exponential's rounding adds as much. */
const ANGLE_TOLERANCE = 1e-3;

const EXPECTED = golden<Golden>("numbers");

describe("MersenneTwister", () => {
  test("gives the words that its authors publish", () => {
    const words = new MersenneTwister(5489n);
    const first = Array.from({ length: 10_000 }, () => words.word());
    expect(first.slice(0, 3)).toEqual([3499211612, 581869302, 3890346734]);
    expect(first[9_999]).toBe(4123659995); // as the C++ standard says of the default seed
  });
});

describe("NormalNumbers", () => {
  test.each(Object.entries(EXPECTED.normal))("seed %s, draws of several sizes", (seed, draws) => {
    const numbers = new NormalNumbers(BigInt(seed));
    for (const expected of draws) {
      expect(largestDifference(numbers.normal(expected.length), expected)).toBeLessThan(TOLERANCE);
    }
  });

  test("many numbers: the last of 20,000 are Python's, too", () => {
    expect(largestDifference(new NormalNumbers(3n).normal(20_000).slice(-8), EXPECTED.later)).toBeLessThan(TOLERANCE);
  });

  test("fewer than 16 numbers, which Python makes in another way, are refused", () => {
    expect(() => new NormalNumbers(1n).normal(15)).toThrow("at least 16");
  });
});

describe("interpolation", () => {
  const [start, end] = [1n, 2n].map((seed) => new NormalNumbers(seed).normal(32)) as [Float32Array<ArrayBuffer>, Float32Array<ArrayBuffer>];

  test.each(Object.entries(EXPECTED.slerp))("slerp at %s", (alpha, expected) => {
    expect(largestDifference(slerp(Number(alpha), start, end), expected)).toBeLessThan(TOLERANCE);
  });

  test("slerp of parallel ends is linear", () => {
    const doubled = start.map((value) => 2 * value);
    expect(largestDifference(slerp(0.3, start, doubled), EXPECTED.parallel)).toBeLessThan(TOLERANCE);
  });

  test("lerp is exact at both ends", () => {
    expect(lerpArrays(start, end, 0)).toEqual(start);
    expect(lerpArrays(start, end, 1)).toEqual(end);
  });

  test("halves are rounded to even neighbours", () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6].map((value) => roundedToEven(value) + 0)).toEqual([0, 2, 2, 0, -2, 2, 3]);
  });
});

test.each(Object.entries(EXPECTED.guidance))("embedding of guidance %s", (scale, expected) => {
  expect(largestDifference(guidanceEmbedding(Number(scale), expected.length), expected)).toBeLessThan(ANGLE_TOLERANCE);
});
