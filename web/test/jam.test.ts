import { describe, expect, it } from "vitest";
import { type Clip, fileName, nearestPrompt, walkBefore } from "../src/jam/clip";
import { PlaybackTimeline } from "../src/jam/playback_timeline";
import { ServerSpeed } from "../src/jam/server_speed";
import { type JamFacts, statusOf } from "../src/jam/status";
import { nowAndNext } from "../src/jam/upcoming_prompts";
import { startWalk, step } from "../src/walk/walk";

const CLIP = 5.12;

describe("the serverSpeed", () => {
  const settled = (total: number, diffusion: number | null, numSteps: number): ServerSpeed => {
    const serverSpeed = new ServerSpeed();
    for (let i = 0; i < 12; i++) serverSpeed.add({ total, diffusion, numSteps });
    return serverSpeed;
  };

  it("uses the wanted steps before the first clip", () => {
    expect(new ServerSpeed().speed(50, CLIP)).toEqual({
      secondsPerClip: null, numSteps: 50, isReduced: false, isBehind: false, wanderStepScale: 1, clipsAhead: 2,
    });
  });

  it("changes nothing for a fast server", () => {
    const speed = settled(1, 0.8, 20).speed(20, CLIP);
    expect(speed).toMatchObject({ numSteps: 20, isReduced: false, isBehind: false, wanderStepScale: 1, clipsAhead: 2 });
    expect(speed.secondsPerClip).toBeCloseTo(1, 9);
  });

  it("uses fewer steps if that is enough to keep up", () => {
    const speed = settled(6, 5, 50).speed(50, CLIP); // 0.1 s per step and 1 s for the rest
    expect(speed).toMatchObject({ numSteps: Math.floor((0.85 * CLIP - 1) / 0.1), isReduced: true, isBehind: false });
  });

  it("is behind if even the minimum of steps is too slow", () => {
    const speed = settled(20, 15, 50).speed(50, CLIP); // 0.3 s per step and 5 s for the rest
    expect(speed).toMatchObject({ numSteps: 8, isReduced: true, isBehind: true, wanderStepScale: 0.5 });
    expect(speed.clipsAhead).toBe(5);
  });

  it("does not count a single late clip as slow", () => {
    const serverSpeed = new ServerSpeed();
    serverSpeed.add({ total: 20, diffusion: 15, numSteps: 20 });
    expect(serverSpeed.speed(20, CLIP)).toMatchObject({ isBehind: true, wanderStepScale: 1 });
    serverSpeed.add({ total: 20, diffusion: 15, numSteps: 20 });
    expect(serverSpeed.speed(20, CLIP).wanderStepScale).toBe(0.5);
    serverSpeed.add({ total: 2, diffusion: 1, numSteps: 20 });
    expect(serverSpeed.speed(20, CLIP).wanderStepScale).toBe(1);
  });

  it("never uses more steps than wanted, even below the minimum", () => {
    expect(settled(30, 25, 5).speed(5, CLIP).numSteps).toBe(5);
  });

  it("works without reports of steps", () => {
    const speed = settled(10, null, 50).speed(50, CLIP);
    expect(speed.isReduced).toBe(true);
    expect(speed.numSteps).toBeLessThan(50);
  });

  it("recovers when the server becomes fast again", () => {
    const serverSpeed = settled(20, 15, 50);
    for (let i = 0; i < 20; i++) serverSpeed.add({ total: 1, diffusion: 0.8, numSteps: 8 });
    expect(serverSpeed.speed(40, CLIP)).toMatchObject({ isBehind: false, numSteps: 40 });
  });
});

describe("the playback timeline", () => {
  const clip = (id: number, duration = 4): { id: number; audio: { duration: number } } => ({ id, audio: { duration } });

  it("finds the playing clip and the number of its rounds", () => {
    const playback = new PlaybackTimeline();
    playback.add(clip(1), 10);
    playback.add(clip(2), 18);
    expect(playback.at(9)).toBeUndefined();
    expect(playback.at(17.9)?.clip.id).toBe(1);
    expect(playback.at(18)?.clip.id).toBe(2);
    expect([playback.roundsAt(9), playback.roundsAt(13), playback.roundsAt(14.5), playback.roundsAt(18.5)]).toEqual([0, 1, 2, 1]);
  });

  it("lists past, present and future rounds without gap or overlap", () => {
    const playback = new PlaybackTimeline<ReturnType<typeof clip>>();
    playback.add(clip(1), 10);
    playback.add(clip(2, 3), 18);
    const rounds = playback.rounds(0, 100, 19, [clip(3, 5), clip(4)]);
    expect(rounds.map(({ clip, start, repeat }) => [clip.id, start, repeat])).toEqual([
      [1, 10, 0], [1, 14, 1], [2, 18, 0], [3, 21, 0], [4, 26, 0],
    ]);
    expect(new Set(rounds.map(({ key }) => key)).size).toBe(rounds.length);
  });

  it("adds a round whenever the last clip repeats", () => {
    const playback = new PlaybackTimeline<ReturnType<typeof clip>>();
    playback.add(clip(1), 0);
    expect(playback.rounds(0, 100, 9, []).map(({ start }) => start)).toEqual([0, 4, 8]);
  });

  it("omits rounds outside the time span and drops old slots", () => {
    const playback = new PlaybackTimeline<ReturnType<typeof clip>>();
    for (let i = 0; i < 100; i++) playback.add(clip(i), 4 * i);
    expect(playback.rounds(390, 394, 398, []).map(({ clip }) => clip.id)).toEqual([97, 98]);
    expect(playback.at(4)).toBeUndefined();
    expect(playback.rounds(-1000, 1000, 398, []).length).toBeLessThan(20);
  });
});

describe("file names", () => {
  const at = (alpha: number, from = "church bells", to = "church bells"): string =>
    fileName({ start: { prompt: from, seed: 7n }, end: { prompt: to, seed: 8n }, alpha });

  it("contain prompts, seeds and alpha", () => {
    expect(at(0)).toBe("church-bells-7");
    expect(at(0.25)).toBe("church-bells-7_8_0.25");
    expect(at(1 / 3, "church bells", "jazz trio")).toBe("church-bells-7_jazz-trio-8_0.333");
  });

  it("are valid on every operating system", () => {
    expect(at(0, "../../etc/passwd: <a|b>?*\"\0")).toBe("etc-passwd-a-b-7");
    expect(at(0, "!?")).toBe("clip-7");
    expect(at(0, "Ärger über 音楽")).toMatch(/^[\p{L}\p{N}-]+$/u);
    expect(at(0, "x".repeat(4000)).length).toBeLessThan(100);
  });
});

describe("clips", () => {
  it("restore the walk before them", () => {
    let walk = startWalk("bells", 3n, ["piano"]);
    for (let i = 0; i < 12; i++) {
      const { stop, walk: after } = step(walk, 0.3);
      const clip = { stop, walk: after } as Clip<{ duration: number }>;
      expect(step(walkBefore(clip), 0.3).stop).toEqual(stop);
      walk = after;
    }
  });

  it("are described by the nearer prompt", () => {
    const stop = { start: { prompt: "a", seed: 0n }, end: { prompt: "b", seed: 1n }, alpha: 0.25 };
    expect([nearestPrompt(stop), nearestPrompt({ ...stop, alpha: 0.75 })]).toEqual(["a", "b"]);
  });
});

describe("the current and the next prompt", () => {
  const walk = startWalk("bells", 0n, ["bells", "piano"]);
  const between = { start: { prompt: "bells", seed: 0n }, end: { prompt: "jazz", seed: 1n }, alpha: 0.5 };

  it("come from the walk before the music starts", () => {
    expect(nowAndNext(null, [], walk)).toEqual({ now: "bells", next: "piano", progress: 0 });
  });

  it("come from the audible clip during a transition", () => {
    expect(nowAndNext(between, [], walk)).toEqual({ now: "bells", next: "jazz", progress: 0.5 });
  });

  it("include prompts of ready clips", () => {
    const heard = { ...between, end: { prompt: "bells", seed: 1n } };
    expect(nowAndNext(heard, [between], startWalk("bells", 5n)).next).toBe("jazz");
    expect(nowAndNext(heard, [], startWalk("bells", 5n)).next).toBeNull();
  });
});

describe("the status", () => {
  const facts: JamFacts = {
    phase: "playing", hasPlayed: true, numReady: 2, rounds: 1, clipDuration: CLIP, wantedSteps: 20,
    speed: { secondsPerClip: 1, numSteps: 20, isReduced: false, isBehind: false, wanderStepScale: 1, clipsAhead: 2 },
    stepScale: 1, trouble: null, isOnHold: false, isInstantOff: false, maker: "server", preparation: { text: null, isReady: true, isProblem: false },
  };
  const behind = { secondsPerClip: 9.04, numSteps: 8, isReduced: true, isBehind: true, wanderStepScale: 0.5, clipsAhead: 3 };

  it("is calm without problems", () => {
    expect(statusOf(facts)).toEqual({ tone: "calm", text: "2 clips ready" });
    expect(statusOf({ ...facts, phase: "idle" }).tone).toBe("calm");
  });

  it("asks for a click if the browser blocks audio, whatever else is wrong", () => {
    const trouble = { failure: { kind: "away", message: "gone" }, numFailures: 1 } as const;
    const { tone, text } = statusOf({ ...facts, phase: "blocked", trouble });
    expect([tone, text]).toEqual(["warning", expect.stringContaining("Press play")]);
  });

  it("gives numbers if the server is too slow, and only then", () => {
    const { tone, text } = statusOf({ ...facts, speed: behind });
    expect(tone).toBe("warning");
    expect(text).toContain("needs 9.0 s for a clip of 5.1 s");
    expect(text).toContain("8 instead of 20 steps");
    expect(text).toMatch(/twice\.$/);
    expect(statusOf({ ...facts, speed: behind, stepScale: 0.5 }).text).toContain("twice, and the step between clips is 50 % of your setting.");
    expect(statusOf({ ...facts, numReady: 0 }).tone).toBe("calm"); // no ready clip does not prove that the server is slow
  });

  it("says that Instant is faster, where it is possible", () => {
    expect(statusOf({ ...facts, speed: behind, isInstantOff: true }).text).toMatch(/twice\. Switch on Instant in the settings/);
  });

  it("says how fast this device is, if it makes the clips", () => {
    expect(statusOf({ ...facts, maker: "device" })).toEqual({ tone: "calm", text: "Drawn on this device, 1.0 s for a clip of 5.1 s · 2 clips ready" });
    expect(statusOf({ ...facts, maker: "device", speed: behind }).text).toMatch(/^This device is too slow: it needs 9\.0 s/);
  });

  it("says what is missing before clips can be made, and that play may be pressed once nothing is", () => {
    const preparation = { text: "Downloading …", isReady: false, isProblem: false };
    expect(statusOf({ ...facts, phase: "idle", preparation })).toEqual({ tone: "busy", text: "Downloading …" });
    expect(statusOf({ ...facts, hasPlayed: false, preparation })).toEqual({ tone: "busy", text: "Downloading …" });
    expect(statusOf({ ...facts, preparation: { ...preparation, isProblem: true } }).tone).toBe("warning");
    const ready = { text: "Works offline.", isReady: true, isProblem: false };
    expect(statusOf({ ...facts, phase: "idle", preparation: ready }).text).toBe("Works offline. Press play to start");
    expect(statusOf({ ...facts, preparation: ready }).text).toBe("2 clips ready");
  });

  it("distinguishes a late clip from a slow server", () => {
    expect(statusOf({ ...facts, numReady: 0, rounds: 3 }).text).toContain("plays 3 times");
  });

  it("shows the message of the server and that the music continues", () => {
    const failure = { kind: "refused", message: "start.prompt: too long" } as const;
    const refused = statusOf({ ...facts, trouble: { failure, numFailures: 1 } });
    expect(refused.text).toContain("start.prompt: too long. Change this setting");
    expect(refused.text).toContain("The last clip keeps playing");
    const away = { ...failure, kind: "away" } as const;
    expect(statusOf({ ...facts, hasPlayed: false, trouble: { failure: away, numFailures: 2 } }).text).not.toContain("keeps playing");
  });
});
