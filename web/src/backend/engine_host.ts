/**
 * Owns the worker that makes clips: starts it, sends it requests, and starts another one when it fails or when another
 * number of threads or another provider is used. Requests survive that.
 */

import type { AskOptions, Failure } from "../api/client";
import type { InferenceInput } from "../api/messages";
import { retryDelay } from "../api/retry";
import type { EngineCommand, EngineEvent, LoadedEvent, Provider, ResultEvent } from "../engine/protocol";
import { Scope } from "../scope";
import type { Seconds } from "../units";
import { ThreadChoice } from "./thread_choice";

/** The part of `Worker` that is used here. */
export interface EngineWorker {
  onmessage: ((event: MessageEvent<EngineEvent>) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
  postMessage(command: EngineCommand): void;
  terminate(): void;
}

/** away: it cannot be loaded now, but a retry may help */
export type EngineState =
  | { readonly kind: "loading"; readonly receivedBytes: number; readonly totalBytes: number }
  | { readonly kind: "ready"; readonly loaded: LoadedEvent }
  | { readonly kind: "away"; readonly message: string };

export type Generated = { readonly ok: true; readonly result: ResultEvent } | { readonly ok: false; readonly failure: Failure };

interface Pending {
  readonly request: InferenceInput;
  readonly onProgress: ((step: number, steps: number) => void) | undefined;
  readonly settle: (generated: Generated) => void;
  steps: number;
  /** Workers that failed while they had this request. */
  numCrashes: number;
}

/** A request that ends so many workers is not sent to another one. */
const MAX_CRASHES = 2;
const CRASHED = "What makes the music stopped unexpectedly; the device may have too little free memory. Close other tabs and pages.";

export class EngineHost {
  private current: EngineState = { kind: "loading", receivedBytes: 0, totalBytes: 0 };
  private worker: EngineWorker | null = null;
  private readonly pending = new Map<number, Pending>();
  private readonly scope = new Scope();
  private readonly waiting: (() => void)[] = [];
  private lastId = 0;
  private numFailures = 0;
  private threads = 0;
  private stopRetry: () => void = () => undefined;

  /**
   * @param open starts a worker
   * @param baseUrl see `LoadCommand`
   * @param onChange called after every change of `state`
   */
  constructor(
    private readonly open: () => EngineWorker,
    private readonly baseUrl: string,
    private readonly choice: ThreadChoice,
    private readonly onChange: () => void,
    private provider: Provider = "wasm",
  ) {}

  get state(): EngineState {
    return this.current;
  }

  /** Loads the engine, unless it is loaded or loading. Requests do that by themselves. */
  start(): void {
    if (this.worker !== null || this.scope.isClosed) return;
    this.stopRetry();
    if (this.current.kind === "away") this.become({ kind: "loading", receivedBytes: 0, totalBytes: 0 });
    this.threads = this.choice.threads;
    const worker = this.open();
    this.worker = worker;
    worker.onmessage = ({ data }) => this.worker === worker && this.receive(data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      if (this.worker === worker) this.crash();
    };
    worker.postMessage({ kind: "load", baseUrl: this.baseUrl, threads: this.threads, provider: this.provider });
    for (const [id, { request }] of this.pending) worker.postMessage({ kind: "generate", id, request });
  }

  /** Changes what computes. Requests are made again by another worker. */
  use(provider: Provider): void {
    if (provider === this.provider) return;
    this.provider = provider;
    this.stop();
    this.start();
  }

  /** Waits until the engine is loaded, or cannot be loaded. */
  async untilLoaded(): Promise<void> {
    this.start();
    if (this.current.kind !== "loading") return;
    await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** Makes one clip. */
  generate(request: InferenceInput, { signal, onProgress }: AskOptions = {}): Promise<Generated> {
    const id = ++this.lastId;
    return new Promise((resolve) => {
      const own = this.scope.child();
      const settle = (generated: Generated): void => {
        if (!this.pending.delete(id)) return;
        own.dispose();
        resolve(generated);
      };
      const cancel = (): void => {
        if (this.pending.has(id)) this.worker?.postMessage({ kind: "cancel", id });
        settle({ ok: false, failure: { kind: "cancelled", message: "The request was cancelled." } });
      };
      this.pending.set(id, { request, onProgress, settle, steps: 0, numCrashes: 0 });
      if (signal?.aborted) return cancel();
      if (signal) own.listen(signal, "abort", cancel);
      if (this.worker) this.worker.postMessage({ kind: "generate", id, request });
      else this.start();
    });
  }

  dispose(): void {
    this.stop();
    this.scope.dispose();
  }

  private receive(event: EngineEvent): void {
    switch (event.kind) {
      case "download":
        return this.become({ kind: "loading", receivedBytes: event.receivedBytes, totalBytes: event.totalBytes });
      case "loaded":
        this.numFailures = 0;
        return this.become({ kind: "ready", loaded: event });
      case "unloadable":
        return this.fail(event.message);
      case "step":
        return this.progress(event.id, event.step, event.steps);
      case "result":
        return this.finish(event);
      case "failed":
        return this.pending.get(event.id)?.settle({ ok: false, failure: event.failure });
    }
  }

  private progress(id: number, step: number, steps: number): void {
    const pending = this.pending.get(id);
    if (pending) pending.steps = steps;
    pending?.onProgress?.(step, steps);
  }

  private finish(result: ResultEvent): void {
    const pending = this.pending.get(result.id);
    if (pending === undefined) return; // cancelled
    const { diffusion, prepare, decode, inversion } = result.timings;
    const total: Seconds = diffusion + prepare + decode + inversion;
    if (pending.steps > 0 && diffusion > 0) this.choice.add(diffusion / pending.steps, total > result.duration);
    pending.settle({ ok: true, result });
    if (this.choice.threads === this.threads) return;
    this.stop();
    this.start();
  }

  /** The engine could not be loaded: tells all requests, and tries again later by itself. */
  private fail(message: string): void {
    this.stop();
    this.numFailures++;
    this.become({ kind: "away", message });
    for (const { settle } of [...this.pending.values()]) settle({ ok: false, failure: { kind: "away", message } });
    this.stopRetry = this.scope.after(retryDelay(this.numFailures, Math.random), () => this.start());
  }

  /** The worker has ended. Its requests go to another one, unless one of them is the reason. */
  private crash(): void {
    const wasReady = this.current.kind === "ready";
    if (!wasReady) return this.fail(CRASHED);
    this.stop();
    for (const pending of [...this.pending.values()]) {
      if (++pending.numCrashes >= MAX_CRASHES) pending.settle({ ok: false, failure: { kind: "away", message: CRASHED } });
    }
    this.start();
  }

  private stop(): void {
    this.worker?.terminate();
    this.worker = null;
  }

  private become(state: EngineState): void {
    this.current = state;
    if (state.kind !== "loading") for (const resolve of this.waiting.splice(0)) resolve();
    this.onChange();
  }
}
