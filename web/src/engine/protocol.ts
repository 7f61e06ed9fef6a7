/**
 * Messages between the page and the engine's worker, which makes clips without a server.
 *
 *   page                          worker
 *   load                    ──▶
 *                           ◀──   download …, then loaded or unloadable
 *   generate, id            ──▶                                              any number; they run one after another
 *                           ◀──   step …, then result or failed              each with the id
 *   cancel, id              ──▶                                              the answer is failed, of kind cancelled
 *
 * The worker loads once. Requests that arrive while it loads wait for it. To change the number of threads or the
 * provider, terminate the worker and start another one.
 */

import type { Failure } from "../api/client";
import type { InferenceInput } from "../api/messages";
import type { Distillation } from "../settings/distilled";
import type { Hertz, Seconds } from "../units";
import type { SpectrogramParams } from "./spectrogram_params";

/** What computes the networks: WebAssembly on the processor, or a GPU. */
export type Provider = "wasm" | "webgpu";

export interface LoadCommand {
  readonly kind: "load";
  /**
   * Absolute URL of the folder with `checkpoint/` (an exported one, with its `manifest.json`), `seed_images/ID.png` and
   * `masks/ID.png`; it ends with a slash.
   */
  readonly baseUrl: string;
  /** Threads that compute; more than one needs a cross-origin isolated page. */
  readonly threads: number;
  readonly provider: Provider;
}

export interface GenerateCommand {
  readonly kind: "generate";
  /** Tells requests apart; never used twice. */
  readonly id: number;
  /** As for a server. `audio_format` and `image_format` are ignored: the page encodes what it needs. */
  readonly request: InferenceInput;
}

/** Takes effect between two steps. A request that is not known any more is ignored. */
export interface CancelCommand {
  readonly kind: "cancel";
  readonly id: number;
}

export type EngineCommand = LoadCommand | GenerateCommand | CancelCommand;

/** Progress of the checkpoint's download, which may come from a cache. */
export interface DownloadEvent {
  readonly kind: "download";
  readonly receivedBytes: number;
  readonly totalBytes: number;
}

/** Clips can be made. */
export interface LoadedEvent {
  readonly kind: "loaded";
  /** The provider that is used: `wasm` where WebGPU was asked for but is missing, slower, or computes other values. */
  readonly provider: Provider;
  readonly threads: number;
  /** Of the checkpoint's images. */
  readonly params: SpectrogramParams;
  /** What the checkpoint can do if it is distilled, as `/info` of a server says. */
  readonly distillation: Distillation | null;
  /** Why its files could not be kept for use without a network, for the user; null if they were. */
  readonly whyNotKept: string | null;
}

/** The checkpoint cannot be loaded, and requests fail. */
export interface UnloadableEvent {
  readonly kind: "unloadable";
  /** For the user: what is wrong and what to do. */
  readonly message: string;
}

export interface StepEvent {
  readonly kind: "step";
  readonly id: number;
  /** Number of completed steps; 0 when the request starts. */
  readonly step: number;
  readonly steps: number;
}

/** Seconds per stage of a clip. */
export interface Timings {
  /** Text, seed image and noise. */
  readonly prepare: Seconds;
  readonly diffusion: Seconds;
  readonly decode: Seconds;
  readonly inversion: Seconds;
}

export interface ResultEvent {
  readonly kind: "result";
  readonly id: number;
  /** The spectrogram image, three bytes per pixel, rows from the top; transferred, not copied. */
  readonly rgb: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
  /** Mono audio in [-1, 1], at the loudness of a server's clip; transferred, not copied. */
  readonly samples: Float32Array<ArrayBuffer>;
  readonly sampleRate: Hertz;
  readonly duration: Seconds;
  /** Parameters of the image. */
  readonly params: SpectrogramParams;
  readonly timings: Timings;
}

export interface FailedEvent {
  readonly kind: "failed";
  readonly id: number;
  readonly failure: Failure;
}

export type EngineEvent = DownloadEvent | LoadedEvent | UnloadableEvent | StepEvent | ResultEvent | FailedEvent;
