import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Failure } from "../src/api/client";
import { Conductor } from "../src/jam/conductor";
import type { ClipPlayer, ClipSource } from "../src/jam/types";
import { DEFAULT_SETTINGS } from "../src/settings/settings";
import { type Stop, startWalk } from "../src/walk/walk";

const CLIP = 5.12;
/** Digits to which sums of clip durations are exact. */
const TIME_DIGITS = 6;

type ClipAudio = { duration: number };
type ClipResult = Awaited<ReturnType<ClipSource<ClipAudio>["make"]>>;

/** A server that takes `seconds` per clip. It first fails as `plan` says, then returns clips. */
class FakeClipSource implements ClipSource<ClipAudio> {
  readonly asked: { stop: Stop; numSteps: number; at: number }[] = [];
  plan: ("fail" | "refuse" | "hang" | "busy")[] = [];

  constructor(public seconds: number, private readonly duration = CLIP) {}

  async make(stop: Stop, _: unknown, numSteps: number, signal: AbortSignal): Promise<ClipResult> {
    this.asked.push({ stop, numSteps, at: Date.now() / 1000 });
    const play = this.plan.shift();
    if (play === "hang") await new Promise((done) => signal.addEventListener("abort", done));
    await new Promise((done) => setTimeout(done, 1000 * this.seconds));
    if (play === "fail") return { failure: failure("away") };
    if (play === "busy") return { failure: { ...failure("busy"), retryAfter: 20 } };
    if (play === "refuse") return { failure: failure("refused") };
    const timing = { total: this.seconds, diffusion: 0.8 * this.seconds, numSteps };
    return { made: { audio: { duration: this.duration }, image: new Blob(), timing } };
  }
}

function failure(kind: Failure["kind"]): Failure {
  return { kind, message: kind };
}

class FakePlayer implements ClipPlayer<ClipAudio> {
  readonly starts: number[] = [];
  get now(): number {
    return Date.now() / 1000;
  }
  play(_: ClipAudio, start: number): number {
    expect(start).toBeGreaterThanOrEqual(this.now);
    this.starts.push(start);
    return start;
  }
}

function jam(clipSource: FakeClipSource, prompt = "bells"): { conductor: Conductor<ClipAudio>; player: FakePlayer; sounded: Stop[] } {
  const player = new FakePlayer();
  const sounded: Stop[] = [];
  const conductor = new Conductor<ClipAudio>(
    clipSource, player, startWalk(prompt, 0n), DEFAULT_SETTINGS, () => undefined, ({ stop }) => sounded.push(stop), () => 0.5,
  );
  conductor.start();
  return { conductor, player, sounded };
}

const pass = (seconds: number): Promise<unknown> => vi.advanceTimersByTimeAsync(1000 * seconds);

beforeEach(() => void vi.useFakeTimers({ now: 0 }));
afterEach(() => void vi.useRealTimers());

/** All starts must be whole rounds of the clip apart. */
function expectOnTheBeat(starts: readonly number[]): void {
  starts.slice(1).forEach((start, i) => {
    const rounds = (start - starts[i]!) / CLIP;
    expect(rounds).toBeCloseTo(Math.round(rounds), TIME_DIGITS);
    expect(rounds).toBeGreaterThan(0.5);
  });
}

describe("a fast server", () => {
  it("plays each clip once, without gap or overlap, in the order of the walk", async () => {
    const { player, sounded, conductor } = jam(new FakeClipSource(1));
    await pass(110);
    expect(player.starts.length).toBeGreaterThanOrEqual(21);
    player.starts.slice(1).forEach((start, i) => expect(start - player.starts[i]!).toBeCloseTo(CLIP, TIME_DIGITS));
    expect(sounded.slice(0, 6).map(({ start, alpha }) => [start.seed, alpha])).toEqual([
      [0n, 0], [0n, 0.25], [0n, 0.5], [0n, 0.75], [1n, 0], [1n, 0.25],
    ]);
    conductor.dispose();
  });

  it("gets no more requests than needed", async () => {
    const clipSource = new FakeClipSource(0.2);
    const { conductor, player } = jam(clipSource);
    await pass(60);
    expect(clipSource.asked.length).toBeLessThanOrEqual(player.starts.length + 3);
    conductor.hold(true);
    await pass(15);
    const asked = clipSource.asked.length;
    await pass(60);
    expect(clipSource.asked.length).toBe(asked);
    conductor.hold(false);
    await pass(30);
    expect(clipSource.asked.length).toBeGreaterThan(asked);
    conductor.dispose();
  });

  it("starts the transition to a queued prompt soon: ready clips are replaced", async () => {
    const clipSource = new FakeClipSource(0.5);
    const { conductor, sounded } = jam(clipSource);
    await pass(21);
    const heard = sounded.length;
    conductor.queue(["piano"]);
    await pass(40);
    const first = sounded.findIndex(({ end }) => end.prompt === "piano");
    expect(first - heard).toBeLessThanOrEqual(4);
    expectContinuous(sounded);
    conductor.dispose();
  });

  it("plays a prompt as the next clip after a jump", async () => {
    const { conductor, sounded } = jam(new FakeClipSource(0.5));
    await pass(19);
    const before = sounded.length;
    conductor.jump("piano");
    await pass(CLIP + 1);
    expect(sounded[before]?.start.prompt).toBe("piano");
    conductor.dispose();
  });

  it("plays an inserted clip next", async () => {
    const { conductor, sounded } = jam(new FakeClipSource(0.5));
    await pass(19);
    const last = conductor.playback.last!.clip;
    const stop = { ...last.stop, alpha: 0.123 };
    conductor.insert({ ...last, stop });
    const before = sounded.length;
    await pass(CLIP + 1);
    expect(sounded[before]?.alpha).toBe(0.123);
    conductor.dispose();
  });
});

/** Each stop must follow from the one before by the rules of the walk: no step is skipped or repeated. */
function expectContinuous(stops: readonly Stop[], alphaSteps: readonly number[] = [0.25]): void {
  const way = stops.slice(1).map((stop, i) => {
    const before = stops[i]!;
    const hasArrived = stop.alpha <= before.alpha;
    expect(stop.start).toEqual(hasArrived ? before.end : before.start);
    return Number((stop.alpha - before.alpha + (hasArrived ? 1 : 0)).toFixed(9));
  });
  expect(alphaSteps).toEqual(expect.arrayContaining(way));
}

describe("a slow server", () => {
  it("makes clips repeat on the beat, gets requests for fewer steps, and is reported as slow", async () => {
    const clipSource = new FakeClipSource(12);
    const { conductor, player, sounded } = jam(clipSource);
    await pass(120);
    expectOnTheBeat(player.starts);
    expectContinuous(sounded, [0.25, 0.125]); // before and after it is known to be slow
    expect(conductor.speed).toMatchObject({ isBehind: true, isReduced: true });
    expect(clipSource.asked.at(-1)!.numSteps).toBeLessThan(DEFAULT_SETTINGS.numInferenceSteps);
    conductor.dispose();
  });

  it("changes half as much from clip to clip, but not on the way to another prompt", async () => {
    const { conductor, sounded } = jam(new FakeClipSource(12));
    await pass(100);
    const wandered = sounded.slice(-2).map(({ alpha }) => alpha);
    expect((wandered[1]! - wandered[0]! + 1) % 1).toBeCloseTo(0.125, 9);
    conductor.queue(["piano"]);
    await pass(240);
    const way = sounded.filter(({ start, end }) => end.prompt === "piano" && start.prompt === "bells");
    expect(way.slice(1).map(({ alpha }, i) => alpha - way[i]!.alpha)).toEqual(way.slice(1).map(() => 0.25));
    expect(way.length).toBeGreaterThan(2);
    conductor.dispose();
  });

  it("keeps a request that is still valid when a prompt is queued", async () => {
    const clipSource = new FakeClipSource(12);
    const { conductor } = jam(clipSource);
    await pass(30); // in the middle of a stretch
    const asked = clipSource.asked.length;
    conductor.queue(["piano"]);
    await pass(1);
    expect(clipSource.asked.length).toBe(asked);
    expect(conductor.walk.queue).toEqual(["piano"]);
    await pass(120);
    expect(clipSource.asked.some(({ stop }) => stop.end.prompt === "piano")).toBe(true);
    conductor.dispose();
  });
});

describe("a broken server", () => {
  it("never stops the music, and no step of the walk is skipped", async () => {
    const clipSource = new FakeClipSource(1);
    const { conductor, player, sounded } = jam(clipSource);
    await pass(20);
    clipSource.plan = Array.from({ length: 6 }, () => "fail" as const);
    await pass(20);
    expect(conductor.trouble).not.toBeNull();
    await pass(180);
    expect(conductor.trouble).toBeNull();
    expectOnTheBeat(player.starts);
    expectContinuous(sounded);
    conductor.dispose();
  });

  it("is retried with growing delays", async () => {
    const clipSource = new FakeClipSource(0);
    clipSource.plan = Array.from({ length: 100 }, () => "fail" as const);
    const { conductor } = jam(clipSource);
    await pass(120);
    const gaps = clipSource.asked.slice(1).map(({ at }, i) => at - clipSource.asked[i]!.at);
    expect(gaps[0]).toBeLessThan(1.5);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(30);
    expect(clipSource.asked.length).toBeLessThan(20);
    conductor.dispose();
  });

  it("is not retried before Retry-After", async () => {
    const clipSource = new FakeClipSource(0);
    clipSource.plan = ["busy"];
    const { conductor } = jam(clipSource);
    await pass(19);
    expect(clipSource.asked.length).toBe(1);
    await pass(3);
    expect(clipSource.asked.length).toBeGreaterThan(1);
    conductor.dispose();
  });

  it("that refuses a request gets no retry until something changes", async () => {
    const clipSource = new FakeClipSource(0.1);
    const { conductor } = jam(clipSource);
    await pass(8);
    clipSource.plan = Array.from({ length: 3 }, () => "refuse" as const);
    await pass(20);
    const asked = clipSource.asked.length;
    expect(conductor.trouble?.failure.kind).toBe("refused");
    await pass(100);
    expect(clipSource.asked.length).toBe(asked);
    clipSource.plan = [];
    conductor.adjust({ ...conductor.settings, guidance: 6 });
    await pass(10);
    expect(clipSource.asked.length).toBeGreaterThan(asked);
    expect(conductor.trouble).toBeNull();
    conductor.dispose();
  });

  it("that hangs: its request is cancelled by a jump", async () => {
    const clipSource = new FakeClipSource(0.2);
    const { conductor, sounded } = jam(clipSource);
    await pass(8);
    clipSource.plan = ["hang"];
    await pass(20);
    const before = sounded.length;
    conductor.jump("piano");
    await pass(8);
    expect(sounded[before]?.start.prompt).toBe("piano");
    conductor.dispose();
  });
});

describe("the upcoming prompts", () => {
  /** A jam on its way from bells to piano, with an organ in the queue. */
  async function underWay(): Promise<ReturnType<typeof jam> & { clipSource: FakeClipSource }> {
    const clipSource = new FakeClipSource(0.5);
    const { conductor, ...rest } = jam(clipSource);
    await pass(2);
    conductor.queue(["piano", "organ"]);
    await pass(8);
    expect(conductor.walk.queue).toEqual(["organ"]);
    return { clipSource, conductor, ...rest };
  }
  const next = ({ conductor }: { conductor: Conductor<ClipAudio> }): readonly string[] =>
    Object.values(conductor.upcomingAfter(conductor.playback.last?.clip)).flat() as string[];

  it("contain a prompt from the queue until it is audible", async () => {
    const { conductor } = jam(new FakeClipSource(0.5));
    await pass(2);
    conductor.queue(["piano", "organ"]);
    const plans = new Set<string>();
    for (let second = 0; second < 90; second++) {
      plans.add(next({ conductor }).join(", "));
      await pass(1);
    }
    expect([...plans]).toEqual(["piano, organ", "organ", ""]);
    conductor.dispose();
  });

  it("can be changed even if ready clips lead to them", async () => {
    const { conductor, sounded } = await underWay();
    const before = sounded.length;
    conductor.replaceUpcoming(["choir", "organ"]);
    expect(next({ conductor })).toEqual(["choir", "organ"]);
    await pass(80);
    const prompts = sounded.slice(before).flatMap(({ start, end }) => [start.prompt, end.prompt]);
    expect([...new Set(prompts)]).toEqual(["bells", "choir", "organ"]);
    conductor.dispose();
  });

  it("can all be removed", async () => {
    const { conductor, sounded } = await underWay();
    const before = sounded.length;
    conductor.replaceUpcoming([]);
    await pass(60);
    expect(new Set(sounded.slice(before).flatMap(({ start, end }) => [start.prompt, end.prompt]))).toEqual(new Set(["bells"]));
    conductor.dispose();
  });

  it("keep ready clips if only later prompts change", async () => {
    const { conductor, clipSource } = await underWay();
    const ready = [...conductor.ready];
    const numAsked = clipSource.asked.length;
    conductor.replaceUpcoming(["piano", "choir"]);
    expect(conductor.ready).toEqual(ready);
    expect(clipSource.asked.length).toBe(numAsked);
    expect(conductor.walk.queue).toEqual(["choir"]);
    conductor.dispose();
  });

  it("after a jump are the new prompt and then the editable ones", async () => {
    const { conductor, sounded } = await underWay();
    const before = sounded.length;
    conductor.jump("choir");
    expect(next({ conductor })).toEqual(["choir", "piano", "organ"]);
    await pass(100);
    const prompts = sounded.slice(before).map(({ start }) => start.prompt);
    expect([...new Set(prompts)]).toEqual(["choir", "piano", "organ"]);
    conductor.dispose();
  });
});

it("every queued prompt is listed until it is audible", async () => {
  const { conductor } = jam(new FakeClipSource(0.5));
  await pass(2);
  conductor.queue(["jazz trio", "organ"]);
  const plans = new Set<string>();
  for (let second = 0; second < 90; second++) {
    await pass(1);
    const clip = conductor.playback.last!.clip;
    plans.add([clip.stop.end.prompt, ...conductor.promptsAfter(clip)].join(", "));
  }
  expect([...plans]).toEqual(["bells, jazz trio, organ", "jazz trio, organ", "organ"]);
  conductor.dispose();
});

it("keeps a bounded number of clips in an hour", async () => {
  const { conductor } = jam(new FakeClipSource(0.5));
  let most = 0;
  for (let minute = 0; minute < 60; minute++) {
    await pass(60);
    most = Math.max(most, conductor.ready.length + conductor.playback.rounds(-1e9, 1e9, Date.now() / 1000, []).length);
  }
  expect(most).toBeLessThan(25);
  conductor.dispose();
}, 60_000);
