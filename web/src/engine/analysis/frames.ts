/** Lengths of a spectrogram's frames in samples. */

import type { SpectrogramParams } from "../spectrogram_params";

export function samplesPerFrame({ sample_rate, step_size_ms, padded_duration_ms, window_duration_ms }: SpectrogramParams): {
  readonly hop: number; readonly fftLength: number; readonly windowLength: number;
} {
  const samples = (milliseconds: number): number => Math.trunc((milliseconds / 1000) * sample_rate);
  return { hop: samples(step_size_ms), fftLength: samples(padded_duration_ms), windowLength: samples(window_duration_ms) };
}
