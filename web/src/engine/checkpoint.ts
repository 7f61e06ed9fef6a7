/** Loads an exported checkpoint: fetches its files, compares them with the manifest and opens its networks. */

import { DownloadError } from "../offline/file_store";
import type { DistilledCheckpoint } from "./distilled_sampling";
import type { CheckpointShape } from "./networks";
import type { PartName } from "./ort_networks";
import { type TrainedScheduler, parseTrainedScheduler } from "./schedulers";
import type { SpectrogramParams } from "./spectrogram_params";
import { type Tokenize, tokenizerFrom } from "./tokenizer";

const FORMAT = 1;
const PARTS: readonly PartName[] = ["text_encoder", "unet", "vae_encoder", "vae_decoder"];
const RELOAD = "reload the page to fetch it again";

/** A file or checkpoint that cannot be used; the message says what to do. */
export class CheckpointError extends Error {}

interface Manifest {
  readonly format: number;
  readonly precision: string;
  readonly shape: CheckpointShape;
  readonly parts: Readonly<Record<PartName, { readonly graph: string; readonly weights: readonly string[] }>>;
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** A part's graph, and the files that it refers to by path. */
export interface PartFiles {
  readonly graph: Bytes;
  readonly weights: readonly { readonly path: string; readonly data: Bytes }[];
}

/** A checkpoint whose files are in memory. */
export interface CheckpointFiles {
  readonly shape: CheckpointShape;
  readonly parts: Readonly<Record<PartName, PartFiles>>;
  readonly tokenize: Tokenize;
  readonly scheduler: TrainedScheduler;
  readonly params: SpectrogramParams;
  readonly distillation: DistilledCheckpoint | null;
}

/**
 * @param url of the folder, with a slash at the end
 * @param onProgress called with the bytes received and their total
 * @throws CheckpointError
 */
export async function fetchCheckpoint(
  url: string, onProgress: (receivedBytes: number, totalBytes: number) => void, fetcher: typeof fetch = (...request) => fetch(...request),
): Promise<CheckpointFiles> {
  const get = (path: string): Promise<Response> => fetched(url, path, fetcher);
  const json = async (path: string): Promise<unknown> => parsed(path, await (await get(path)).text());
  const manifest = checkedManifest(await json("manifest.json"));
  const { shape } = manifest;
  const [tokenizer, scheduler, params, distillation] = await Promise.all([
    json("tokenizer/tokenizer.json"),
    get("scheduler/scheduler_config.json").then((response) => response.text()),
    json("spectrogram_params.json"),
    shape.guidance_width === null ? null : json("distillation.json"),
  ]);
  const names = Object.keys(manifest.files);
  const total = names.reduce((sum, name) => sum + manifest.files[name]!.bytes, 0);
  let received = 0;
  const files = new Map<string, Bytes>();
  for (const name of names) {
    const { bytes, sha256 } = manifest.files[name]!;
    files.set(name, await checkedBytes(name, await get(name), bytes, sha256, (count) => onProgress((received += count), total)));
  }
  return {
    shape,
    parts: Object.fromEntries(PARTS.map((part) => [part, partFiles(manifest, part, files)])) as unknown as CheckpointFiles["parts"],
    tokenize: tokenizerFrom(tokenizer as object),
    scheduler: parseTrainedScheduler(scheduler),
    params: params as SpectrogramParams,
    distillation: distillation === null ? null : distillationFrom(distillation),
  };
}

async function fetched(url: string, path: string, fetcher: typeof fetch): Promise<Response> {
  let response: Response;
  try {
    response = await fetcher(url + path);
  } catch (error) {
    if (error instanceof DownloadError) throw error;
    throw new CheckpointError(`${path} cannot be fetched; check the connection and reload the page`);
  }
  if (response.ok) return response;
  throw new CheckpointError(`${path} cannot be fetched (status ${response.status}); the page is not complete where it is published`);
}

function checkedManifest(found: unknown): Manifest {
  const manifest = found as Manifest;
  if (manifest?.format !== FORMAT) {
    throw new CheckpointError(`manifest.json has format ${String(manifest?.format)}, and this page reads format ${FORMAT}; reload the page`);
  }
  return manifest;
}

function parsed(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new CheckpointError(`${path} is damaged; ${RELOAD}`);
  }
}

/** The body of a response, if it has the size and the hash that the manifest says. */
async function checkedBytes(
  name: string, response: Response, size: number, sha256: string, onChunk: (bytes: number) => void,
): Promise<Bytes> {
  const data = new Uint8Array(size);
  let end = 0;
  try {
    for (const reader = response.body!.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      if (end + value.length > size) throw new CheckpointError(`${name} is larger than ${size} bytes; ${RELOAD}`);
      data.set(value, end);
      end += value.length;
      onChunk(value.length);
    }
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    throw new CheckpointError(`${name} broke off after ${end} of ${size} bytes; check the connection and reload the page`);
  }
  if (end < size) throw new CheckpointError(`${name} has ${end} of ${size} bytes; ${RELOAD}`);
  // Only pages on https and on this machine can compute hashes.
  if (globalThis.crypto?.subtle && (await hexDigest(data)) !== sha256) {
    throw new CheckpointError(`${name} is damaged: its SHA-256 is another one than in manifest.json; ${RELOAD}`);
  }
  return data;
}

async function hexDigest(data: Bytes): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function partFiles({ parts }: Manifest, part: PartName, files: ReadonlyMap<string, Bytes>): PartFiles {
  const file = (name: string): Bytes => {
    const data = files.get(name);
    if (!data) throw new CheckpointError(`manifest.json does not list ${name}; export the checkpoint again`);
    return data;
  };
  const { graph, weights } = parts[part];
  return { graph: file(graph), weights: weights.map((path) => ({ path, data: file(path) })) };
}

function distillationFrom(found: unknown): DistilledCheckpoint {
  const { max_steps: maxSteps, guidance, guided_sampling: isGuidedSampling, solver_steps: solverSteps } = found as {
    max_steps: number; guidance: [number, number]; guided_sampling: boolean; solver_steps?: number;
  };
  return { maxSteps, guidance, isGuidedSampling, solverSteps: solverSteps ?? null };
}
