/**
 * The mel filterbank: triangular bands, equally spaced on the mel scale, rounded to float32 where Python's
 * `spectrogram/filterbank.py` rounds, and the same bands as sums over the bins of a shorter FFT.
 */

import type { Hertz } from "../../units";
import type { MelFrames } from "./mel_frames";

const f32 = Math.fround;

/** Slaney's scale: 200/3 Hz per mel up to the break, and 27 mels per factor of 6.4 above it. */
const HZ_PER_MEL = 200 / 3;
const BREAK_HZ: Hertz = 1000;
const BREAK_MEL = BREAK_HZ / HZ_PER_MEL;
const LOG_STEP = Math.log(6.4) / 27;

/** Rows of a matrix whose weights lie side by side. */
export interface SparseMatrix {
  /** For each row, the first column and the number of weights. */
  readonly rows: Int32Array;
  /** The weights of all rows. */
  readonly weights: Float32Array;
}

/** The first column of a row, and its weights from there on. */
export interface Band {
  readonly first: number;
  readonly weights: Float32Array;
}

/** The mel of a frequency. */
export function melFromHz(hz: Hertz, scale: MelFrames["scale"]): number {
  if (scale === "htk") return 2595 * Math.log10(1 + hz / 700);
  return hz < BREAK_HZ ? hz / HZ_PER_MEL : BREAK_MEL + Math.log(hz / BREAK_HZ) / LOG_STEP;
}

/** The inverse of `melFromHz`. */
export function hzFromMelExactly(mel: number, scale: MelFrames["scale"]): Hertz {
  if (scale === "htk") return 700 * (10 ** (mel / 2595) - 1);
  return mel < BREAK_MEL ? HZ_PER_MEL * mel : BREAK_HZ * Math.exp(LOG_STEP * (mel - BREAK_MEL));
}

/** The same, rounded to float32 after each operation. */
function hzFromMel(mel: number, scale: MelFrames["scale"]): number {
  if (scale === "htk") return f32(700 * f32(f32(10 ** f32(mel / 2595)) - 1));
  if (mel < f32(BREAK_MEL)) return f32(f32(HZ_PER_MEL) * mel);
  return f32(1000 * f32(Math.exp(f32(f32(LOG_STEP) * f32(mel - f32(BREAK_MEL))))));
}

/** Evenly spaced numbers, by float32 steps from both ends. */
function evenly(low: number, high: number, count: number): Float32Array {
  const [first, last] = [f32(low), f32(high)];
  const step = f32(f32(last - first) / (count - 1));
  return Float32Array.from({ length: count }, (_, i) =>
    i < Math.floor(count / 2) ? first + step * i : last - step * (count - 1 - i));
}

/** Edges of the bands in Hz, two more than there are bands. */
export function bandEdges(frames: MelFrames): Float32Array {
  const [low, high] = [melFromHz(frames.minHz, frames.scale), melFromHz(frames.maxHz, frames.scale)];
  return evenly(low, high, frames.numBands + 2).map((mel) => hzFromMel(mel, frames.scale));
}

/** The bands over the bins of the spectrogram's own FFT. */
export function melBands(frames: MelFrames): Band[] {
  const edges = bandEdges(frames);
  const binHz = evenly(0, Math.floor(frames.sampleRate / 2), Math.floor(frames.numFft / 2) + 1);
  let first = 0;
  return Array.from({ length: frames.numBands }, (_, band) => {
    const [low, centre, high] = [edges[band]!, edges[band + 1]!, edges[band + 2]!];
    const [rising, falling] = [f32(centre - low), f32(high - centre)];
    const height = frames.hasEqualAreas ? f32(2 / f32(high - low)) : 1;
    while (first < binHz.length && binHz[first]! <= low) first++;
    let end = first;
    while (end < binHz.length && binHz[end]! < high) end++;
    const weights = binHz.slice(first, end).map((hz) =>
      f32(height * Math.max(0, Math.min(f32(f32(hz - low) / rising), f32(f32(high - hz) / falling)))));
    return { first, weights };
  });
}

/**
 * The bands over the bins of a shorter FFT, whose magnitudes are interpolated linearly between its bins; one row per
 * band. Why that is right: `spectrogram/inversion/filterbank.py`.
 *
 * @param binHz spacing of the shorter FFT's bins
 */
export function interpolatedBands(frames: MelFrames, binHz: Hertz, numBins: number): SparseMatrix {
  const ratio = frames.sampleRate / frames.numFft / binHz;
  const column = new Float32Array(numBins);
  return joined(melBands(frames).map(({ first, weights }) => {
    column.fill(0);
    for (const upper of [0, 1]) {
      weights.forEach((weight, i) => {
        const position = (first + i) * ratio;
        const below = Math.min(Math.floor(position), numBins - 2);
        const fraction = f32(Math.min(position, numBins - 1) - below);
        column[below + upper]! += f32(weight * (upper === 1 ? fraction : f32(1 - fraction)));
      });
    }
    return span(column);
  }));
}

/** The transpose, with the columns of `matrix` as rows; each is divided by its sum, or by `smallest` if that is less. */
export function meanOverRows(matrix: SparseMatrix, numColumns: number, smallest: number): SparseMatrix {
  const columns = Array.from({ length: numColumns }, () => ({ first: 0, weights: [] as number[] }));
  forEachWeight(matrix, (row, index, weight) => {
    const column = columns[index]!;
    if (column.weights.length === 0) column.first = row;
    while (column.first + column.weights.length < row) column.weights.push(0); // bands that are narrower than a bin
    column.weights.push(weight);
  });
  return joined(columns.map(({ first, weights }) => {
    const sum = Math.max(f32(smallest), weights.reduce((total, weight) => f32(total + weight), 0));
    return { first, weights: Float32Array.from(weights, (weight) => weight / sum) };
  }));
}

/** The sum of each row's weights, at least `smallest`. */
export function rowSums(matrix: SparseMatrix, smallest: number): Float32Array {
  const sums = new Float32Array(matrix.rows.length / 2);
  forEachWeight(matrix, (row, _, weight) => (sums[row]! += weight));
  return sums.map((sum) => Math.max(smallest, sum));
}

function forEachWeight({ rows, weights }: SparseMatrix, visit: (row: number, column: number, weight: number) => void): void {
  let index = 0;
  for (let row = 0; row < rows.length / 2; row++) {
    const first = rows[2 * row]!;
    for (let i = 0; i < rows[2 * row + 1]!; i++) visit(row, first + i, weights[index++]!);
  }
}

/** A dense row without the zeros at its ends. */
function span(row: Float32Array): Band {
  const first = row.findIndex((weight) => weight !== 0);
  if (first < 0) return { first: 0, weights: row.subarray(0, 0) };
  return { first, weights: row.slice(first, row.findLastIndex((weight) => weight !== 0) + 1) };
}

function joined(spans: readonly Band[]): SparseMatrix {
  const weights = new Float32Array(spans.reduce((sum, row) => sum + row.weights.length, 0));
  let end = 0;
  for (const row of spans) {
    weights.set(row.weights, end);
    end += row.weights.length;
  }
  return { rows: Int32Array.from(spans.flatMap((row) => [row.first, row.weights.length])), weights };
}
