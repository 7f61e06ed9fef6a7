/** Messages between the page and the worker that analyses a recording. */

import type { Hertz } from "../units";
import type { BeatGrid } from "./beats";

/** tile: compute a tile of the spectrogram; beats: find the beats. Samples are mono, in [-1, 1]. */
export interface AnalysisRequest {
  readonly kind: "tile" | "beats";
  readonly id: number;
  readonly samples: Float32Array<ArrayBuffer>;
  readonly sampleRate: Hertz;
}

export type AnalysisAnswer =
  | { readonly kind: "tile"; readonly id: number; readonly columns: Uint8Array<ArrayBuffer> }
  | { readonly kind: "beats"; readonly id: number; readonly grid: BeatGrid | null };
