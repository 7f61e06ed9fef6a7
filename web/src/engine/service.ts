/** What the engine's worker does with the page's commands, apart from where it runs. */

import type { Failure } from "../api/client";
import { DownloadError } from "../offline/file_store";
import { CheckpointError, fetchCheckpoint } from "./checkpoint";
import { Cancelled, ClipGenerator, type Invert } from "./generator";
import { type DecodeImage, ImageLibrary } from "./images";
import { GPU_PARTS, fasterOnGpu } from "./gpu_networks";
import { InputError } from "./input_error";
import type { Networks } from "./networks";
import { openNetworks } from "./open_sessions";
import type { Runtime } from "./ort_networks";
import { JobPreparation } from "./preparation";
import { PromptEncoder } from "./prompt_encoder";
import type { EngineCommand, EngineEvent, GenerateCommand, LoadCommand, Provider } from "./protocol";

/** What the service needs of its surroundings. */
export interface Surroundings {
  readonly openRuntime: (provider: Provider, threads: number, fetcher: typeof fetch) => Promise<Runtime>;
  readonly decodeImage: DecodeImage;
  readonly invert: Invert;
  readonly post: (event: EngineEvent) => void;
  /** Opens the page's files; `fetch` answers from those that are kept, and keeps the others. */
  readonly openFiles: (baseUrl: string, onProgress: (receivedBytes: number, totalBytes: number) => void) => Promise<OpenFiles>;
}

export interface OpenFiles {
  readonly fetch: typeof fetch;
  /** See `LoadedEvent`. */
  readonly whyNotKept: string | null;
}

const NOT_LOADED: Failure = { kind: "refused", message: "The engine is not loaded; send load first." };
const CANCELLED: Failure = { kind: "cancelled", message: "The request was cancelled." };

export class EngineService {
  private loading: Promise<ClipGenerator> | null = null;
  /** Ends when the last request ends. */
  private queue: Promise<void> = Promise.resolve();
  private readonly wanted = new Set<number>();

  constructor(private readonly surroundings: Surroundings) {}

  receive(command: EngineCommand): void {
    switch (command.kind) {
      case "load":
        this.loading ??= this.load(command);
        this.loading.catch((error: unknown) => this.surroundings.post({ kind: "unloadable", message: messageOf(error) }));
        return;
      case "generate":
        this.wanted.add(command.id);
        this.queue = this.queue.then(() => this.generate(command));
        return;
      case "cancel":
        this.wanted.delete(command.id);
        return;
    }
  }

  private async load({ baseUrl, threads, provider }: LoadCommand): Promise<ClipGenerator> {
    const { openRuntime, decodeImage, invert, post, openFiles } = this.surroundings;
    const kept = await openFiles(baseUrl, (receivedBytes, totalBytes) => post({ kind: "download", receivedBytes, totalBytes }));
    const runtime = await openRuntime("wasm", threads, kept.fetch);
    const files = await fetchCheckpoint(`${baseUrl}checkpoint/`, kept.fetch);
    const { params, distillation } = files;
    const onProcessor = await openNetworks(runtime, files, "wasm");
    const openOnGpu = async (): Promise<Networks> =>
      openNetworks(await openRuntime("webgpu", threads, kept.fetch), files, "webgpu", GPU_PARTS);
    const onGpu = provider === "webgpu" ? await fasterOnGpu(openOnGpu, onProcessor) : null;
    const networks = onGpu ?? onProcessor;
    const preparation = new JobPreparation(networks, new PromptEncoder(networks, files.tokenize), files.scheduler, distillation);
    const images = new ImageLibrary(baseUrl, decodeImage, kept.fetch);
    const generator = new ClipGenerator(networks, preparation, images, params, invert);
    post({ kind: "loaded", provider: onGpu ? "webgpu" : "wasm", threads, params, distillation, whyNotKept: kept.whyNotKept });
    return generator;
  }

  private async generate({ id, request }: GenerateCommand): Promise<void> {
    const { post } = this.surroundings;
    const fail = (failure: Failure): void => post({ kind: "failed", id, failure });
    try {
      if (this.loading === null) return fail(NOT_LOADED);
      const generator = await this.loading;
      const isCancelled = (): boolean => !this.wanted.has(id);
      if (isCancelled()) return fail(CANCELLED);
      const onStep = (step: number, steps: number): void => post({ kind: "step", id, step, steps });
      const clip = await generator.generate(request, { onStep, isCancelled });
      if (isCancelled()) return fail(CANCELLED);
      const sampleRate = clip.params.sample_rate;
      post({ kind: "result", id, ...clip, sampleRate, duration: clip.samples.length / sampleRate });
    } catch (error) {
      fail(failureFrom(error));
    } finally {
      this.wanted.delete(id);
    }
  }
}

function failureFrom(error: unknown): Failure {
  if (error instanceof Cancelled) return CANCELLED;
  if (error instanceof InputError) return { kind: "refused", message: error.message };
  return { kind: error instanceof CheckpointError ? "forbidden" : "away", message: messageOf(error) };
}

function messageOf(error: unknown): string {
  if (error instanceof DownloadError) return error.message;
  if (error instanceof CheckpointError) return `The checkpoint cannot be loaded: ${error.message}.`;
  const text = error instanceof Error ? error.message : String(error);
  return `Drawing on this device failed (${text.split("\n", 1)[0]}); reload the page, or use fewer threads.`;
}
