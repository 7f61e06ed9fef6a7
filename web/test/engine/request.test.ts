/** What requests may ask for, with the server's rules. */

import { describe, expect, test } from "vitest";
import type { InferenceInput } from "../../src/api/messages";
import { checkSampling } from "../../src/engine/distilled_sampling";
import { clipInputs } from "../../src/engine/request";

const START = { prompt: "church bells", seed: 1, denoising: 0.75, guidance: 7 };
const REQUEST: InferenceInput = { start: START, audio_format: "flac", image_format: "png" };
const DISTILLED = { maxSteps: 8, guidance: [2, 9] as const, isGuidedSampling: true, solverSteps: 25 };
const TRAINED = { className: "DPMSolverMultistepScheduler", settings: {} };

describe("defaults", () => {
  test("are the server's", () => {
    const inputs = clipInputs(REQUEST);
    expect(inputs).toMatchObject({ mode: "img2img", alpha: 0, numSteps: 50, scheduler: null, guidanceInterval: [0, 1], mask: null });
    expect(inputs.initImage).toEqual({ kind: "id", id: "og_beat" });
    expect(inputs.end).toEqual(inputs.start);
  });

  test("are a preset's, and fields that are given go before them", () => {
    expect(clipInputs({ ...REQUEST, preset: "fast" })).toMatchObject({ numSteps: 10, scheduler: "dpmsolver++", guidanceInterval: [0, 0.5] });
    expect(clipInputs({ ...REQUEST, preset: "instant", num_inference_steps: 2 })).toMatchObject({ numSteps: 2, scheduler: "lcm" });
  });
});

test.each([[0, 0n], [2 ** 53 - 1, 2n ** 53n - 1n], [2n ** 53n + 1n, 2n ** 53n + 1n], [2n ** 63n - 1n, 2n ** 63n - 1n]])("seed %s stays exactly as it is", (given, kept) => {
  expect(clipInputs({ ...REQUEST, start: { ...START, seed: given } }).start.seed).toBe(kept);
});

describe("refusals name the field, the value, the rule and what to do", () => {
  test.each<[Partial<InferenceInput>, string]>([
    [{ alpha: 1.5 }, "alpha: 1.5 must be from 0 to 1"],
    [{ alpha: NaN }, "alpha: NaN must be from 0 to 1"],
    [{ num_inference_steps: 0 }, "num_inference_steps: 0 must be from 1 to 150"],
    [{ num_inference_steps: 2.5 }, "num_inference_steps: 2.5 must be a whole number from 1 to 150"],
    [{ start: { ...START, seed: -1 } }, "start.seed: -1 must be a whole number from 0 to 9223372036854775807"],
    [{ start: { ...START, seed: -1n } }, "start.seed: -1 must be a whole number"],
    [{ start: { ...START, seed: 1.5 } }, "start.seed: 1.5 must be a whole number"],
    [{ start: { ...START, seed: NaN } }, "start.seed: NaN must be a whole number"],
    [{ end: { ...START, seed: 2n ** 63n } }, "end.seed: 9223372036854775808 must be a whole number from 0 to 9223372036854775807"],
    [{ start: { ...START, seed: 2 ** 60 } }, "start.seed: 1152921504606847000 must be a whole number from 0 to 9223372036854775807, exactly: a bigint"],
    [{ end: { ...START, denoising: 2 } }, "end.denoising: 2 must be from 0 to 1"],
    [{ start: { ...START, guidance: 31 } }, "start.guidance: 31 must be from 0 to 30"],
    [{ start: { ...START, prompt: "x".repeat(4001) } }, "start.prompt: 4001 characters must be at most 4000"],
    [{ start: { ...START, prompt: "(a:200)" } }, "start.prompt: prompt weight 200 must be from -100 to 100"],
    [{ guidance_interval: [0.8, 0.2] }, "guidance_interval: [0.8, 0.2] must be in ascending order"],
    [{ mask_image: "data:,", mask_image_id: "a" }, "mask_image: excludes mask_image_id"],
    [{ mode: "image_to_audio", mask_image_id: "a" }, "mode: image_to_audio takes no mask; use img2img"],
    [{ duration_s: 3 }, "duration_s: only for mode=txt2img"],
    [{ init_audio: "data:," }, "init_audio: a recording cannot be analysed here"],
    [{ mode: "restyle" as "img2img" }, "mode: 'restyle' needs a server"],
    [{ preset: "slow" as "fast" }, "preset: 'slow' must be one of instant, fast, balanced, reference"],
    [{ scheduler: "other" as "lcm" }, "scheduler: 'other' must be one of"],
  ])("%o", (changed, message) => {
    expect(() => clipInputs({ ...REQUEST, ...changed })).toThrow(message);
  });

  test.each<[Partial<InferenceInput>, string]>([
    [{ num_inference_steps: 9 }, "num_inference_steps: 9 must be at most 8 for scheduler 'lcm'"],
    [{ start: { ...START, guidance: 1 } }, "start.guidance: 1 must be from 2 to 9"],
    [{ end: { ...START, negative_prompt: "drums" } }, "end.negative_prompt: 'drums' has no effect with scheduler 'lcm'"],
  ])("distilled sampling: %o", (changed, message) => {
    const inputs = clipInputs({ ...REQUEST, preset: "instant", ...changed });
    expect(() => checkSampling(inputs, DISTILLED, TRAINED)).toThrow(message);
  });

  test("a checkpoint that is not distilled has no preset instant", () => {
    const inputs = clipInputs({ ...REQUEST, preset: "instant" });
    expect(() => checkSampling(inputs, null, TRAINED)).toThrow("preset: 'instant' needs a distilled checkpoint");
  });

  test("one that is only sampled distilled has no other scheduler", () => {
    const inputs = clipInputs({ ...REQUEST, scheduler: "ddim" });
    expect(() => checkSampling(inputs, { ...DISTILLED, isGuidedSampling: false }, TRAINED)).toThrow("scheduler: 'ddim' must be 'lcm'");
  });
});
