import { describe, expect, it } from "vitest";
import { jamFromQuery, queryFromJam, withKnownImages } from "../src/link/link";
import { DEFAULT_SETTINGS, type Settings } from "../src/settings/settings";
import { shortened } from "../src/shorten";
import { startWalk, step } from "../src/walk/walk";

const read = (query: string): ReturnType<typeof jamFromQuery> => jamFromQuery(query, () => "drawn", () => 7n);

describe("links of the public web app", () => {
  it("are read", () => {
    const query =
      "?prompt=church+bells&seed=8730&denoising=0.85&seedImageId=agile&maskImageId=mask_top_third_75" +
      "&guidance=9&numInferenceSteps=50&alphaVelocity=0.1";
    const { settings, walk, problems } = read(query);
    expect(problems).toEqual([]);
    expect(settings).toMatchObject({
      denoising: 0.85, guidance: 9, numInferenceSteps: 50, alphaStep: 0.1,
      seedImage: { kind: "id", id: "agile" }, mask: { kind: "id", id: "mask_top_third_75" },
    });
    expect(walk.current).toEqual({ prompt: "church bells", seed: 8730n });
    expect(walk.target).toEqual({ prompt: "church bells", seed: 8731n });
  });

  it("use the defaults for all missing parameters", () => {
    expect(read("")).toEqual({ settings: DEFAULT_SETTINGS, walk: startWalk("drawn", 7n), problems: [] });
  });

  it("without a prompt keep the seed and the queue", () => {
    const { walk } = read("?seed=5&next=piano");
    expect(walk).toEqual(startWalk("drawn", 5n, ["piano"]));
  });

  it.each([["9007199254740993", 2n ** 53n + 1n], ["9223372036854775807", 2n ** 63n - 1n], ["007", 7n], ["1e3", 1000n]])("have the seed %s exactly", (text, seed) => {
    const { walk, problems } = read(`?prompt=x&seed=${text}`);
    expect([walk.current.seed, problems]).toEqual([seed, []]);
  });

  it("without a seed get a random one", () => {
    expect(read("?prompt=x").walk.current.seed).toBe(7n);
  });
});

describe("links of this app", () => {
  const settings: Settings = {
    negativePrompt: "drums & noise=bad?#ü",
    denoising: 0.55, guidance: 3.5, numInferenceSteps: 33, scheduler: null, alphaStep: 0.07,
    seedImage: { kind: "id", id: "vibes" }, mask: { kind: "id", id: "mask_gradient_dark" },
  };

  it("restore settings, queue and the position of the walk", () => {
    let walk = startWalk("ब bells + “brass” & 100 %", 2n ** 63n - 2n, ["piano", "piano", "a&b=c"]);
    for (let i = 0; i < 40; i++) {
      const restored = read(queryFromJam(settings, walk));
      expect(restored).toEqual({ settings, walk: { ...walk, alpha: expect.closeTo(walk.alpha, 9) as number }, problems: [] });
      walk = step(walk, settings.alphaStep).walk;
    }
  });

  it("restore defaults", () => {
    const walk = startWalk("bells", 0n);
    expect(read(queryFromJam(DEFAULT_SETTINGS, walk))).toEqual({
      settings: DEFAULT_SETTINGS, walk, problems: [],
    });
  });
});

describe("damaged links", () => {
  it.each([
    ["denoising=7", "denoising", 1],
    ["denoising=-1", "denoising", 0.05],
    ["guidance=abc", "guidance", DEFAULT_SETTINGS.guidance],
    ["guidance=Infinity", "guidance", DEFAULT_SETTINGS.guidance],
    ["numInferenceSteps=1e9", "numInferenceSteps", 150],
    ["alphaVelocity=0", "alphaStep", 0.01],
    ["scheduler=rm -rf", "scheduler", DEFAULT_SETTINGS.scheduler],
  ] as const)("%s is replaced and reported", (query, name, value) => {
    const { settings, problems } = read(`?prompt=x&${query}`);
    expect(settings[name]).toBe(value);
    expect(problems).toHaveLength(1);
  });

  it.each(["-1", "1.5", "1e400", "9223372036854775808", "9e18", "0x10000000000000000", "seven"])("seed=%s is replaced by a random seed", (seed) => {
    const { walk, problems } = read(`?prompt=x&seed=${seed}`);
    expect(walk.current.seed).toBe(7n);
    expect(problems).toHaveLength(1);
  });

  it("shorten prompts that are too long for the server", () => {
    const { walk, problems } = read(`?prompt=${"x".repeat(5000)}&seed=1`);
    expect(walk.current.prompt).toHaveLength(4000);
    expect(problems).toHaveLength(1);
  });

  it("use the default images instead of unknown ones", () => {
    const library = { seedImages: [{ id: "og_beat", url: "" }, { id: "vibes", url: "" }], masks: [{ id: "top", url: "" }] };
    const { settings } = read("?seedImageId=nope&maskImageId=gone&guidance=3");
    expect(withKnownImages(settings, library)).toEqual({
      settings: { ...DEFAULT_SETTINGS, guidance: 3 },
      problems: ["seedImageId=nope is not one of og_beat, vibes", "maskImageId=gone is not one of top"],
    });
    const known = read("?seedImageId=vibes&maskImageId=top").settings;
    expect(withKnownImages(known, library)).toEqual({ settings: known, problems: [] });
    expect(withKnownImages(settings, { seedImages: [], masks: [] })).toEqual({ settings, problems: [] });
  });
});

describe("shortened texts", () => {
  it("are complete if they fit, and never end inside an emoji", () => {
    expect(shortened("x".repeat(40))).toBe("x".repeat(40));
    expect(shortened("🔔".repeat(41))).toBe(`${"🔔".repeat(40)}…`);
  });
});
