/** What Python gives, from the file that `scripts/write_inversion_golden.py` writes, and its images and signals. */

import { readFileSync } from "node:fs";
import type { SpectrogramParams } from "../../src/engine/spectrogram_params";

interface KeptSamples {
  /** One of so many is kept. */
  readonly step: number;
  /** Full scale of the samples. */
  readonly peak: number;
  /** Integers of 16 bits, as base64. */
  readonly samples: string;
}

export interface SparseColumns {
  readonly rows: readonly number[];
  readonly weights: string;
}

interface Golden {
  readonly clips: readonly {
    readonly name: string; readonly params: SpectrogramParams; readonly columns: number; readonly num_samples: number;
    readonly ends: "reflected" | "loop" | "part as a loop";
    /** Distance of the waveform's mel amplitudes from those that it was to have, of all of them. */
    readonly convergence: number;
    readonly kept: KeptSamples | null;
  }[];
  readonly rates: readonly {
    readonly params: SpectrogramParams; readonly hop: number; readonly window_length: number; readonly min_frames: number;
    readonly fine_size: number; readonly coarse_size: number; readonly full_size: number;
  }[];
  readonly filterbanks: readonly {
    readonly params: SpectrogramParams; readonly bands: SparseColumns; readonly reduced: SparseColumns;
  }[];
  readonly loudness: readonly {
    readonly name: string; readonly sample_rate: number; readonly num_samples: number;
    readonly tone: number; readonly clicks: number; readonly circular: boolean;
    readonly lufs: number | null; readonly true_peak_db: number | null;
    readonly kept: KeptSamples;
  }[];
}

export const golden = JSON.parse(readFileSync(new URL("../golden/inversion.json", import.meta.url), "utf8")) as Golden;

function bytes(base64: string): ArrayBuffer {
  return Uint8Array.from(Buffer.from(base64, "base64")).buffer;
}

export function floats(base64: string): Float32Array {
  return new Float32Array(bytes(base64));
}

/** Peak signal-to-noise ratio in dB of those samples that are kept. */
export function psnr(waveform: Float32Array, kept: KeptSamples): number {
  const expected = Float32Array.from(new Int16Array(bytes(kept.samples)), (value) => (value / 32_767) * kept.peak);
  const found = waveform.filter((_, i) => i % kept.step === 0);
  if (found.length !== expected.length) return -Infinity;
  const peak = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const error = expected.reduce((sum, value, i) => sum + (value - found[i]!) ** 2, 0) / expected.length;
  return 10 * Math.log10(peak ** 2 / error);
}

/** Three bytes per pixel: the script's `example_image`. */
export function exampleImage(numRows: number, numColumns: number): Uint8Array {
  const rgb = new Uint8Array(3 * numRows * numColumns);
  for (let row = 0; row < numRows; row++) {
    const band = numRows - 1 - row;
    for (let column = 0; column < numColumns; column++) {
      let darkness = 0;
      for (let partial = 1; partial <= 6; partial++) {
        const centre = Math.floor((numRows * partial) / 8) + ((Math.floor(column / 16) * partial * 5) % 11);
        darkness = Math.max(darkness, 220 - 40 * Math.abs(band - centre) - 3 * (column % 16) - 12 * partial);
      }
      const noise = (band * 7919 + column * 104729 + band * column * 31) % 23;
      rgb.fill(255 - Math.min(255, darkness + noise), 3 * (row * numColumns + column), 3 * (row * numColumns + column) + 3);
    }
  }
  return rgb;
}

/** The script's `example_loop`. */
export function exampleLoop(numRows: number, numColumns: number): Uint8Array {
  const half = exampleImage(numRows, numColumns / 2);
  const rgb = new Uint8Array(3 * numRows * numColumns);
  for (let row = 0; row < numRows; row++) {
    for (let column = 0; column < numColumns; column++) {
      const from = 3 * ((row * numColumns) / 2 + Math.min(column, numColumns - 1 - column));
      rgb.set(half.subarray(from, from + 3), 3 * (row * numColumns + column));
    }
  }
  return rgb;
}

/** The script's `example_signal`. */
export function exampleSignal(
  sampleRate: number, numSamples: number, tone: number, clicks: number,
): Float32Array<ArrayBuffer> {
  const turn = (2 * Math.PI * 440) / sampleRate;
  const waveform = Float64Array.from({ length: numSamples }, (_, i) => tone * Math.sin(turn * i));
  const period = Math.round(0.25 * sampleRate);
  const [first, step] = tone > 0 ? [Math.floor(period / 2), period] : [Math.floor(numSamples / 2), numSamples];
  for (let start = first, number = 0; start < numSamples - 3; start += step, number++) {
    [1, -1, 0.5].forEach((value, i) => (waveform[start + i]! += clicks * 0.9 ** number * value));
  }
  return Float32Array.from(waveform);
}
