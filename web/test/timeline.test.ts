import { describe, expect, it } from "vitest";
import { dabs, strokePoints } from "../src/draw/brush";
import { Scope } from "../src/scope";
import { randomSamplePrompt } from "../src/settings/sample_prompts";
import { DETAILS, AdaptiveDetail } from "../src/timeline/adaptive_detail";
import { colourOf, colourTable, rgbFromOklch } from "../src/timeline/colour";
import { FramePace } from "../src/timeline/frame_pace";
import { clockText, spacedApart, timeMarks, xOf, zOf } from "../src/timeline/geometry";
import { GpuWork } from "../src/timeline/gpu_work";
import { frequencyAt, heightOf, melFromHertz, noteName } from "../src/timeline/pitch";
import { isSoftwareName } from "../src/timeline/software_rendering";

it("axis labels that would overlap are left out", () => {
  expect(spacedApart([100, 95, 87, 60, 61, 47], 13)).toEqual([true, false, true, true, false, true]);
  expect(spacedApart([], 13)).toEqual([]);
});

describe("pitch", () => {
  it("is on the HTK mel scale", () => {
    expect(melFromHertz(1000)).toBeCloseTo(999.99, 1); // 1000 Hz is 1000 mel by definition
    expect(melFromHertz(700)).toBeCloseTo(2595 * Math.log10(2), 9);
  });

  it("fills the image from 0 to 10 kHz, and the inverse is exact", () => {
    expect([heightOf(0), heightOf(10_000)]).toEqual([0, 1]);
    for (const frequency of [0, 55, 440, 1234.5, 9999]) expect(frequencyAt(heightOf(frequency))).toBeCloseTo(frequency, 6);
  });

  it("has note names", () => {
    expect([440, 261.63, 27.5, 466.16, 7902].map(noteName)).toEqual(["A4", "C4", "A0", "A♯4", "B8"]);
  });
});

describe("colour", () => {
  it("of white, black and red is known", () => {
    expect(rgbFromOklch([1, 0, 0])).toEqual([255, 255, 255]);
    expect(rgbFromOklch([0, 0, 0])).toEqual([0, 0, 0]);
    expect(rgbFromOklch([0.627955, 0.257683, 29.2339])).toEqual([255, 0, 0]); // sRGB's red
  });

  it("gets brighter with loudness", () => {
    const luminances = Array.from({ length: 101 }, (_, i) => {
      const [red, green, blue] = colourOf(i / 100);
      return 0.2126 * red ** 2.2 + 0.7152 * green ** 2.2 + 0.0722 * blue ** 2.2;
    });
    luminances.slice(1).forEach((luminance, i) => expect(luminance).toBeGreaterThanOrEqual(luminances[i]!));
    expect(luminances[100]! / luminances[0]!).toBeGreaterThan(50);
  });

  it("is a table of opaque pixels", () => {
    const table = colourTable(16);
    expect([...table.slice(0, 4)]).toEqual([...colourOf(0), 255]);
    expect([...table.slice(-4)]).toEqual([...colourOf(1), 255]);
    expect(colourOf(7)).toEqual(colourOf(1));
  });
});

describe("the coordinates of the timeline", () => {
  it("have the future on the right and high pitches at the back", () => {
    expect(xOf(12, 10)).toBeGreaterThan(xOf(10, 10));
    expect(xOf(10, 10)).toBe(0);
    expect(zOf(0)).toBe(-zOf(1));
    expect(zOf(1)).toBeLessThan(0);
  });

  it("have time marks from the start of the jam, and none before it", () => {
    expect(timeMarks(-100, 11, 0.5, 5)).toEqual([0.5, 5.5, 10.5]);
    expect(timeMarks(20, 31, 0.5, 5)).toEqual([20.5, 25.5, 30.5]);
  });

  it("format times as minutes and seconds", () => {
    expect([0, 59.4, 59.6, 125, 3600, -3].map(clockText)).toEqual(["0:00", "0:59", "1:00", "2:05", "60:00", "0:00"]);
  });
});

describe("the detail", () => {
  const run = (rate: AdaptiveDetail, duration: number, count: number): boolean =>
    Array.from({ length: count }, () => rate.add(duration)).some(Boolean);

  it("stays high if frames are fast, even after pauses", () => {
    const rate = new AdaptiveDetail();
    expect(run(rate, 16.7, 300)).toBe(false);
    expect(run(rate, 60_000, 300)).toBe(false);
    expect(rate.detail).toBe(DETAILS[0]);
  });

  it("is lowered as far as needed", () => {
    const rate = new AdaptiveDetail();
    expect(run(rate, 50, 46)).toBe(true);
    expect(rate.detail).toBe(DETAILS[1]);
    run(rate, 110, 100);
    expect(rate.detail).toBe(DETAILS.at(-1));
    const verySlow = new AdaptiveDetail();
    run(verySlow, 900, 4);
    expect(verySlow.detail).toBe(DETAILS.at(-1));
  });

  it("draws only some frames with software rendering", () => {
    const [withGpu, slow] = [new AdaptiveDetail(), new AdaptiveDetail()];
    run(withGpu, 90, 400);
    run(slow, 110, 400);
    expect(withGpu.detail).toBe(DETAILS.at(-2));
    expect(slow.detail.isSparse).toBe(true);
    expect(DETAILS.slice(0, -1).some(({ isSparse }) => isSparse)).toBe(false);
  });

  it("is the lowest at once, and stays so, where the processor is known to render", () => {
    const software = new AdaptiveDetail(true);
    expect(software.detail).toBe(DETAILS.at(-1));
    expect([run(software, 900, 100), run(software, 5, 10_000)]).toEqual([false, false]);
  });

  it("rises again when frames have been fast for a while, one level at a time", () => {
    const rate = new AdaptiveDetail();
    run(rate, 500, 4);
    expect(rate.detail).toBe(DETAILS.at(-1));
    const levels = Array.from({ length: 4 }, () => {
      run(rate, 16.7, 11_000 / 16.7);
      return DETAILS.indexOf(rate.detail);
    });
    expect(levels).toEqual([3, 2, 1, 0]);
    expect(run(rate, 16.7, 10_000)).toBe(false);
  });

  it("counts the time between sparse frames, not what they cost", () => {
    const rate = new AdaptiveDetail();
    run(rate, 500, 4);
    const changes = Array.from({ length: 60 }, () => rate.add(17, 240));
    expect(changes.indexOf(true)).toBe(Math.ceil(10_000 / (7 * 240)) * 7 - 1); // medians of 7 frames, as these take 1.5 s
  });

  it("rises from sparse frames although each is seen to be finished a frame late, and a time in the background counts little", () => {
    const rate = new AdaptiveDetail();
    run(rate, 500, 4);
    for (let i = 0; i < 4; i++) expect(rate.add(33.4, i === 0 ? 3_600_000 : 240)).toBe(false);
    expect(Array.from({ length: 60 }, () => rate.add(33.4, 240))).toContain(true);
    const slow = new AdaptiveDetail();
    run(slow, 500, 4);
    expect(Array.from({ length: 200 }, () => slow.add(60, 300))).not.toContain(true);
  });

  it("is tried again more and more seldom if it was too high each time", () => {
    const rate = new AdaptiveDetail();
    let now = 0;
    const raisedAt: number[] = [];
    while (now < 900_000) { // a device that can draw at level 1, but not at level 0
      const duration = rate.detail === DETAILS[0] ? 40 : 16.7;
      now += duration;
      if (rate.add(duration) && rate.detail === DETAILS[0]) raisedAt.push(now);
    }
    const waits = raisedAt.map((time, i) => (time - (raisedAt[i - 1] ?? 0)) / 1000);
    expect(waits.length).toBe(4);
    [10, 40, 160, 640].forEach((wait, i) => expect(Math.abs(waits[i]! - wait)).toBeLessThan(5));
  });
});

describe("the pace of sparse frames", () => {
  const paceOf = (...costs: number[]): FramePace => {
    const pace = new FramePace();
    costs.forEach((cost) => pace.add(cost));
    return pace;
  };

  it("leaves most of the time to others, and nearly all while clips are late", () => {
    const pace = paceOf(60, 60, 60);
    expect((["moving", "usual", "late"] as const).map((situation) => pace.interval(situation))).toEqual([120, 300, 1500]);
  });

  it("has limits: it draws at least every 5 s, and follows the user", () => {
    for (const pace of [paceOf(), paceOf(1)]) expect([pace.interval("moving"), pace.interval("usual"), pace.interval("late")]).toEqual([80, 240, 1000]);
    const slow = paceOf(4000);
    expect([slow.interval("moving"), slow.interval("usual"), slow.interval("late")]).toEqual([500, 2000, 5000]);
  });

  it("ignores single slow frames, and recovers after a slow time", () => {
    const pace = paceOf(60, 60, 900, 60, 60);
    expect(pace.interval("usual")).toBe(300);
    for (const cost of [300, 300, 300]) pace.add(cost);
    expect(pace.interval("usual")).toBe(1500);
    for (const cost of [60, 60, 60]) pace.add(cost);
    expect(pace.interval("usual")).toBe(300);
  });
});

describe("the GPU's work", () => {
  it("is timed until its fence is signalled, and given up after a pause", () => {
    const state = { isSignalled: false, fences: 0 };
    const work = new GpuWork({
      fenceSync: () => { state.fences++; return {}; }, deleteSync: (fence: object | null) => { if (fence) state.fences--; }, flush: () => undefined,
      getSyncParameter: () => (state.isSignalled ? 1 : 0), SIGNALED: 1,
    } as unknown as WebGL2RenderingContext);
    expect(work.finished(0)).toBeNull();
    work.watch(1000);
    expect([work.finished(1016), work.isUnfinished]).toEqual([null, true]);
    state.isSignalled = true;
    expect([work.finished(1049), work.isUnfinished, work.finished(1066)]).toEqual([49, false, null]);
    state.isSignalled = false;
    work.watch(2000);
    expect([work.finished(60_000), work.isUnfinished]).toEqual([null, false]);
    work.watch(61_000);
    work.watch(62_000);
    expect(state.fences).toBe(1);
  });
});

it.each([
  ["ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device (Subzero) (0x0000C0DE)), SwiftShader driver)", true],
  ["llvmpipe (LLVM 15.0.6, 256 bits)", true],
  ["ANGLE (Microsoft, Microsoft Basic Render Driver Direct3D11 vs_5_0 ps_5_0)", true],
  ["ANGLE (Apple, ANGLE Metal Renderer: Apple M2, Unspecified Version)", false],
  ["ANGLE (NVIDIA, NVIDIA GeForce RTX 3060 Direct3D11 vs_5_0 ps_5_0, D3D11)", false],
  ["Mesa Intel(R) UHD Graphics 620 (KBL GT2)", false],
  ["Adreno (TM) 640", false],
])("%s renders in software: %s", (name, isSoftware) => {
  expect(isSoftwareName(name)).toBe(isSoftware);
});

describe("brushes", () => {
  it("paint a tone with overtones at integer multiples, each quieter than the last", () => {
    const tone = dabs("tone", 0.5, heightOf(220), 0.3, 1, Math.random);
    tone.forEach((dab, i) => expect(frequencyAt(dab.y)).toBeCloseTo(220 * (i + 1), 6));
    tone.slice(1).forEach((dab, i) => expect(dab.ink).toBeLessThan(tone[i]!.ink));
    expect(tone[1]!.ink ** 4).toBeCloseTo(0.25, 9); // amplitude is ink to the fourth: -12 dB per octave
  });

  it("leave out overtones above the image", () => {
    const tone = dabs("tone", 0.5, heightOf(4000), 0.3, 1, Math.random);
    expect(tone.map(({ y }) => Math.round(frequencyAt(y)))).toEqual([4000, 8000]);
  });

  it("cover a stroke without gaps", () => {
    const points = [[0, 0] as [number, number], ...strokePoints([0, 0], [0.3, 0.4], 0.01)];
    expect(points.at(-1)).toEqual([0.3, 0.4]);
    points.slice(1).forEach(([x, y], i) => {
      expect(Math.hypot(x - points[i]![0], y - points[i]![1])).toBeLessThanOrEqual(0.01 + 1e-9);
    });
    expect(strokePoints([0.5, 0.5], [0.5, 0.5], 0.01)).toEqual([[0.5, 0.5]]);
  });
});

describe("a scope", () => {
  it("disposes everything once, in reverse order, including children", () => {
    const order: string[] = [];
    const scope = new Scope();
    scope.add(() => order.push("first"));
    scope.child().add(() => order.push("child"));
    const early = scope.add(() => order.push("early"));
    early();
    scope.add(() => order.push("last"));
    scope.dispose();
    scope.dispose();
    early();
    expect(order).toEqual(["early", "last", "child", "first"]);
  });

  it("that is closed disposes late additions immediately", () => {
    const scope = new Scope();
    scope.dispose();
    let isFree = false;
    scope.add(() => (isFree = true));
    expect(isFree).toBe(true);
  });

  it("removes listeners and forgets children that closed before", () => {
    const scope = new Scope();
    const target = new EventTarget();
    let heard = 0;
    const child = scope.child();
    child.listen(target, "x", () => heard++);
    target.dispatchEvent(new Event("x"));
    child.dispose();
    target.dispatchEvent(new Event("x"));
    scope.dispose();
    expect(heard).toBe(1);
  });
});

it("a random prompt never repeats the last one", () => {
  let state = 1;
  const random = (): number => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647;
  let last = "";
  for (let i = 0; i < 500; i++) {
    const prompt = randomSamplePrompt(random, last);
    expect(prompt).not.toBe(last);
    expect(prompt).toMatch(/^[a-z ]+$/);
    last = prompt;
  }
});
