/** The worker that analyses a recording beside the page, so that the page stays smooth. */

import type { AnalysisAnswer, AnalysisRequest } from "./analysis_messages";
import { decimated, findBeats } from "./beats";
import { MelColumns } from "./mel_columns";

/** Beats are found at this rate or a little more, which is quicker. */
const BEATS_RATE = 16_000;

const columns = new Map<number, MelColumns>();

function answer({ kind, id, samples, sampleRate }: AnalysisRequest): AnalysisAnswer {
  if (kind === "beats") {
    const factor = Math.max(1, Math.floor(sampleRate / BEATS_RATE));
    return { kind, id, grid: findBeats(decimated(samples, factor), sampleRate / factor) };
  }
  const known = columns.get(sampleRate) ?? new MelColumns(sampleRate);
  columns.set(sampleRate, known);
  return { kind, id, columns: known.tile(samples) };
}

self.addEventListener("message", ({ data }: MessageEvent<AnalysisRequest>) => {
  const result = answer(data);
  self.postMessage(result, { transfer: result.kind === "tile" ? [result.columns.buffer] : [] });
});
