/** The page's side of the engine's worker: progress, cancellation, restarts, and the number of threads. */

import { describe, expect, it, vi } from "vitest";
import { EngineHost, type EngineWorker } from "../src/backend/engine_host";
import { ThreadChoice, threadsOf } from "../src/backend/thread_choice";
import type { InferenceInput } from "../src/api/messages";
import type { EngineCommand, EngineEvent } from "../src/engine/protocol";
import { hasSimd } from "../src/engine/simd";

const REQUEST = { start: { prompt: "bells", seed: 1, denoising: 1, guidance: 7 }, audio_format: "wav", image_format: "png" } as InferenceInput;
const PARAMS = {} as never;

class FakeWorker implements EngineWorker {
  onmessage: EngineWorker["onmessage"] = null;
  onerror: EngineWorker["onerror"] = null;
  readonly commands: EngineCommand[] = [];
  isTerminated = false;

  postMessage(command: EngineCommand): void {
    this.commands.push(command);
  }

  terminate(): void {
    this.isTerminated = true;
  }

  send(event: EngineEvent): void {
    this.onmessage?.({ data: event } as MessageEvent<EngineEvent>);
  }

  load(): void {
    this.send({ kind: "loaded", provider: "wasm", threads: 2, params: PARAMS, distillation: null, whyNotKept: null });
  }

  finish(id: number, seconds = 1, steps = 4): void {
    this.send({ kind: "step", id, step: 0, steps });
    this.send({
      kind: "result", id, rgb: new Uint8Array(), width: 512, height: 512, samples: new Float32Array(), sampleRate: 44_100, duration: 5.12, params: PARAMS,
      timings: { prepare: 0, diffusion: seconds, decode: 0, inversion: 0 },
    });
  }

  crash(): void {
    this.onerror?.({} as ErrorEvent);
  }

  get numGenerates(): number {
    return this.commands.filter(({ kind }) => kind === "generate").length;
  }
}

function setUp(most = 1): { host: EngineHost; workers: FakeWorker[]; changes: string[] } {
  const workers: FakeWorker[] = [];
  const changes: string[] = [];
  const host = new EngineHost(
    () => {
      const worker = new FakeWorker();
      workers.push(worker);
      return worker;
    },
    "https://host/", new ThreadChoice(most), () => changes.push(host.state.kind),
  );
  return { host, workers, changes };
}

describe("the engine's host", () => {
  it("loads once, reports progress and returns the result", async () => {
    const { host, workers, changes } = setUp(2);
    host.start();
    const steps: number[] = [];
    const made = host.generate(REQUEST, { onProgress: (step) => steps.push(step) });
    const [worker] = workers as [FakeWorker];
    expect(worker.commands).toEqual([
      { kind: "load", baseUrl: "https://host/", threads: 2, provider: "wasm" }, { kind: "generate", id: 1, request: REQUEST },
    ]);
    worker.send({ kind: "download", receivedBytes: 1, totalBytes: 2 });
    worker.load();
    worker.send({ kind: "step", id: 1, step: 1, steps: 4 });
    worker.finish(1);
    expect(await made).toMatchObject({ ok: true, result: { width: 512 } });
    expect(steps).toEqual([1, 0]);
    expect(changes).toEqual(["loading", "ready"]);
    expect(workers.length).toBe(1);
  });

  it("cancels a request at once, and ignores its late result", async () => {
    const { host, workers } = setUp();
    const abort = new AbortController();
    const made = host.generate(REQUEST, { signal: abort.signal });
    abort.abort();
    expect(await made).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
    expect(workers[0]?.commands.at(-1)).toEqual({ kind: "cancel", id: 1 });
    workers[0]?.finish(1);
    abort.abort();
    expect(await host.generate(REQUEST, { signal: abort.signal })).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
    expect(workers[0]?.numGenerates).toBe(1);
  });

  it("tells requests why the engine cannot be loaded, and tries again", async () => {
    vi.useFakeTimers();
    const { host, workers } = setUp();
    const made = host.generate(REQUEST);
    workers[0]?.send({ kind: "unloadable", message: "The network is gone." });
    expect(await made).toEqual({ ok: false, failure: { kind: "away", message: "The network is gone." } });
    expect(host.state).toEqual({ kind: "away", message: "The network is gone." });
    vi.advanceTimersByTime(1500);
    expect([workers.length, host.state.kind]).toEqual([2, "loading"]);
    let isLoaded = false;
    const loaded = host.untilLoaded().then(() => (isLoaded = true));
    await Promise.resolve();
    expect(isLoaded).toBe(false);
    workers[1]?.load();
    expect(host.state.kind).toBe("ready");
    expect(await loaded).toBe(true);
    vi.useRealTimers();
  });

  it("gives a request to another worker after a crash, but not for ever", async () => {
    const { host, workers } = setUp();
    const made = host.generate(REQUEST);
    workers[0]?.load();
    workers[0]?.crash();
    expect(workers[0]?.isTerminated).toBe(true);
    expect(workers[1]?.numGenerates).toBe(1);
    workers[1]?.load();
    workers[1]?.crash();
    expect(await made).toMatchObject({ ok: false, failure: { kind: "away", message: expect.stringContaining("memory") } });
    expect(workers[2]?.numGenerates).toBe(0);
  });

  it("starts another worker when the number of threads changes, which takes over what waits", async () => {
    const { host, workers } = setUp(2);
    let id = 0;
    const clip = async (seconds: number): Promise<void> => {
      const made = host.generate(REQUEST);
      workers.at(-1)?.finish(++id, seconds);
      await made;
    };
    host.start();
    workers[0]?.load();
    for (const seconds of [1, 1, 1, 3]) await clip(seconds);
    expect(workers.length).toBe(1); // one slow clip says nothing
    const waiting = host.generate(REQUEST);
    id++;
    const last = host.generate(REQUEST);
    workers[0]?.finish(++id, 3);
    await last;
    expect(workers.length).toBe(2);
    expect(workers[1]?.commands).toEqual([
      { kind: "load", baseUrl: "https://host/", threads: 1, provider: "wasm" }, { kind: "generate", id: id - 1, request: REQUEST },
    ]);
    workers[1]?.load();
    workers[1]?.finish(id - 1);
    expect(await waiting).toMatchObject({ ok: true });
  });
});

describe("another provider", () => {
  it("is used by another worker, which takes over what waits", async () => {
    const { host, workers } = setUp();
    const made = host.generate(REQUEST);
    host.use("wasm");
    expect(workers.length).toBe(1);
    host.use("webgpu");
    expect(workers[0]?.isTerminated).toBe(true);
    expect(workers[1]?.commands).toEqual([
      { kind: "load", baseUrl: "https://host/", threads: 1, provider: "webgpu" }, { kind: "generate", id: 1, request: REQUEST },
    ]);
    workers[1]?.finish(1);
    expect(await made).toMatchObject({ ok: true });
  });
});

describe("the number of threads", () => {
  const add = (choice: ThreadChoice, ...times: number[]): number => {
    for (const time of times) choice.add(time, false);
    return choice.threads;
  };

  it("stays while the speed does", () => {
    expect(add(new ThreadChoice(2), ...Array<number>(50).fill(1))).toBe(2);
    expect(add(new ThreadChoice(1), 1, 9, 9, 9)).toBe(1);
  });

  it("becomes one if that is faster than several that have become slow", () => {
    const choice = new ThreadChoice(2);
    expect(add(choice, 1, 1, 1, 3, 3)).toBe(1);
    expect(add(choice, 9, 2, 2)).toBe(1); // the first clip warms up
  });

  it("returns to several if one is slower, and tries again only later", () => {
    const choice = new ThreadChoice(4);
    expect(add(choice, 1, 1, 1, 3, 3)).toBe(1);
    expect(add(choice, 9, 4, 4)).toBe(4);
    expect(add(choice, 9, ...Array<number>(23).fill(3))).toBe(4);
    expect(add(choice, 3)).toBe(1);
  });

  it("returns from one to several when these are fast again", () => {
    const choice = new ThreadChoice(2);
    add(choice, 1, 1, 1, 3, 3, 9, 2, 2);
    expect(add(choice, ...Array<number>(23).fill(2))).toBe(1);
    expect(add(choice, 2)).toBe(2);
    expect(add(choice, 9, 1, 1)).toBe(2);
  });

  it("is tried with one if clips are late from the start", () => {
    const choice = new ThreadChoice(2);
    for (let i = 0; i < 3; i++) choice.add(3, true);
    expect(choice.threads).toBe(1);
  });

  it("is that of the device's cores, and one where the page has no threads", () => {
    expect([1, 2, 4, 6, 8, 16, 64].map((processors) => threadsOf(true, processors))).toEqual([1, 2, 2, 3, 4, 4, 4]);
    expect(threadsOf(false, 16)).toBe(1);
  });
});

describe("the check for SIMD", () => {
  it("asks the browser's own WebAssembly", () => {
    expect(hasSimd()).toBe(true);
    expect(hasSimd({ validate: () => false })).toBe(false);
  });
});
