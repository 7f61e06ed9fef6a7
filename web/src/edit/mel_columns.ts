/** Columns of a spectrogram on the mel scale, as bytes of loudness, for the view of a recording. */

import { frequencyAt } from "../timeline/pitch";
import type { Hertz, Seconds } from "../units";
import { Fft } from "./fft";

/** Rows of a column, from the lowest pitch to the highest. */
export const NUM_ROWS = 160;
/** Columns that are computed and drawn together. */
export const TILE_COLUMNS = 256;
const HOP: Seconds = 0.01;
const WINDOW: Seconds = 0.046;
/** Levels that are shown as silence and as the loudest, relative to a full-scale sine. */
const QUIETEST_DB = -92;
const LOUDEST_DB = -14;

/** Distance between columns in samples. */
export function hopOf(sampleRate: Hertz): number {
  return Math.max(1, Math.round(HOP * sampleRate));
}

/** Length of the window of one column in samples: the power of two that is nearest to 46 ms. */
export function windowOf(sampleRate: Hertz): number {
  return 2 ** Math.round(Math.log2(WINDOW * sampleRate));
}

/** The samples that a tile is computed from: the windows of its columns, whose centres are multiples of the hop. */
export function tileRange(tile: number, sampleRate: Hertz): { readonly start: number; readonly stop: number } {
  const [hop, size] = [hopOf(sampleRate), windowOf(sampleRate)];
  const start = tile * TILE_COLUMNS * hop - size / 2;
  return { start, stop: start + (TILE_COLUMNS - 1) * hop + size };
}

/** Where a row's loudness is read: a range of bins, or a place between two of them. */
interface Row {
  readonly first: number;
  readonly last: number;
  readonly centre: number;
}

export class MelColumns {
  private readonly hop: number;
  private readonly fft: Fft;
  private readonly window: Float64Array;
  private readonly bins: Float64Array;
  private readonly rows: readonly Row[];

  constructor(sampleRate: Hertz) {
    this.hop = hopOf(sampleRate);
    const size = windowOf(sampleRate);
    this.fft = new Fft(size);
    this.bins = new Float64Array(size / 2 + 1);
    // A Hann window, scaled so that a sine of amplitude 1 has magnitude 1.
    this.window = Float64Array.from({ length: size }, (_, i) => (2 / size) * (1 - Math.cos((2 * Math.PI * i) / size)));
    const binOf = (height: number): number => Math.min(size / 2, (frequencyAt(height) / sampleRate) * size);
    this.rows = Array.from({ length: NUM_ROWS }, (_, row) => ({
      first: Math.ceil(binOf(row / NUM_ROWS)),
      last: Math.floor(binOf((row + 1) / NUM_ROWS)),
      centre: binOf((row + 0.5) / NUM_ROWS),
    }));
  }

  /**
   * The columns of a tile.
   *
   * @param samples mono, in [-1, 1], the samples of `tileRange`
   * @returns loudness from 0 to 255, `NUM_ROWS` bytes per column
   */
  tile(samples: Float32Array): Uint8Array<ArrayBuffer> {
    const columns = new Uint8Array(TILE_COLUMNS * NUM_ROWS);
    for (let column = 0; column < TILE_COLUMNS; column++) {
      const start = column * this.hop;
      this.fft.magnitudes(samples.subarray(start, start + this.fft.size), this.window, this.bins);
      this.rows.forEach((row, i) => (columns[column * NUM_ROWS + i] = loudness(this.magnitude(row))));
    }
    return columns;
  }

  /** The largest magnitude in a row; rows that are narrower than a bin lie between two bins. */
  private magnitude({ first, last, centre }: Row): number {
    const low = Math.floor(centre);
    const share = centre - low;
    let most = (1 - share) * (this.bins[low] ?? 0) + share * (this.bins[low + 1] ?? 0);
    for (let bin = first; bin <= last; bin++) most = Math.max(most, this.bins[bin] ?? 0);
    return most;
  }
}

function loudness(magnitude: number): number {
  const level = 20 * Math.log10(magnitude + 1e-9);
  return Math.round(255 * Math.min(1, Math.max(0, (level - QUIETEST_DB) / (LOUDEST_DB - QUIETEST_DB))));
}
