/** Samplers against Python's, with a made-up network. */

import { beforeAll, describe, expect, test } from "vitest";
import type { Floats } from "../../src/engine/arrays";
import type { CheckpointFiles } from "../../src/engine/checkpoint";
import { consistencyTimesteps } from "../../src/engine/distilled_sampling";
import { NormalNumbers } from "../../src/engine/normal_numbers";
import type { Consistency } from "../../src/engine/samplers/consistency";
import type { SchedulerSettings } from "../../src/engine/samplers/sampler";
import { newSampler, parseTrainedScheduler, partialTimesteps } from "../../src/engine/schedulers";
import type { SchedulerName } from "../../src/settings/settings";
import { golden, largestDifference } from "./golden";
import { embeddedCheckpoint } from "./node_engine";

interface GoldenSampler {
  readonly schedule: string;
  readonly settings: SchedulerSettings;
  readonly name: SchedulerName;
  readonly timesteps: Readonly<Record<string, number[]>>;
  readonly latents: number[];
}

interface Golden {
  readonly samplers: readonly GoldenSampler[];
  readonly distilled: readonly (readonly [number, number, number[]])[];
}

/** Relative to latents of about 1; single precision over up to five steps. */
const TOLERANCE = 5e-6;
const EXPECTED = golden<Golden>("samplers");

let files: CheckpointFiles;

beforeAll(async () => {
  files = await embeddedCheckpoint();
});

describe.each(EXPECTED.samplers)("$name with the schedule $schedule", ({ settings, name, timesteps, latents: expected }) => {
  const trained = (): typeof files.scheduler => ({ ...files.scheduler, settings: { ...files.scheduler.settings, ...settings } });

  test("timesteps are Python's", () => {
    for (const [count, steps] of Object.entries(timesteps)) {
      const sampler = newSampler(name, trained());
      sampler.setTimesteps(Number(count));
      expect(sampler.timesteps).toEqual(steps);
    }
  });

  test("latents lead where Python's do", () => {
    const sampler = newSampler(name, trained());
    sampler.setTimesteps(7);
    const steps = partialTimesteps(sampler, 7, 0.8);
    const [clean, noise] = [new NormalNumbers(1n).normal(16), new NormalNumbers(2n).normal(16)];
    let latents: Floats = sampler.addNoise(clean, noise, steps[0]!);
    const numbers = new NormalNumbers(4n);
    for (const timestep of steps) {
      const output = latents.map((value) => Math.fround(Math.fround(0.3) * value) - Math.fround(timestep / 4000));
      latents = sampler.step(output, timestep, latents, numbers).latents;
    }
    const scale = Math.max(1, ...expected.map(Math.abs));
    expect(largestDifference(latents, expected) / scale).toBeLessThan(TOLERANCE);
  });
});

test("distilled sampling has Python's timesteps for each number of steps and strength", () => {
  for (const [count, strength, expected] of EXPECTED.distilled) {
    const sampler = newSampler("lcm", files.scheduler) as Consistency;
    expect(consistencyTimesteps(sampler, count, strength, files.distillation!.solverSteps)).toEqual(expected);
  }
});

test("a sampler that only a server has is refused with those that work", () => {
  expect(() => newSampler("unipc", files.scheduler)).toThrow("scheduler: 'unipc' needs a server; choose one of pndm, ddim, dpmsolver++, lcm");
});

test("the embedded checkpoint's own sampler works, and one of another kind is refused", () => {
  expect(newSampler(null, files.scheduler)).toBeDefined();
  expect(() => newSampler(null, { className: "UniPCMultistepScheduler", settings: {} })).toThrow("'UniPCMultistepScheduler' needs a server");
  expect(() => newSampler(null, { className: "PNDMScheduler", settings: {} })).toThrow("'PNDMScheduler' needs a server"); // with PRK steps
  const clipped = { ...files.scheduler, settings: { ...files.scheduler.settings, thresholding: true } };
  expect(() => newSampler(null, clipped)).toThrow("needs a server");
});

test("a configuration's infinite numbers are read, and settings that it marks as unset are left out", () => {
  const { settings } = parseTrainedScheduler('{"_class_name": "X", "a": -Infinity, "b": [1], "c": 2, "_use_default_values": ["c"]}');
  expect(settings["a"]).toBe(-Infinity);
  expect(settings["b"]).toEqual([1]);
  expect("c" in settings).toBe(false);
});
