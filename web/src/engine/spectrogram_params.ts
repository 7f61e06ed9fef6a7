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

type WholeNumber = Exclude<keyof SpectrogramParams, "stereo" | "mel_scale_norm" | "mel_scale_type" | "power_for_image">;

const RANGES: Readonly<Record<WholeNumber, readonly [number, number]>> = {
  sample_rate: [1000, 384_000], step_size_ms: [1, 1000], window_duration_ms: [1, 10_000], padded_duration_ms: [1, 10_000],
  num_frequencies: [1, 8192], min_frequency: [0, 192_000], max_frequency: [1, 192_000], max_mel_iters: [1, 100_000],
  num_griffin_lim_iters: [0, 1000],
};
const MAX_POWER = 10;
const MIN_WINDOW_SAMPLES = 4;
/** A filterbank of 256 MB. */
const MAX_FILTERBANK_CELLS = 2 ** 26;

/**
 * Checks parameters from a file, with Python's rules.
 *
 * @throws RangeError for the first one that is not allowed, with its value, the rule and, where it is not plain, the remedy
 */
export function checkParams(params: SpectrogramParams): void {
  const { stereo, sample_rate: rate, power_for_image: power, mel_scale_norm: norm, mel_scale_type: scale } = params;
  const rule = (isKept: boolean, broken: string): void => {
    if (!isKept) throw new RangeError(broken);
  };
  rule(typeof stereo === "boolean", `stereo=${String(stereo)} must be 0 or 1`);
  for (const [name, [low, high]] of Object.entries(RANGES) as [WholeNumber, readonly [number, number]][]) {
    const value = params[name];
    rule(Number.isInteger(value), `${name}=${value} must be a whole number`);
    rule(low <= value && value <= high, `${name}=${value} must be from ${low} to ${high}`);
  }
  rule(typeof power === "number" && 0 < power && power <= MAX_POWER, `power_for_image=${power} must be above 0 and at most ${MAX_POWER}; 0.25 is the usual value`);
  const { step_size_ms: step, window_duration_ms: window, padded_duration_ms: padded, num_frequencies: numBands } = params;
  const samples = (milliseconds: Milliseconds): number => Math.trunc((milliseconds / 1000) * rate);
  rule(samples(step) >= 1, `step_size_ms=${step} is shorter than one sample at sample_rate=${rate}; increase one of them`);
  rule(
    step < window && window <= padded,
    `step_size_ms=${step}, window_duration_ms=${window}, padded_duration_ms=${padded} must be step < window <= padded; 10, 100, 400 are the usual values`,
  );
  rule(samples(window) >= MIN_WINDOW_SAMPLES, `window_duration_ms=${window} has only ${samples(window)} samples at sample_rate=${rate}; at least ${MIN_WINDOW_SAMPLES} are needed, increase one of them`);
  rule(
    samples(padded) * numBands <= MAX_FILTERBANK_CELLS,
    `padded_duration_ms=${padded} at sample_rate=${rate} and num_frequencies=${numBands} need a filterbank of ${samples(padded)} × ${numBands}; ` +
      `at most ${MAX_FILTERBANK_CELLS} cells are allowed, reduce one of the three`,
  );
  const { min_frequency: low, max_frequency: high } = params;
  rule(low < high, `min_frequency=${low} must be below max_frequency=${high}`);
  rule(low * 2 < rate, `min_frequency=${low} must be below half of sample_rate=${rate}`);
  rule(norm === null || norm === "slaney", `mel_scale_norm=${String(norm)} must be none or slaney`);
  rule(scale === "htk" || scale === "slaney", `mel_scale_type=${String(scale)} must be htk or slaney`);
}
