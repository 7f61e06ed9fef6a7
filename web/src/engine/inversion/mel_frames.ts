/** Frames in samples, and mel bands, of spectrogram parameters. */

import type { Hertz } from "../../units";
import type { SpectrogramParams } from "../spectrogram_params";

export interface MelFrames {
  readonly sampleRate: Hertz;
  /** Length of the FFT in samples. */
  readonly numFft: number;
  /** Length of the Hann window in samples. */
  readonly windowLength: number;
  /** Samples from one frame to the next. */
  readonly hop: number;
  readonly numBands: number;
  readonly minHz: Hertz;
  readonly maxHz: Hertz;
  /** Whether bands have equal areas instead of equal heights. */
  readonly hasEqualAreas: boolean;
  readonly scale: "htk" | "slaney";
  /** Iterations of the phase reconstruction. */
  readonly numIterations: number;
}

export function melFrames(params: SpectrogramParams): MelFrames {
  const samples = (milliseconds: number): number => Math.trunc((milliseconds / 1000) * params.sample_rate);
  return {
    sampleRate: params.sample_rate,
    numFft: samples(params.padded_duration_ms),
    windowLength: samples(params.window_duration_ms),
    hop: samples(params.step_size_ms),
    numBands: params.num_frequencies,
    minHz: params.min_frequency,
    maxHz: params.max_frequency,
    hasEqualAreas: params.mel_scale_norm === "slaney",
    scale: params.mel_scale_type,
    numIterations: params.num_griffin_lim_iters,
  };
}
