import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type End, jump, startWalk, step, withQueue } from "../src/walk/walk";
import { parseExactly } from "./exact_json";

/** Digits to which sums of steps equal the decimals of the cases. */
const ALPHA_DIGITS = 9;

type NamedEnd = [string, number | string];

interface Clip {
  skip?: number;
  enqueue?: string[];
  jump?: string;
  expect?: [NamedEnd, NamedEnd, number];
  exact?: boolean;
  queue?: string[];
}

interface Case {
  name: string;
  start: NamedEnd;
  queue?: string[];
  seed_limit?: number | string;
  alpha_step: number;
  clips: Clip[];
}

const end = ([prompt, seed]: NamedEnd): End => ({ prompt, seed: BigInt(seed) });
const cases = parseExactly<Case[]>(readFileSync(new URL("../../tests/generation/walk_cases.json", import.meta.url), "utf8"));

describe("the cases shared with Python", () => {
  it.each(cases)("$name", (walked) => {
    const [prompt, seed] = walked.start;
    let walk = startWalk(prompt, BigInt(seed), walked.queue ?? [], walked.seed_limit === undefined ? undefined : BigInt(walked.seed_limit));
    for (const clip of walked.clips) {
      for (let i = 0; i < (clip.skip ?? 0); i++) walk = step(walk, walked.alpha_step).walk;
      if (clip.expect === undefined) continue;
      walk = withQueue(walk, [...walk.queue, ...(clip.enqueue ?? [])]);
      if (clip.jump !== undefined) walk = jump(walk, clip.jump);
      const next = step(walk, walked.alpha_step);
      walk = next.walk;
      const [start, target, alpha] = clip.expect;
      expect(next.stop.start).toEqual(end(start));
      expect(next.stop.end).toEqual(end(target));
      if (clip.exact) expect(next.stop.alpha).toBe(alpha);
      else expect(next.stop.alpha).toBeCloseTo(alpha, ALPHA_DIGITS);
      if (clip.queue) expect(walk.queue).toEqual(clip.queue);
    }
  });

  it("advances by the sum of its steps, for any step size", () => {
    for (const alphaStep of [0.001, 0.07, 1 / 3, 0.5, 0.61803, 0.999, 1]) {
      let walk = startWalk("bells", 0n);
      let error = 0;
      for (let clip = 1; clip <= 500; clip++) {
        walk = step(walk, alphaStep).walk;
        error = Math.max(error, Math.abs(Number(walk.current.seed) + walk.alpha - clip * alphaStep));
      }
      expect(error).toBeLessThan(1e-6);
    }
  });
});
