/** Clips made on the device that shows the page, without a server. */

import { distillationFrom, libraryOf } from "../api/library";
import { LIST_NAME, type PageFile } from "../offline/file_list";
import { FileStore, megabytes } from "../offline/file_store";
import type { SpectrogramParams } from "../engine/spectrogram_params";
import type { Backend, GpuChoice, Preparation } from "./backend";
import { BrowserClient } from "./browser_client";
import { EngineHost, type EngineState, type EngineWorker } from "./engine_host";
import { SEED_IMAGES, MASKS } from "./library_ids";
import { recordingReplacer } from "./recording_image";
import { ENGINE_SCHEDULERS } from "../engine/schedulers";
import { NO_SIMD, hasSimd } from "../engine/simd";
import { ThreadChoice, threadsOf } from "./thread_choice";

/**
 * @param baseUrl address of the page's folder, with a slash at its end
 * @param untilSettled requests wait for this
 */
export function deviceBackend(baseUrl: string, untilSettled: () => Promise<unknown>): Backend {
  const listeners = new Set<() => void>();
  const notify = (): void => listeners.forEach((listener) => listener());
  const problem = hasSimd() ? null : NO_SIMD;
  let whyNotKept: string | null = null;
  let wasReady = false;
  const threads = new ThreadChoice(threadsOf(globalThis.crossOriginIsolated, navigator.hardwareConcurrency));
  const host = new EngineHost(openWorker, baseUrl, threads, () => {
    if (host.state.kind === "ready" && !wasReady) {
      wasReady = true;
      void keepExtras(baseUrl);
    }
    if (host.state.kind === "ready") whyNotKept = host.state.loaded.whyNotKept;
    notify();
  }, isGpuChosen() ? "webgpu" : "wasm");
  if (problem === null) host.start();
  const json = async <T>(path: string): Promise<T> => (await (await fetch(`${baseUrl}${path}`)).json()) as T;
  let params: Promise<SpectrogramParams> | null = null;
  const fetchParams = (): Promise<SpectrogramParams> => (params ??= json<SpectrogramParams>("checkpoint/spectrogram_params.json"));
  return {
    client: new BrowserClient(host, problem, untilSettled, recordingReplacer(fetchParams)),
    editClient: null,
    maker: "device",
    schedulers: ENGINE_SCHEDULERS,
    savedFormats: ["flac"],
    gpu: "gpu" in navigator ? gpuChoice(host) : null,
    get preparation() {
      return problem === null ? preparationOf(host.state, wasReady, whyNotKept) : { text: problem, isReady: false, isProblem: true };
    },
    onChange: (listener) => void listeners.add(listener),
    fetchLibrary: () => Promise.resolve(libraryOf(baseUrl, SEED_IMAGES, MASKS)),
    fetchDistillation: () => json("checkpoint/distillation.json").then(distillationFrom, () => null),
    mayCostMoney: () => Promise.resolve(false),
  };
}

function openWorker(): EngineWorker {
  return new Worker(new URL("../engine/worker.ts", import.meta.url), { type: "module" });
}

/** Remembered by the browser, if it remembers anything for this page. */
const GPU_KEY = "riffusion-gpu";

function isGpuChosen(): boolean {
  try {
    return "gpu" in navigator && localStorage.getItem(GPU_KEY) !== null;
  } catch {
    return false;
  }
}

function gpuChoice(host: EngineHost): GpuChoice {
  let isOn = isGpuChosen();
  return {
    get isOn() {
      return isOn;
    },
    set: (wanted) => {
      isOn = wanted;
      host.use(wanted ? "webgpu" : "wasm");
      try {
        if (wanted) localStorage.setItem(GPU_KEY, "yes");
        else localStorage.removeItem(GPU_KEY);
      } catch {
        return; // it is not remembered
      }
    },
  };
}

/** What the page says about the engine. @param wasReady whether it was ready before, so that it is only restarted */
function preparationOf(state: EngineState, wasReady: boolean, whyNotKept: string | null): Preparation {
  if (state.kind === "away") return { text: state.message, isReady: false, isProblem: true };
  if (state.kind === "ready" || wasReady) {
    return { text: whyNotKept ?? "Works without a network from now on.", isReady: true, isProblem: false };
  }
  const { receivedBytes, totalBytes } = state;
  if (totalBytes === 0) return { text: "Getting ready …", isReady: false, isProblem: false };
  if (receivedBytes >= totalBytes) return { text: "Starting what makes the music …", isReady: false, isProblem: false };
  return {
    text: `Downloading what makes the music, only once: ${megabytes(receivedBytes)} of ${megabytes(totalBytes)} MB`, isReady: false, isProblem: false,
  };
}

/** Keeps the files that the jam can do without. */
async function keepExtras(baseUrl: string): Promise<void> {
  try {
    const store = new FileStore({ baseUrl, caches: globalThis.caches ?? null });
    const files = (await (await fetch(`${baseUrl}${LIST_NAME}`)).json()) as readonly PageFile[];
    for (const file of files) if (file.group === "extra") await store.get(file);
  } catch {
    return; // they come from the network, or not at all
  }
}
