import { afterEach, describe, expect, it, vi } from "vitest";
import { fetchDistillation } from "../src/api/library";
import { clipInput } from "../src/api/messages";
import { jamFromQuery, queryFromJam } from "../src/link/link";
import { type Distillation, INSTANT, defaultsFor, fitted, isInstant, withInstant } from "../src/settings/distilled";
import { DEFAULT_SETTINGS } from "../src/settings/settings";
import { startWalk } from "../src/walk/walk";

const DUAL: Distillation = { maxSteps: 8, guidance: [1, 10], isGuidedSampling: true };
const ONLY_DISTILLED: Distillation = { maxSteps: 6, guidance: [1, 5], isGuidedSampling: false };
const LCM = { ...DEFAULT_SETTINGS, ...INSTANT };

describe("settings for a distilled checkpoint", () => {
  it("are instant by default", () => {
    expect(defaultsFor(null)).toEqual(DEFAULT_SETTINGS);
    expect(defaultsFor(DUAL)).toEqual(LCM);
    expect(defaultsFor(ONLY_DISTILLED)).toEqual({ ...LCM, guidance: 5 });
  });

  it("are the usual ones with a negative prompt, if the checkpoint can do them", () => {
    expect(defaultsFor(DUAL, "drums")).toEqual(DEFAULT_SETTINGS);
    expect(defaultsFor(ONLY_DISTILLED, "drums")).toEqual({ ...LCM, guidance: 5 });
  });

  it.each([
    ["steps", { ...LCM, numInferenceSteps: 50 }, DUAL, { ...LCM, numInferenceSteps: 8 }],
    ["high guidance", { ...LCM, guidance: 12 }, DUAL, { ...LCM, guidance: 10 }],
    ["low guidance", { ...LCM, guidance: 0 }, DUAL, { ...LCM, guidance: 1 }],
    ["a negative prompt", { ...LCM, negativePrompt: "drums" }, DUAL, { ...DEFAULT_SETTINGS, negativePrompt: "drums" }],
    ["another scheduler", DEFAULT_SETTINGS, ONLY_DISTILLED, { ...LCM, guidance: 5 }],
    ["both", { ...DEFAULT_SETTINGS, negativePrompt: "drums" }, ONLY_DISTILLED, { ...LCM, guidance: 5 }],
  ])("are changed where the server would refuse %s", (_, settings, distillation, expected) => {
    expect(fitted(settings, distillation)).toEqual(expected);
    expect(fitted(settings, null)).toEqual(settings);
  });

  it("keep guided sampling where the checkpoint can do it", () => {
    const guided = { ...DEFAULT_SETTINGS, numInferenceSteps: 50, guidance: 20, negativePrompt: "drums" };
    expect(fitted(guided, DUAL)).toEqual(guided);
  });

  it("can be switched", () => {
    const on = withInstant({ ...DEFAULT_SETTINGS, negativePrompt: "drums" }, true);
    expect(on).toEqual(LCM);
    expect([isInstant(on, DUAL), isInstant(on, null), isInstant(withInstant(on, false), DUAL)]).toEqual([true, false, false]);
  });
});

describe("requests of distilled sampling", () => {
  it("have guidance in every step", () => {
    const stop = { start: { prompt: "bells", seed: 1n }, end: { prompt: "bells", seed: 2n }, alpha: 0 };
    const request = clipInput(stop, LCM, LCM.numInferenceSteps);
    expect(request).toMatchObject({ scheduler: "lcm", num_inference_steps: 4 });
    expect(request).not.toHaveProperty("guidance_interval");
  });
});

describe("links", () => {
  it.each([null, DUAL])("leave out the defaults of the server", (distillation) => {
    const walk = startWalk("bells", 0n);
    const defaults = defaultsFor(distillation);
    const query = queryFromJam(defaults, walk, defaults);
    expect(query).not.toContain("scheduler");
    expect(jamFromQuery(query, () => "", () => 7n, defaults).settings).toEqual(defaults);
    const other = withInstant(defaults, distillation === null);
    expect(jamFromQuery(queryFromJam(other, walk, defaults), () => "", () => 7n, defaults).settings).toEqual(other);
  });

  it("keep their steps beside a negative prompt", () => {
    const defaults = defaultsFor(DUAL, "drums");
    const { settings } = jamFromQuery("?negativePrompt=drums&numInferenceSteps=30", () => "", () => 7n, defaults);
    const guided = { ...DEFAULT_SETTINGS, negativePrompt: "drums", numInferenceSteps: 30 };
    expect(fitted(settings, DUAL)).toEqual(guided);
    expect(jamFromQuery(queryFromJam(guided, startWalk("bells", 0n), defaults), () => "", () => 7n, defaults).settings).toEqual(guided);
  });
});

describe("what the server says about its checkpoint", () => {
  afterEach(() => void vi.unstubAllGlobals());
  const answer = (content: unknown): void => void vi.stubGlobal("fetch", () => Promise.resolve(Response.json(content)));

  it("is read", async () => {
    answer({ presets: ["instant"], distillation: { max_steps: 8, guidance: [1, 10], guided_sampling: true } });
    expect(await fetchDistillation("http://x/")).toEqual(DUAL);
  });

  it.each([
    null, {}, { error: "no" }, { distillation: null }, { distillation: { max_steps: "8" } },
    { distillation: { max_steps: 8, guidance: [1], guided_sampling: true } },
    { distillation: { max_steps: 8, guidance: [1, "x"], guided_sampling: true } },
  ])("is nothing if it is %j", async (content) => {
    answer(content);
    expect(await fetchDistillation("http://x/")).toBeNull();
  });
});
