/**
 * Mel bands of any range, number, scale and norm from others: magnitudes of FFT bins that have an image's bands are
 * estimated, and the other filterbank is applied to them. The estimate is that of Python's `spectrogram/inversion/
 * filterbank.py`: multiplicative updates that minimise the Kullback-Leibler divergence (Lee and Seung 2001).
 */

import { type SparseMatrix, interpolatedBands, meanOverRows, rowSums } from "../inversion/mel_filterbank";
import { melFrames } from "../inversion/mel_frames";
import { type SpectrogramParams, checkParams } from "../spectrogram_params";

/** Keeps divisions finite; 140 dB below the loudest amplitude. */
const EPSILON = 1e-7;
/** Enough for a sine to keep its band when the number of bands doubles. */
const NUM_UPDATES = 30;

type Values = Float32Array<ArrayBuffer>;

export class BandConversion {
  /** Power of all bins of what was converted, and of the bins that the wanted bands take up. */
  power = 0;
  powerInside = 0;
  private readonly bands: SparseMatrix;
  private readonly meanOverBands: SparseMatrix;
  private readonly weightOfBand: Float32Array;
  private readonly wantedBands: SparseMatrix;
  private readonly isInside: Uint8Array;
  private readonly magnitudes: Values;
  private readonly gains: Values;
  private readonly numWanted: number;

  /** @throws RangeError if a filterbank would be too large */
  constructor(params: SpectrogramParams, wanted: SpectrogramParams) {
    // Both filterbanks on the bins of one FFT, which is fine enough for either.
    const fine = {
      sample_rate: Math.max(params.sample_rate, wanted.sample_rate),
      padded_duration_ms: Math.max(params.padded_duration_ms, wanted.padded_duration_ms),
    };
    const [from, to] = [{ ...params, ...fine }, { ...wanted, ...fine }];
    for (const changed of [from, to]) checkParams(changed);
    const { numFft } = melFrames(from);
    const [binHz, numBins] = [fine.sample_rate / numFft, Math.floor(numFft / 2) + 1];
    this.bands = interpolatedBands(melFrames(from), binHz, numBins);
    this.meanOverBands = meanOverRows(this.bands, numBins, EPSILON);
    this.weightOfBand = rowSums(this.bands, EPSILON);
    this.wantedBands = interpolatedBands(melFrames(to), binHz, numBins);
    this.isInside = columnsOf(this.wantedBands, numBins);
    this.magnitudes = new Float32Array(numBins);
    this.gains = new Float32Array(numBins);
    this.numWanted = wanted.num_frequencies;
  }

  /** Amplitudes frame by frame, each from the lowest band on. */
  convert(amplitudes: Values): Values {
    const numBands = this.weightOfBand.length;
    const numFrames = amplitudes.length / numBands;
    const converted = new Float32Array(numFrames * this.numWanted);
    for (let frame = 0; frame < numFrames; frame++) {
      const target = amplitudes.subarray(frame * numBands, (frame + 1) * numBands);
      if (target.every((value) => value === 0)) continue; // silence stays silence
      this.estimate(target);
      this.magnitudes.forEach((magnitude, bin) => {
        this.power += magnitude ** 2;
        if (this.isInside[bin]) this.powerInside += magnitude ** 2;
      });
      multiply(this.wantedBands, this.magnitudes, converted.subarray(frame * this.numWanted, (frame + 1) * this.numWanted));
    }
    return converted;
  }

  /** Magnitudes whose mel bands approximate `target`: from the mean level of each bin's bands, by gains towards it. */
  private estimate(target: Values): void {
    const { magnitudes, gains, bands, meanOverBands, weightOfBand } = this;
    const values = target.map((value, band) => value / weightOfBand[band]!);
    multiply(meanOverBands, values, magnitudes);
    for (let update = 0; update < NUM_UPDATES; update++) {
      multiply(bands, magnitudes, values);
      for (let band = 0; band < values.length; band++) values[band] = target[band]! / (values[band]! + EPSILON);
      multiply(meanOverBands, values, gains);
      for (let bin = 0; bin < gains.length; bin++) magnitudes[bin]! *= gains[bin]!;
    }
  }
}

/** The product of a matrix and a column of values. */
function multiply({ rows, weights }: SparseMatrix, values: Values, product: Values): void {
  for (let row = 0, at = 0; row < product.length; row++) {
    const first = rows[2 * row]!;
    const end = first + rows[2 * row + 1]!;
    let sum = 0;
    for (let column = first; column < end; column++) sum += weights[at++]! * values[column]!;
    product[row] = sum;
  }
}

/** 1 for each column that has a weight. */
function columnsOf({ rows, weights }: SparseMatrix, numColumns: number): Uint8Array {
  const columns = new Uint8Array(numColumns);
  for (let row = 0, at = 0; row < rows.length / 2; row++) {
    const first = rows[2 * row]!;
    for (let i = 0; i < rows[2 * row + 1]!; i++) if (weights[at++] !== 0) columns[first + i] = 1;
  }
  return columns;
}
