/**
 * Audio → spectrogram image, as the server makes one of a recording.
 *
 *     samples ──▶ frames: Hann window, zeros around it, FFT ──▶ magnitudes ──▶ mel bands ──▶ pixels
 *
 * Pixels are 255 · (1 - (amplitude / loudest) ^ power): loud is dark. Rows are bands, low at the bottom.
 */

import { melBands } from "../inversion/mel_filterbank";
import { type MelFrames, melFrames } from "../inversion/mel_frames";
import type { SpectrogramParams } from "../spectrogram_params";
import { MixedRadixFft } from "./mixed_radix_fft";

/** An image, three bytes per pixel, rows from the top. */
export interface MelImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array<ArrayBuffer>;
}

/**
 * The image of mono audio.
 *
 * @param samples in [-1, 1] at `params.sample_rate`, at least one
 * @returns one column per started hop
 */
export function melImage(samples: Float32Array, params: SpectrogramParams): MelImage {
  const frames = melFrames(params);
  const width = Math.max(1, Math.ceil(samples.length / frames.hop));
  const amplitudes = melAmplitudes(reflected(samples, frames.numFft >> 1), width, frames);
  const height = frames.numBands;
  const loudest = amplitudes.reduce((most, value) => Math.max(most, value), 0) || 1;
  const data = new Uint8Array(3 * width * height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const relative = (amplitudes[column * height + height - 1 - row] ?? 0) / loudest;
      data.fill(halfToEven(255 - 255 * relative ** params.power_for_image), 3 * (row * width + column), 3 * (row * width + column + 1));
    }
  }
  return { width, height, data };
}

/** Amplitudes of the mel bands, one column after the other. @param padded with half an FFT before and after the audio */
function melAmplitudes(padded: Float64Array, numFrames: number, frames: MelFrames): Float64Array {
  const { hop, numFft, windowLength } = frames;
  const bands = melBands(frames);
  const half = numFft / 2;
  const fft = new MixedRadixFft(half);
  const [re, im, toRe, toIm] = [half, half, half, half].map((length) => new Float64Array(length)) as [Float64Array, Float64Array, Float64Array, Float64Array];
  const window = Float64Array.from({ length: windowLength }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / windowLength));
  const numBins = Math.min(half, Math.max(0, ...bands.map(({ first, weights }) => first + weights.length)));
  const magnitudes = new Float64Array(numBins);
  const cos = Float64Array.from({ length: numBins }, (_, i) => Math.cos((Math.PI * i) / half));
  const sin = Float64Array.from({ length: numBins }, (_, i) => -Math.sin((Math.PI * i) / half));
  const result = new Float64Array(numFrames * bands.length);
  const start = (numFft - windowLength) >> 1;
  for (let frame = 0; frame < numFrames; frame++) {
    const from = frame * hop + start; // the window's place in the FFT changes only phases
    for (let i = 0; i < windowLength; i++) (i % 2 ? im : re)[i >> 1] = (padded[from + i] ?? 0) * window[i]!;
    fft.transform(re, im, toRe, toIm);
    // The even and the odd samples were one complex signal; its spectrum is split into theirs and these are combined.
    for (let k = 0; k < numBins; k++) {
      const mirror = (half - k) % half;
      const evenRe = (toRe[k]! + toRe[mirror]!) / 2;
      const evenIm = (toIm[k]! - toIm[mirror]!) / 2;
      const oddRe = (toIm[k]! + toIm[mirror]!) / 2;
      const oddIm = (toRe[mirror]! - toRe[k]!) / 2;
      magnitudes[k] = Math.hypot(evenRe + oddRe * cos[k]! - oddIm * sin[k]!, evenIm + oddRe * sin[k]! + oddIm * cos[k]!);
    }
    bands.forEach(({ first, weights }, band) => {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i]! * magnitudes[first + i]!;
      result[frame * bands.length + band] = sum;
    });
  }
  return result;
}

/** Audio with `width` samples before and after it, mirrored at its ends. Zeros follow audio that is too short for that. */
function reflected(samples: Float32Array, width: number): Float64Array {
  const length = Math.max(samples.length, width + 1);
  const at = (i: number): number => {
    const from = Math.abs(i);
    return samples[from < length ? from : 2 * (length - 1) - from] ?? 0;
  };
  return Float64Array.from({ length: length + 2 * width }, (_, i) => at(i - width));
}

/** Rounds as NumPy's `rint`. */
function halfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
