/**
 * The mel filterbank of the analysis: triangles whose corners are equally spaced on the mel scale. Band m rises from 0 at
 * the corner f(m) to 1 at f(m + 1) and falls to 0 at f(m + 2).
 *
 * Corners and bins are rounded to single precision, as the server's are, which decides which bins belong to a band.
 */

import type { Hertz } from "../../units";
import type { SpectrogramParams } from "../spectrogram_params";
import { samplesPerFrame } from "./frames";

/** A band: the weights of the bins from `first` on. */
export interface MelBand {
  readonly first: number;
  readonly weights: Float64Array;
}

/** Slaney's scale: linear below 1 kHz, and 27 mels per factor of 6.4 above it. */
const HZ_PER_MEL = 200 / 3;
const BREAK_HZ: Hertz = 1000;
const BREAK_MEL = BREAK_HZ / HZ_PER_MEL;
const LOG_STEP = Math.log(6.4) / 27;

/** One band per row of the image, the lowest first. */
export function melFilterbank(params: SpectrogramParams): MelBand[] {
  const { num_frequencies: count, mel_scale_type: scale, sample_rate: rate, mel_scale_norm: norm } = params;
  const mels = evenly(melFromHz(params.min_frequency, scale), melFromHz(params.max_frequency, scale), count + 2);
  const edges = mels.map((mel) => hzFromMel(mel, scale));
  const bins = evenly(0, Math.floor(rate / 2), Math.floor(samplesPerFrame(params).fftLength / 2) + 1);
  return Array.from({ length: count }, (_, band) => bandOf(edges[band]!, edges[band + 1]!, edges[band + 2]!, bins, norm === "slaney"));
}

function bandOf(low: Hertz, middle: Hertz, high: Hertz, bins: Float32Array, isNormal: boolean): MelBand {
  const first = bins.findIndex((hz) => hz > low);
  const end = first < 0 ? -1 : bins.findIndex((hz) => hz >= high);
  const last = first < 0 ? 0 : end < 0 ? bins.length : end;
  const scale = isNormal ? 2 / (high - low) : 1;
  const weights = Float64Array.from(bins.subarray(Math.max(0, first), last), (hz) =>
    scale * Math.max(0, Math.min((hz - low) / (middle - low), (high - hz) / (high - middle))),
  );
  return { first: Math.max(0, first), weights };
}

/** Evenly spaced numbers, rounded as PyTorch rounds them: by single precision steps from both ends. */
function evenly(low: number, high: number, count: number): Float32Array {
  const [first, last] = [Math.fround(low), Math.fround(high)];
  const step = Math.fround(Math.fround(last - first) / Math.fround(count - 1));
  return Float32Array.from({ length: count }, (_, i) => (i < count >> 1 ? first + step * i : last - step * (count - 1 - i)));
}

function melFromHz(hz: Hertz, scale: "htk" | "slaney"): number {
  if (scale === "htk") return 2595 * Math.log10(1 + hz / 700);
  return hz < BREAK_HZ ? hz / HZ_PER_MEL : BREAK_MEL + Math.log(hz / BREAK_HZ) / LOG_STEP;
}

/** In single precision; powers are rounded once. */
function hzFromMel(mel: number, scale: "htk" | "slaney"): Hertz {
  if (scale === "htk") return Math.fround(700 * Math.fround(Math.fround(10 ** Math.fround(mel / 2595)) - 1));
  if (mel < BREAK_MEL) return Math.fround(HZ_PER_MEL * mel);
  return Math.fround(BREAK_HZ * Math.fround(Math.exp(LOG_STEP * (mel - BREAK_MEL))));
}
