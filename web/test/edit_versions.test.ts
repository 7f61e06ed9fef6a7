import { describe, expect, it } from "vitest";
import type { Pcm } from "../src/audio/pcm";
import { readWav } from "../src/audio/wav_reader";
import { type EditOrder, type EditPlan, MAX_SECTION, editInput, editedBy, planOf } from "../src/edit/edit_requests";
import { begun, currentVersion, goTo, numbered, redo, undo, versionBefore, withTake, withVersion } from "../src/edit/history";
import { type Pieces, cut, isSame, lengthOf, readSamples, samePlace, spliced } from "../src/edit/pieces";
import { fileOfVersion, newProject, nextSource, withoutUnused } from "../src/edit/project";

const RATE = 1000;
const WHOLE: Pieces = [{ source: 0, start: 0, stop: 100 }];
const NEW: Pieces = [{ source: 1, start: 0, stop: 20 }];
const sources = new Map([0, 1, 2].map((source) => [source, [Int16Array.from({ length: 100 }, (_, i) => 1000 * source + i)]]));

function read(pieces: Pieces, start = 0, length = lengthOf(pieces)): number[] {
  const target = new Int16Array(length);
  readSamples(pieces, sources, 0, start, target);
  return [...target];
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

describe("pieces", () => {
  it("keep the samples beside what is replaced", () => {
    const edited = spliced(WHOLE, 30, 50, NEW);
    expect(read(edited)).toEqual([...range(0, 30), ...range(1000, 1020), ...range(50, 100)]);
    expect(read(WHOLE)).toEqual(range(0, 100));
  });

  it("are replaced by something longer or shorter, at the ends, and within what is new", () => {
    expect(read(spliced(WHOLE, 90, 100, [{ source: 1, start: 0, stop: 30 }]))).toEqual([...range(0, 90), ...range(1000, 1030)]);
    expect(read(spliced(WHOLE, 0, 10, [{ source: 1, start: 5, stop: 6 }]))).toEqual([1005, ...range(10, 100)]);
    const twice = spliced(spliced(WHOLE, 30, 50, NEW), 40, 60, [{ source: 2, start: 0, stop: 20 }]);
    expect(read(twice)).toEqual([...range(0, 30), ...range(1000, 1010), ...range(2000, 2020), ...range(60, 100)]);
  });

  it("are one again when the same samples come back", () => {
    expect(spliced(spliced(WHOLE, 30, 50, NEW), 30, 50, cut(WHOLE, 30, 50))).toEqual(WHOLE);
  });

  it("are not replaced outside", () => {
    for (const [start, stop] of [[-1, 5], [5, 101], [6, 5], [NaN, 5]] as const) {
      expect(() => spliced(WHOLE, start, stop, NEW)).toThrow(RangeError);
    }
  });

  it("are silence outside when they are read", () => {
    expect(read(WHOLE, -3, 5)).toEqual([0, 0, 0, 0, 1]);
    expect(read(WHOLE, 98, 5)).toEqual([98, 99, 0, 0, 0]);
    expect(read(WHOLE, 200, 2)).toEqual([0, 0]);
  });

  it("say where two versions are the same", () => {
    const edited = spliced(WHOLE, 30, 50, NEW);
    expect([isSame(WHOLE, edited, -10, 30), isSame(WHOLE, edited, 50, 120), isSame(WHOLE, edited, 29, 31)]).toEqual([true, true, false]);
    const later = [...NEW, ...WHOLE];
    expect(isSame(WHOLE, later, 0, 50)).toBe(false); // the same samples, but at another place
  });
});

describe("the same place of the music", () => {
  const edited = spliced(WHOLE, 30, 50, NEW);
  const earlier = spliced(WHOLE, 0, 5, [{ source: 1, start: 0, stop: 40 }]); // 35 samples more before it

  it.each([
    ["is unchanged by a replacement of equal length", WHOLE, edited, [0, 29, 30, 49, 50, 99], [0, 29, 30, 49, 50, 99]],
    ["and back", edited, WHOLE, [0, 29, 30, 49, 50, 99], [0, 29, 30, 49, 50, 99]],
    ["moves with an extension at the start", WHOLE, earlier, [5, 50, 99], [40, 85, 134]],
    ["and back, where the start of what is new is the start", earlier, WHOLE, [0, 40, 134], [0, 5, 99]],
    ["is the end for what is after it", [...WHOLE, ...NEW], WHOLE, [99, 100, 119], [99, 100, 100]],
    ["is as far from the start in something entirely new", NEW, [{ source: 2, start: 0, stop: 10 }], [3, 19], [3, 10]],
  ] as const)("%s", (_, from, to, places, expected) => {
    expect(places.map((at) => samePlace(from, to, at))).toEqual(expected);
  });
});

describe("versions", () => {
  const version = (title: string) => ({ title, pieces: NEW, change: null, isLoop: false });
  const titles = (history: ReturnType<typeof begun>): (string | undefined)[] => [currentVersion(history).title, versionBefore(history)?.title];

  it("are undone and redone, all the way", () => {
    const two = withVersion(withVersion(begun("song", WHOLE), 0, version("a")), 1, version("b"));
    expect(titles(two)).toEqual(["b", "a"]);
    expect(titles(undo(two))).toEqual(["a", "song"]);
    expect(titles(undo(undo(undo(two))))).toEqual(["song", undefined]);
    expect(redo(redo(redo(undo(undo(two)))))).toEqual(two);
  });

  const three = withTake(withTake(withVersion(begun("song", WHOLE), 0, version("take 1")), 0, version("take 2")), 0, version("take 3"));
  const kept = ({ versions }: typeof three): number[] => versions.map(({ id }) => id);

  it("of one edit wait to be chosen, and what is shown or was undone stays", () => {
    expect(three).toMatchObject({ current: 1, takes: { ids: [1, 2, 3], chosen: 1 } });
    const undone = withTake(undo(three), 0, version("take 4"));
    expect([undone.current, redo(undone).current]).toEqual([0, 1]);
    expect([goTo(three, 3), undo(goTo(three, 3)), redo(undo(goTo(three, 2)))].map(({ takes }) => takes?.chosen)).toEqual([3, 3, 2]);
  });

  it("that were not chosen go with the next edit, unless something was made of them", () => {
    const next = withVersion(goTo(three, 2), 2, version("next"));
    expect([kept(next), next.takes]).toEqual([[0, 2, 4], { ids: [4], chosen: 4 }]);
    expect(kept(withVersion(undo(goTo(three, 3)), 0, version("again")))).toEqual([0, 3, 4]);
    expect(kept(withVersion(goTo(three, 3), 1, version("of the first, which was shown when it was asked for")))).toEqual([0, 1, 3, 4]);
  });

  it("are takes of the same version, and none is lost", () => {
    const first = withVersion(begun("song", WHOLE), 0, version("take 1"));
    const second = withVersion(undo(first), 0, version("take 2"));
    expect(second.versions.map(({ title, parent }) => [title, parent])).toEqual([["song", null], ["take 1", 0], ["take 2", 0]]);
    expect([numbered(second, "take 1"), numbered(second, "take 3")]).toEqual(["take 1 (2)", "take 3"]);
    expect(redo(second)).toEqual(second); // there is nothing to redo after an edit
    expect(titles(goTo(second, 1))).toEqual(["take 1", "song"]);
  });
});

const ORDER: EditOrder = {
  action: "replace", prompt: " bells ", seed: 5, strength: 0.4, side: "end", seconds: 8, beats: 4, to: null, clips: 6, tempo: 120,
  selection: { start: 12, stop: 14, band: null },
};
const LENGTH = 60 * RATE;
const SENT = { sampleRate: RATE, numChannels: 1, bits: 16, isFloat: false } as const;

function planned(change: Partial<EditOrder>, length = LENGTH): EditPlan {
  const plan = planOf({ ...ORDER, ...change }, length, SENT);
  if ("problem" in plan) throw new Error(plan.problem);
  return plan;
}

/** An answer whose samples are negative, so that they differ from those of the recording. */
function answer(length: number): Pcm {
  return { format: SENT, channels: [Int16Array.from({ length }, (_, i) => -1 - (i % 30_000))] };
}

describe("a request", () => {
  it("sends the region and four seconds on each side, and names the region in what is sent", () => {
    const plan = planned({});
    expect([plan.start, plan.stop, plan.region]).toEqual([8000, 18_000, { start: 12_000, stop: 14_000 }]);
    expect(editInput(plan, RATE, "data:x")).toEqual({
      mode: "repaint", start: { prompt: "bells", seed: 5, denoising: 1, guidance: 7 }, init_audio: "data:x",
      region: { from_s: 4, to_s: 6 }, audio_format: "wav", preset: "fast",
    });
  });

  it("is cut at the ends of the recording, and has the strength of a restyle and the band", () => {
    const plan = planned({ action: "restyle", selection: { start: 1, stop: 3, band: { low: 200, high: 800 } } }, 5 * RATE);
    expect([plan.start, plan.stop]).toEqual([0, 5000]);
    expect(editInput(plan, RATE, "")).toMatchObject({ start: { denoising: 0.4 }, region: { from_s: 1, to_s: 3, low_hz: 200, high_hz: 800 } });
  });

  it("sends the end of a recording to extend it, or the start", () => {
    const end = planned({ action: "extend" });
    const start = planned({ action: "extend", side: "start" });
    expect([end.start, end.stop, end.region]).toEqual([48_000, 60_000, { start: 59_980, stop: 60_000 }]);
    expect([start.start, start.stop, start.region]).toEqual([0, 12_000, { start: 0, stop: 20 }]);
    expect(editInput(end, RATE, "")).toMatchObject({ mode: "extend", after_s: 8, tempo_bpm: 120 });
    expect(editInput(start, RATE, "")).toMatchObject({ mode: "extend", before_s: 8 });
  });

  it.each([
    ["no prompt", { prompt: " " }, /Type what should be here/],
    ["nothing marked", { selection: null }, /Mark a section first/],
    ["too long a section", { selection: { start: 0, stop: MAX_SECTION + 0.1, band: null } }, /mark at most 50 s/],
  ] as const)("is not made with %s", (_, change, problem) => {
    expect(planOf({ ...ORDER, ...change }, LENGTH, SENT)).toEqual({ problem: expect.stringMatching(problem) });
  });

  it("for a piece sends the section and as much of what follows it, or another recording", () => {
    const plan = planned({ action: "between", prompt: "" });
    expect(plan).toMatchObject({ start: 12_000, stop: 14_000, second: { start: 14_000, stop: 16_000 } });
    expect(editInput(plan, RATE, "data:x", "data:y")).toMatchObject({ mode: "between", init_audio: "data:x", init_audio_b: "data:y", num_clips: 6, start: { prompt: "", seed: 5 } });
    expect(planned({ action: "between", selection: { start: 12, stop: 59, band: null }, clips: 2 })).toMatchObject({ second: { start: 59_000, stop: LENGTH } });
    expect(planned({ action: "between", selection: { start: 50, stop: 60, band: null }, to: new Blob() }).second).toBeNull();
  });

  it.each([
    ["nothing follows", { selection: { start: 50, stop: 59.9, band: null } }, /Only 0.1 s follow the marked section/],
    ["the section is too short", { selection: { start: 5, stop: 5.4, band: null } }, /Mark at least 0.5 s/],
    ["it is too long", { selection: { start: 5, stop: 26, band: null } }, /6 clips of 21.0 s are too long; mark at most 20 s/],
  ] as const)("for a piece is not made if %s", (_, change, problem) => {
    expect(planOf({ ...ORDER, ...change, action: "between" }, LENGTH, SENT)).toEqual({ problem: expect.stringMatching(problem) });
  });

  it("for a loop begins where the section begins, and needs no prompt", () => {
    const plan = planned({ action: "loop", prompt: "", tempo: null });
    expect(editInput(plan, RATE, "")).toMatchObject({ mode: "loop", beats: 4, from_s: 0.04 });
  });

  it("is as long as one request may be", () => {
    const wide = { sampleRate: 96_000, numChannels: 2, bits: 24, isFloat: false } as const;
    const order = { ...ORDER, selection: { start: 10, stop: 50, band: null } };
    expect(planOf(order, 60 * 96_000, wide)).toEqual({ problem: expect.stringMatching(/mark at most 35 s/) });
    expect(planOf({ ...order, selection: { start: 10, stop: 45, band: null } }, 60 * 96_000, wide)).toHaveProperty("region");
  });

  it("is not made for a recording that is too short", () => {
    expect(planOf(ORDER, 499, SENT)).toEqual({ problem: expect.stringMatching(/lasts 0.50 s, and at least 0.5 s/) });
  });
});

describe("an answer", () => {
  const recording = newProject("id", "song.wav", {
    pcm: { format: SENT, channels: [Int16Array.from({ length: LENGTH }, (_, i) => i % 30_000)] }, note: "", fileType: "wav", isOwnType: true, tags: [],
  });
  const pieces = currentVersion(recording.history).pieces;

  async function downloaded(plan: EditPlan, length: number): Promise<number[]> {
    const edited = editedBy(plan, pieces, SENT, answer(length), 1);
    if ("problem" in edited) throw new Error(edited.problem);
    const project = { ...recording, sources: new Map([...recording.sources, [1, edited.audio.channels]]) };
    return [...readWav(await (await fileOfVersion(project, "wav", edited.pieces)).arrayBuffer())!.channels[0]!];
  }
  it("leaves nothing in memory of versions that are gone, and its number never comes again", () => {
    const [first, second] = [[{ source: 1, start: 0, stop: 5 }], [{ source: 2, start: 0, stop: 5 }]].map((pieces) => ({ title: "", pieces, change: null, isLoop: false }));
    const three = new Map([...recording.sources, [1, []], [2, []]]);
    const history = withVersion(withTake(withVersion(recording.history, 0, second!), 0, first!), 0, { ...second!, title: "next" });
    const smaller = withoutUnused({ ...recording, sources: three, history });
    expect([[...smaller.sources.keys()], nextSource(smaller)]).toEqual([[0, 2], 3]);
  });

  const original = (from: number, to: number): number[] => range(from, to).map((i) => i % 30_000);
  const made = (from: number, to: number): number[] => range(from, to).map((i) => -1 - (i % 30_000));

  it("changes the samples of the region and no others in the file", async () => {
    const file = await downloaded(planned({}), 10_000);
    expect(file).toEqual([...original(0, 12_000), ...made(4000, 6000), ...original(14_000, LENGTH)]);
  });

  it("extends the recording after its end and before its start", async () => {
    expect(await downloaded(planned({ action: "extend" }), 20_000)).toEqual([...original(0, 59_980), ...made(11_980, 20_000)]);
    expect(await downloaded(planned({ action: "extend", side: "start" }), 20_000)).toEqual([...made(0, 8020), ...original(20, LENGTH)]);
  });

  it("is the loop", async () => {
    expect(await downloaded(planned({ action: "loop" }), 2000)).toEqual(made(0, 2000));
  });

  it.each([
    ["another length", planned({}), answer(9999), /9999 samples, and 10000 were sent/],
    ["another format", planned({}), { ...answer(10_000), format: { ...SENT, sampleRate: 44_100 } }, /another format/],
    ["nothing new", planned({ action: "extend" }), answer(12_000), /12000 samples, and 12000/],
    ["no loop", planned({ action: "loop" }), answer(0), /0 samples/],
  ] as const)("with %s is refused", (_, plan, wrong, problem) => {
    expect(editedBy(plan, pieces, SENT, wrong, 1)).toEqual({ problem: expect.stringMatching(problem) });
  });
});
