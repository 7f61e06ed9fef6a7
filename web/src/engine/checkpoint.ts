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
const MANIFEST = "manifest.json";
const DISTILLATION = "distillation.json";
/** Published latent consistency models, which have no such file. */
const PUBLISHED: DistilledCheckpoint = { maxSteps: 8, guidance: [1, 14], isGuidedSampling: false, solverSteps: null };
const RELOAD = "reload the page to fetch it again";

/** A file or checkpoint that cannot be used; the message says what to do. */
export class CheckpointError extends Error {}

interface FileEntry {
  readonly bytes: number;
  readonly sha256: string;
}

interface Manifest {
  readonly format: number;
  readonly shape: CheckpointShape;
  readonly parts: Readonly<Record<PartName, { readonly graph: string; readonly weights: readonly string[] }>>;
  /** By path; earlier manifests have graphs and weights only. */
  readonly files: Readonly<Record<string, FileEntry>>;
  /** Names of files beside graphs and weights. */
  readonly other_files: readonly string[];
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
 * @throws CheckpointError, or what the fetcher throws
 */
export async function fetchCheckpoint(url: string, fetcher: typeof fetch): Promise<CheckpointFiles> {
  const manifest = checkedManifest(parsed(MANIFEST, await fetched(url, MANIFEST, fetcher)));
  const read = async (path: string): Promise<Bytes> => checkedBytes(path, await fetched(url, path, fetcher), manifest.files[path]);
  const json = async (path: string): Promise<unknown> => parsed(path, await read(path));
  const parts: Partial<Record<PartName, PartFiles>> = {};
  const weights = new Map<string, Bytes>(); // two parts may share a file
  for (const part of PARTS) {
    const { graph, weights: paths } = manifest.parts[part];
    for (const path of paths) if (!weights.has(path)) weights.set(path, await read(path));
    parts[part] = { graph: await read(graph), weights: paths.map((path) => ({ path, data: weights.get(path)! })) };
  }
  return {
    shape: manifest.shape,
    parts: parts as Record<PartName, PartFiles>,
    tokenize: tokenizerFrom((await json("tokenizer/tokenizer.json")) as object),
    scheduler: parseTrainedScheduler(new TextDecoder().decode(await read("scheduler/scheduler_config.json"))),
    params: (await json("spectrogram_params.json")) as SpectrogramParams,
    distillation: await distillationOf(manifest, json),
  };
}

async function distillationOf({ shape, other_files: others }: Manifest, json: (path: string) => Promise<unknown>): Promise<DistilledCheckpoint | null> {
  if (shape.guidance_width === null) return null;
  if (!others.includes(DISTILLATION)) return PUBLISHED;
  const { max_steps: maxSteps, guidance, guided_sampling: isGuidedSampling, solver_steps: solverSteps } = (await json(DISTILLATION)) as {
    max_steps: number; guidance: [number, number]; guided_sampling: boolean; solver_steps?: number;
  };
  return { maxSteps, guidance, isGuidedSampling, solverSteps: solverSteps ?? null };
}

async function fetched(url: string, path: string, fetcher: typeof fetch): Promise<Bytes> {
  let response: Response;
  try {
    response = await fetcher(url + path);
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    if (error instanceof DownloadError) throw error;
    throw new CheckpointError(`${path} cannot be fetched; check the connection and reload the page`);
  }
  throw new CheckpointError(`${path} cannot be fetched (status ${response.status}); the page is not complete where it is published`);
}

function checkedManifest(found: unknown): Manifest {
  const manifest = found as Manifest;
  if (manifest?.format !== FORMAT) {
    throw new CheckpointError(`manifest.json has format ${String(manifest?.format)}, and this page reads format ${FORMAT}; reload the page`);
  }
  return manifest;
}

function parsed(path: string, bytes: Bytes): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new CheckpointError(`${path} is damaged; ${RELOAD}`);
  }
}

/** A file's bytes, if they have the size and the hash that the manifest says. */
async function checkedBytes(path: string, data: Bytes, expected: FileEntry | undefined): Promise<Bytes> {
  if (expected === undefined) return data;
  if (data.length !== expected.bytes) throw new CheckpointError(`${path} has ${data.length} of ${expected.bytes} bytes; ${RELOAD}`);
  // Only pages on https and on this machine can compute hashes.
  if (globalThis.crypto?.subtle && (await hexDigest(data)) !== expected.sha256) {
    throw new CheckpointError(`${path} is damaged: its SHA-256 is another one than in manifest.json; ${RELOAD}`);
  }
  return data;
}

async function hexDigest(data: Bytes): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
