/** The engine in Node, with the embedded checkpoint and the repository's seed images and masks. */

import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-web/wasm";
import { type CheckpointFiles, fetchCheckpoint } from "../../src/engine/checkpoint";
import { ClipGenerator, type Invert } from "../../src/engine/generator";
import { ImageLibrary } from "../../src/engine/images";
import { openNetworks } from "../../src/engine/open_sessions";
import { JobPreparation } from "../../src/engine/preparation";
import { PromptEncoder } from "../../src/engine/prompt_encoder";
import { decodePng } from "./png";

const DATA = process.env["RIFFUSION_DATA"] ?? new URL("../../../data/", import.meta.url).pathname;
export const BASE_URL = "http://files.test/";

/** Serves the repository's `data` folder at `BASE_URL`. */
export const fetchData = (async (url: string) => {
  const path = decodeURIComponent(url.slice(BASE_URL.length)).replace(/^checkpoint\//, "demo-checkpoint/");
  try {
    return new Response(Uint8Array.from(await readFile(DATA + path)));
  } catch {
    return new Response(null, { status: 404 });
  }
}) as unknown as typeof fetch;

export function embeddedCheckpoint(): Promise<CheckpointFiles> {
  return fetchCheckpoint(`${BASE_URL}checkpoint/`, fetchData);
}

export async function nodeGenerator(invert: Invert): Promise<ClipGenerator> {
  ort.env.wasm.numThreads = Number(process.env["RIFFUSION_THREADS"] ?? 1);
  const files = await embeddedCheckpoint();
  const networks = await openNetworks(ort, files, "wasm");
  const preparation = new JobPreparation(networks, new PromptEncoder(networks, files.tokenize), files.scheduler, files.distillation);
  return new ClipGenerator(networks, preparation, new ImageLibrary(BASE_URL, decodePng, fetchData), files.params, invert);
}
