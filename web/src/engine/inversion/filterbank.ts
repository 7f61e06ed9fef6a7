/** Mel bands as weighted sums over the bins of a shorter FFT, and gains from bands to bins; eight frames at a time. */

import { type Address, type Kernels, VALUES_BYTES } from "./kernels";
import { interpolatedBands, meanOverRows, rowSums, type SparseMatrix } from "./mel_filterbank";
import type { MelFrames } from "./mel_frames";
import type { ReducedBins } from "./reduced_rate";

/** Keeps divisions finite. 140 dB below the loudest mel amplitude, which is scaled to 1. */
const EPSILON = 1e-7;

interface Matrix {
  readonly rows: Address;
  readonly weights: Address;
}

/** The derivations are those of Python's `spectrogram/inversion/filterbank.py`. */
export class Filterbank {
  private readonly bandsFromBins: Matrix;
  private readonly meanOverBands: Matrix;
  private readonly weightOfBand: Float32Array;
  private readonly bandValues: Address;
  private readonly moreGains: Address;

  constructor(private readonly kernels: Kernels, private readonly frames: MelFrames, private readonly bins: ReducedBins) {
    const bands = interpolatedBands(frames, bins.binHz, bins.numBins);
    this.bandsFromBins = this.reserved(bands);
    this.meanOverBands = this.reserved(meanOverRows(bands, bins.numBins, EPSILON));
    this.weightOfBand = rowSums(bands, EPSILON);
    this.bandValues = kernels.reserve(VALUES_BYTES * frames.numBands);
    this.moreGains = kernels.reserve(VALUES_BYTES * bins.numBins);
  }

  private reserved({ rows, weights }: SparseMatrix): Matrix {
    return { rows: this.kernels.reserveInts(rows), weights: this.kernels.reserveFloats(weights) };
  }

  /**
   * Gains per bin that bring the mel bands of `magnitudes` closer to `target`, applied `numUpdates` times.
   *
   * @param magnitudes are overwritten, if there are more updates than one
   * @param out the gains, a row per bin
   */
  gains(magnitudes: Address, target: Address, numUpdates: number, out: Address): void {
    const { kernels: { run }, bins: { numBins } } = this;
    this.update(magnitudes, target, out);
    for (let update = 1; update < numUpdates; update++) {
      run.multiplied(magnitudes, update === 1 ? out : this.moreGains, numBins);
      this.update(magnitudes, target, this.moreGains);
      run.multiplied(out, this.moreGains, numBins);
    }
  }

  /** Magnitudes whose mel bands approximate `target`, a smooth estimate: a row per bin at `out`. */
  magnitudesFromMel(target: Address, numUpdates: number, out: Address): void {
    const { kernels, frames: { numBands }, bins: { numBins } } = this;
    const from = kernels.floats(target, 8 * numBands);
    const to = kernels.floats(this.bandValues, 8 * numBands);
    for (let i = 0; i < to.length; i++) to[i] = from[i]! / this.weightOfBand[i >> 3]!;
    kernels.run.weightedSums(this.bandValues, this.meanOverBands.rows, this.meanOverBands.weights, numBins, out);
    for (let update = 0; update < numUpdates; update++) {
      this.update(out, target, this.moreGains);
      kernels.run.multiplied(out, this.moreGains, numBins);
    }
  }

  private update(magnitudes: Address, target: Address, out: Address): void {
    const { run } = this.kernels;
    const { bandsFromBins, meanOverBands } = this;
    run.bandGains(
      magnitudes, bandsFromBins.rows, bandsFromBins.weights, this.frames.numBands, target, EPSILON, this.bandValues,
    );
    run.weightedSums(this.bandValues, meanOverBands.rows, meanOverBands.weights, this.bins.numBins, out);
  }
}
