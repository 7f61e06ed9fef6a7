/** Spectrogram parameters of a checkpoint: the content of its `spectrogram_params.json`, with the server's field names. */

import type { Hertz, Milliseconds } from "../units";

export interface SpectrogramParams {
  /** Two channels, in the image's G and B planes, instead of one in all three planes. */
  readonly stereo: boolean;
  readonly sample_rate: Hertz;
  /** Hop: the time from one image column to the next. */
  readonly step_size_ms: Milliseconds;
  /** Length of the Hann window. */
  readonly window_duration_ms: Milliseconds;
  /** Length of the FFT; zeros fill what the window leaves. */
  readonly padded_duration_ms: Milliseconds;
  /** Number of mel bands, which is the image's height. */
  readonly num_frequencies: number;
  readonly min_frequency: Hertz;
  readonly max_frequency: Hertz;
  readonly mel_scale_norm: "slaney" | null;
  readonly mel_scale_type: "htk" | "slaney";
  readonly max_mel_iters: number;
  readonly num_griffin_lim_iters: number;
  /** Exponent from relative amplitude to darkness. */
  readonly power_for_image: number;
}
