/**
 * Mel amplitudes → waveform: the iteration of Python's `spectrogram/inversion/inverter.py`, which derives it and names
 * its papers, with the same constants.
 */

import { type Ends, FrameLengths, FrameSet } from "./frame_set";
import { Filterbank } from "./filterbank";
import { Fourier } from "./fourier";
import { initialPhases, type RegionPhases } from "./initial_phase";
import { type Address, BIN_BYTES, FRAMES_PER_BATCH, type Kernels, VALUES_BYTES } from "./kernels";
import type { MelFrames } from "./mel_frames";
import { reducedBins, type ReducedBins, type ReducedRate, reducedRate, windowShift } from "./reduced_rate";
import { roundHalfEven } from "./rounding";

/** Updates of the initial magnitudes. */
const MAGNITUDE_UPDATES = 4;
/** Length of a step relative to the projection. */
const RELAXATION = 1.25;
/** Share of the last step that is added to the next. */
const MOMENTUM = 0.95;
/** Longest distance of a subset's frames, in windows. */
const SUBSET_HOP = 0.3;
/** Passes over a subset per iteration. */
const PASSES_PER_ITERATION = 1.7;
/** Passes over a subset with the fine bins, after those with the coarse bins. */
const FINE_PASSES = 8;
/** Last passes, which use all frames. */
const FINAL_PASSES = 3;
/** Loudness below which frames have equal weights, relative to the clip's loudest frame. */
const QUIETEST = 3e-3;
const SMALLEST = 2 ** -126;

const f32 = Math.fround;

/** The bins of one FFT length: the transform, and the mel bands of its bins. */
class Bins {
  readonly sizes: ReducedBins;
  readonly fourier: Fourier;
  readonly filterbank: Filterbank;

  constructor(kernels: Kernels, frames: MelFrames, rate: ReducedRate, windowsPerFft: number, readonly numUpdates: number) {
    this.sizes = reducedBins(frames, rate, windowsPerFft);
    this.fourier = new Fourier(kernels, this.sizes.size);
    this.filterbank = new Filterbank(kernels, frames, this.sizes);
  }
}

/** Buffers for one batch. */
interface BatchBuffers {
  readonly z: Address;
  readonly spare: Address;
  readonly spectrum: Address;
  readonly magnitudes: Address;
  readonly gains: Address;
}

/** What a clip of one length needs. */
interface ClipBuffers {
  readonly numFrames: number;
  readonly subsets: readonly FrameSet[];
  readonly all: FrameSet;
  readonly full: FrameSet;
  /** Target mel amplitudes of each frame set, in batches. */
  readonly targets: ReadonlyMap<FrameSet, Address>;
  /** Initial magnitudes of all frames, in batches. */
  readonly magnitudes: Address;
  readonly regionEnds: Address;
  readonly regionPerBin: Address;
  readonly regionAtZero: Address;
  /** Padded waveforms. */
  readonly estimate: Address;
  readonly sums: Address;
  readonly fullSums: Address;
  readonly last: Address;
}

/** A function that leaves the spectrum of a batch in the batch buffers. */
type SpectrumOf = (batch: number) => void;

/** Inverts clips of any length. Memory is kept for the last length, so that clips of equal length need no more. */
export class MelInverter {
  private readonly rate: ReducedRate;
  private readonly coarse: Bins;
  private readonly fine: Bins;
  private readonly fullFourier: Fourier;
  private readonly lengths: FrameLengths;
  private readonly fullLengths: FrameLengths;
  private readonly shift: Address | null;
  private readonly buffers: BatchBuffers;
  private readonly numSubsets: number;
  private readonly clipMark: Address;
  private clip: ClipBuffers | null = null;

  constructor(private readonly kernels: Kernels, private readonly frames: MelFrames) {
    this.rate = reducedRate(frames);
    this.coarse = new Bins(kernels, frames, this.rate, 1, 2);
    this.fine = new Bins(kernels, frames, this.rate, 2, 1);
    this.lengths = new FrameLengths(kernels, this.rate.hop, this.rate.windowLength);
    this.fullLengths = new FrameLengths(kernels, frames.hop, frames.windowLength);
    this.numSubsets = Math.max(1, Math.trunc((SUBSET_HOP * this.rate.windowLength) / this.rate.hop));
    const { fullSize, numBins } = this.fine.sizes;
    this.fullFourier = new Fourier(kernels, fullSize);
    this.shift = this.reserveShift();
    const rows = Math.max(numBins, this.coarse.sizes.numBins);
    this.buffers = {
      z: kernels.reserve(Math.max(this.fullFourier.bytes, this.fine.fourier.bytes, this.coarse.fourier.bytes)),
      spare: kernels.reserve(Math.max(this.fullFourier.bytes, this.fine.fourier.bytes, this.coarse.fourier.bytes)),
      spectrum: kernels.reserve(BIN_BYTES * rows),
      magnitudes: kernels.reserve(VALUES_BYTES * rows),
      gains: kernels.reserve(VALUES_BYTES * rows),
    };
    this.clipMark = kernels.mark;
  }

  /** Fewest frames of a loop: with less, a window would see the whole loop more than once. */
  get shortestLoop(): number {
    return this.rate.minFrames;
  }

  /**
   * Inverts one mel spectrogram; equal amplitudes give equal waveforms.
   *
   * @param amplitudes finite and at least 0, frame by frame, `numBands` of each from the lowest on
   * @param isLoop whether they are those of an endless repetition, of `shortestLoop` frames at least
   * @returns one sample per hop and frame, not limited to [-1, 1]
   */
  waveform(amplitudes: Float32Array, isLoop = false): Float32Array<ArrayBuffer> {
    const { numBands, hop, numIterations } = this.frames;
    const numFrames = amplitudes.length / numBands;
    const clip = this.clipOf(Math.max(numFrames, this.rate.minFrames));
    const ends: Ends = isLoop ? "joined" : "reflected";
    const level = Math.max(SMALLEST, amplitudes.reduce((most, value) => Math.max(most, value), 0));
    const weights = this.setTargets(clip, amplitudes, numFrames, level);
    for (const frames of [...clip.subsets, clip.all, clip.full]) frames.setWeights(weights, ends);

    let spectrumOf = this.firstEstimate(clip);
    const numPasses = roundHalfEven(PASSES_PER_ITERATION * numIterations);
    if (numPasses > 0) this.start(clip, ends, spectrumOf);
    for (let pass = 0; pass < numPasses; pass++) {
      const remaining = numPasses - pass;
      const isFinal = remaining <= FINAL_PASSES;
      const bins = remaining <= FINAL_PASSES + FINE_PASSES ? this.fine : this.coarse;
      const chosen = isFinal ? clip.all : clip.subsets[pass % clip.subsets.length]!;
      this.lengths.extendEnds(clip.estimate, clip.numFrames, ends);
      spectrumOf = this.corrected(clip, chosen, bins);
      if (remaining > 1) this.advance(clip, ends, chosen, bins, spectrumOf);
    }
    const waveform = this.fullRateWaveform(clip, ends, spectrumOf, numFrames * hop);
    for (let i = 0; i < waveform.length; i++) waveform[i]! *= level;
    return waveform;
  }

  /** A linear phase per bin, if the two rates round half a window differently. */
  private reserveShift(): Address | null {
    const shift = windowShift(this.frames, this.rate);
    if (shift === 0) return null;
    const { size, numBins } = this.fine.sizes;
    const values = Array.from({ length: numBins }, (_, bin) => (2 * Math.PI * bin * shift * this.rate.hop) / size);
    return this.kernels.reserveFloats(values.flatMap((angle) => [Math.cos(angle), Math.sin(angle)]));
  }

  private clipOf(numFrames: number): ClipBuffers {
    if (this.clip?.numFrames === numFrames) return this.clip;
    const { kernels, lengths, fullLengths, frames: { numBands } } = this;
    kernels.release(this.clipMark);
    const { numBins } = this.fine.sizes;
    const subsets = Array.from({ length: this.numSubsets }, (_, first) =>
      new FrameSet(kernels, lengths, numFrames, first, this.numSubsets));
    const all = new FrameSet(kernels, lengths, numFrames, 0, 1);
    const full = new FrameSet(kernels, fullLengths, numFrames, 0, 1);
    this.clip = {
      numFrames, subsets, all, full,
      targets: new Map([...subsets, all].map(
        (set) => [set, kernels.reserve(VALUES_BYTES * numBands * set.numBatches)],
      )),
      magnitudes: kernels.reserve(VALUES_BYTES * numBins * all.numBatches),
      regionEnds: kernels.reserve(4 * numBins),
      regionPerBin: kernels.reserve(4 * numBins),
      regionAtZero: kernels.reserve(4 * numBins),
      estimate: lengths.reservePadded(numFrames),
      sums: lengths.reservePadded(numFrames),
      fullSums: fullLengths.reservePadded(numFrames),
      last: lengths.reserveSamples(numFrames),
    };
    return this.clip;
  }

  /**
   * Stores the amplitudes in batches, relative to the loudest one. The last frame is repeated if the clip is too short.
   *
   * @returns the frames' weights: inverse relative loudness, 1 to 333
   */
  private setTargets(clip: ClipBuffers, amplitudes: Float32Array, numFrames: number, level: number): Float32Array {
    const { kernels, frames: { numBands } } = this;
    const target = amplitudes.map((value) => value / level);
    for (const [set, address] of clip.targets) {
      const values = kernels.floats(address, FRAMES_PER_BATCH * numBands * set.numBatches);
      for (let batch = 0, out = 0; batch < set.numBatches; batch++, out += FRAMES_PER_BATCH * numBands) {
        for (let lane = 0; lane < FRAMES_PER_BATCH; lane++) {
          const from = numBands * Math.min(numFrames - 1, set.frameAt(batch, lane));
          for (let band = 0; band < numBands; band++) values[out + FRAMES_PER_BATCH * band + lane] = target[from + band]!;
        }
      }
    }
    const loudness = Float32Array.from({ length: clip.numFrames }, (_, frame) => {
      const from = numBands * Math.min(numFrames - 1, frame);
      let sum = 0;
      for (let band = 0; band < numBands; band++) sum += target[from + band]! ** 2;
      return Math.sqrt(f32(sum));
    });
    const loudest = Math.max(SMALLEST, loudness.reduce((most, value) => Math.max(most, value), 0));
    return loudness.map((value) => 1 / f32(f32(value / loudest) + f32(QUIETEST)));
  }

  /** The spectrum of smooth magnitudes and of phases from their peaks. */
  private firstEstimate(clip: ClipBuffers): SpectrumOf {
    const { kernels, buffers, fine: { filterbank, sizes: { numBins, size } } } = this;
    const bytes = VALUES_BYTES * numBins;
    const target = clip.targets.get(clip.all)!;
    for (let batch = 0; batch < clip.all.numBatches; batch++) {
      filterbank.magnitudesFromMel(
        target + VALUES_BYTES * this.frames.numBands * batch, MAGNITUDE_UPDATES, clip.magnitudes + bytes * batch,
      );
    }
    const perBatch = FRAMES_PER_BATCH * numBins;
    const phases = initialPhases(
      {
        values: kernels.floats(clip.magnitudes, perBatch * clip.all.numBatches), numFrames: clip.numFrames, numBins,
        stride: FRAMES_PER_BATCH,
        start: (frame) => perBatch * Math.floor(frame / FRAMES_PER_BATCH) + (frame % FRAMES_PER_BATCH),
      },
      { hop: this.rate.hop, windowLength: this.rate.windowLength, fftSize: size },
    );
    return (batch) => {
      for (let lane = 0; lane < FRAMES_PER_BATCH; lane++) this.storePhases(clip, phases, clip.all.frameAt(batch, lane), lane);
      kernels.run.polar(clip.magnitudes + bytes * batch, buffers.gains, buffers.spectrum, numBins);
    };
  }

  /** Phases of a frame, into the buffer of the gains. */
  private storePhases(clip: ClipBuffers, phases: RegionPhases, frame: number, lane: number): void {
    const { kernels } = this;
    const [first, end] = [phases.firstRegions[frame]!, phases.firstRegions[frame + 1]!];
    kernels.ints(clip.regionEnds, end - first).set(phases.ends.subarray(first, end));
    kernels.floats(clip.regionPerBin, end - first).set(phases.perBin.subarray(first, end));
    kernels.floats(clip.regionAtZero, end - first).set(phases.atZero.subarray(first, end));
    kernels.run.regionPhases(
      this.buffers.gains, lane, clip.regionEnds, clip.regionPerBin, clip.regionAtZero, end - first,
    );
  }

  /** The spectrum of the estimate's frames, with gains towards the target. */
  private corrected(clip: ClipBuffers, chosen: FrameSet, bins: Bins): SpectrumOf {
    const { kernels: { run }, buffers: { z, spare, spectrum, magnitudes, gains } } = this;
    const { size, numBins } = bins.sizes;
    const target = clip.targets.get(chosen)!;
    return (batch) => {
      chosen.window(batch, clip.estimate, z, size);
      run.split(bins.fourier.transform(z, spare), size, spectrum, magnitudes);
      bins.filterbank.gains(magnitudes, target + VALUES_BYTES * this.frames.numBands * batch, bins.numUpdates, gains);
      run.scaled(spectrum, gains, numBins);
    };
  }

  /** Overlap-adds inverse transforms of spectra to `sums`, which is padded; its ends are folded. */
  private addFrames(
    sums: Address, ends: Ends, set: FrameSet, lengths: FrameLengths, numFrames: number, fourier: Fourier, numBins: number,
    spectrumOf: SpectrumOf,
  ): void {
    const { kernels, buffers: { z, spare, spectrum } } = this;
    kernels.floats(sums, lengths.paddedLength(numFrames)).fill(0);
    for (let batch = 0; batch < set.numBatches; batch++) {
      spectrumOf(batch);
      kernels.run.merged(spectrum, numBins, z, fourier.length);
      set.overlapAdd(batch, fourier.transform(z, spare), sums, 1 / fourier.length);
    }
    lengths.foldEnds(sums, numFrames, ends);
  }

  /** The first waveform, which is also the last step. */
  private start(clip: ClipBuffers, ends: Ends, spectrumOf: SpectrumOf): void {
    const { kernels, lengths, fine } = this;
    const numSamples = clip.numFrames * lengths.hop;
    this.addFrames(clip.estimate, ends, clip.all, lengths, clip.numFrames, fine.fourier, fine.sizes.numBins, spectrumOf);
    const estimate = clip.estimate + 4 * lengths.left;
    kernels.run.divided(estimate, clip.all.normAddress, numSamples);
    kernels.floats(clip.last, numSamples).set(kernels.floats(estimate, numSamples));
  }

  private advance(clip: ClipBuffers, ends: Ends, chosen: FrameSet, bins: Bins, spectrumOf: SpectrumOf): void {
    const { kernels, lengths } = this;
    this.addFrames(clip.sums, ends, chosen, lengths, clip.numFrames, bins.fourier, bins.sizes.numBins, spectrumOf);
    const offset = 4 * lengths.left;
    kernels.run.advanced(
      clip.estimate + offset, clip.last, clip.sums + offset, chosen.normAddress, clip.numFrames * lengths.hop,
      RELAXATION, MOMENTUM, 1 + MOMENTUM,
    );
  }

  /** The first samples of the waveform of all frames, whose spectra have zeros above their bins. */
  private fullRateWaveform(
    clip: ClipBuffers, ends: Ends, spectrumOf: SpectrumOf, numSamples: number,
  ): Float32Array<ArrayBuffer> {
    const { kernels, fullLengths, shift, fine: { sizes: { numBins } } } = this;
    const shifted: SpectrumOf = shift === null ? spectrumOf : (batch) => {
      spectrumOf(batch);
      kernels.run.rotated(this.buffers.spectrum, shift, numBins);
    };
    this.addFrames(clip.fullSums, ends, clip.full, fullLengths, clip.numFrames, this.fullFourier, numBins, shifted);
    const waveform = clip.fullSums + 4 * fullLengths.left;
    kernels.run.divided(waveform, clip.full.normAddress, numSamples);
    return kernels.floats(waveform, numSamples).slice();
  }
}
