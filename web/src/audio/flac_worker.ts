/** A worker that encodes one FLAC file. Only a page that saves such a file loads it, and libFLAC with it. */

import "./flac_location";
import type { Flac } from "libflacjs";
import * as library from "libflacjs/dist/libflac.min.wasm.js";
import { FlacEncoder } from "./flac";
import type { FlacAnswer, FlacRequest } from "./flac_messages";

const flac = ("default" in library ? library.default : library) as Flac; // a CommonJS module
const ready = new Promise<void>((resolve) => (flac.isReady() ? resolve() : flac.on("ready", () => resolve())));
let encoder: FlacEncoder | null = null;

async function answerTo(request: FlacRequest): Promise<FlacAnswer> {
  await ready;
  if (request.kind === "begin") encoder = new FlacEncoder(flac, request.format, request.numFrames, request.tags);
  else if (request.kind === "samples") encoder?.write(request.channels);
  else return { kind: "file", file: new Blob([...(encoder?.finish() ?? [])], { type: "audio/flac" }) };
  return { kind: "done" };
}

onmessage = async ({ data }: MessageEvent<FlacRequest>) => {
  postMessage(await answerTo(data).catch((error: unknown): FlacAnswer => ({ kind: "problem", message: String(error) })));
};
