/** The worker that analyses a recording beside the page, so that the page stays smooth. */

import type { AnalysisAnswer, AnalysisRequest } from "./analysis_messages";
import { findBeats } from "./beats";
import { MelColumns } from "./mel_columns";

const columns = new Map<number, MelColumns>();

function answer({ kind, id, samples, sampleRate }: AnalysisRequest): AnalysisAnswer {
  if (kind === "beats") return { kind, id, grid: findBeats(samples, sampleRate) };
  const known = columns.get(sampleRate) ?? new MelColumns(sampleRate);
  columns.set(sampleRate, known);
  return { kind, id, columns: known.tile(samples) };
}

self.addEventListener("message", ({ data }: MessageEvent<AnalysisRequest>) => {
  const result = answer(data);
  self.postMessage(result, { transfer: result.kind === "tile" ? [result.columns.buffer] : [] });
});
