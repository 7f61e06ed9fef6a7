/** Some frames of a clip, eight per batch: from the waveform to windowed samples, and back by overlap-add. */

import { type Address, FRAMES_PER_BATCH, type Kernels } from "./kernels";

/** Added to the squared window, whose ends are 0; matters only where frames barely overlap. */
const NORM_FLOOR = 1e-4;
/** Samples after a signal that the kernels may read, and keep. */
const SPARE_SAMPLES = 4;

const f32 = Math.fround;

/** What is beyond the ends of a clip: its mirror image, or the repetition of a loop. */
export type Ends = "reflected" | "joined";

/** Lengths at one sample rate, and the window in the kernels' memory. */
export class FrameLengths {
  readonly window: Address;
  /** Samples before the waveform that its first frame needs. */
  readonly left: number;
  private readonly windowValues: Float32Array;

  constructor(private readonly kernels: Kernels, readonly hop: number, readonly windowLength: number) {
    this.left = Math.floor(windowLength / 2);
    this.windowValues = Float32Array.from(
      { length: windowLength }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / windowLength),
    );
    this.window = kernels.reserve(4 * (windowLength + SPARE_SAMPLES));
    kernels.floats(this.window, windowLength).set(this.windowValues);
  }

  /** Samples of a clip with those beyond its ends. */
  paddedLength(numFrames: number): number {
    const numSamples = numFrames * this.hop;
    return Math.max(numSamples - this.hop + this.windowLength, numSamples + this.left);
  }

  /** Reserves a padded waveform. The waveform itself starts `left` samples later. */
  reservePadded(numFrames: number): Address {
    return this.kernels.reserve(4 * (this.paddedLength(numFrames) + SPARE_SAMPLES));
  }

  /** Reserves a value per sample. */
  reserveSamples(numFrames: number): Address {
    return this.kernels.reserve(4 * (numFrames * this.hop + SPARE_SAMPLES));
  }

  /** Fills the samples beyond the ends. */
  extendEnds(padded: Address, numFrames: number, ends: Ends): void {
    const { left } = this;
    const samples = this.kernels.floats(padded, this.paddedLength(numFrames));
    const numSamples = numFrames * this.hop;
    const end = left + numSamples;
    if (ends === "joined") {
      samples.copyWithin(0, numSamples, end);
      samples.copyWithin(end, left, left + samples.length - end);
      return;
    }
    for (let i = 1; i <= left; i++) samples[left - i] = samples[left + i]!;
    for (let i = 0; end + i < samples.length; i++) samples[end + i] = samples[end - 2 - i]!;
  }

  /** The transpose of `extendEnds`: adds the samples beyond the ends back inside. */
  foldEnds(padded: Address, numFrames: number, ends: Ends): void {
    const { left } = this;
    const samples = this.kernels.floats(padded, this.paddedLength(numFrames));
    const numSamples = numFrames * this.hop;
    const end = left + numSamples;
    if (ends === "joined") {
      for (let i = 0; i < left; i++) samples[numSamples + i]! += samples[i]!;
      for (let i = 0; end + i < samples.length; i++) samples[left + i]! += samples[end + i]!;
      return;
    }
    for (let i = 1; i <= left; i++) samples[left + i]! += samples[left - i]!;
    for (let i = 0; end + i < samples.length; i++) samples[end - 2 - i]! += samples[end + i]!;
  }

  /** The squared window plus a floor, of which overlap-add makes the norm. */
  get squaredWindow(): Float32Array {
    return this.windowValues.map((value) => f32(value * value) + NORM_FLOOR);
  }
}

/** Every `step`-th frame from `first` on. */
export class FrameSet {
  readonly numBatches: number;
  /** The chosen frames. */
  readonly chosen: readonly number[];
  private readonly starts: Address;
  private readonly weights: Address;
  private readonly norm: Address;

  constructor(
    private readonly kernels: Kernels, private readonly lengths: FrameLengths, private readonly numFrames: number,
    first: number, step: number,
  ) {
    this.chosen = Array.from({ length: Math.ceil((numFrames - first) / step) }, (_, i) => first + i * step);
    this.numBatches = Math.ceil(this.chosen.length / FRAMES_PER_BATCH);
    const slots = this.numBatches * FRAMES_PER_BATCH;
    const last = this.chosen.length - 1;
    const starts = Array.from({ length: slots }, (_, i) => 4 * lengths.hop * this.chosen[Math.min(i, last)]!);
    this.starts = kernels.reserveInts(starts);
    this.weights = kernels.reserve(4 * slots);
    this.norm = lengths.reservePadded(numFrames);
  }

  /** Frame in a lane of a batch. Lanes beyond the last frame repeat it, with the weight 0. */
  frameAt(batch: number, lane: number): number {
    return this.chosen[Math.min(batch * FRAMES_PER_BATCH + lane, this.chosen.length - 1)]!;
  }

  /** Sets the weights of the inverse, one for each of the clip's frames. */
  setWeights(frameWeights: Float32Array, ends: Ends): void {
    const { kernels, lengths, numFrames, chosen } = this;
    const padded = kernels.floats(this.norm, lengths.paddedLength(numFrames));
    const squared = lengths.squaredWindow;
    const weights = kernels.floats(this.weights, this.numBatches * FRAMES_PER_BATCH);
    padded.fill(0);
    chosen.forEach((frame, i) => {
      const weight = frameWeights[frame]!;
      weights[i] = weight;
      const start = frame * lengths.hop;
      for (let j = 0; j < squared.length; j++) padded[start + j]! += f32(weight * squared[j]!);
    });
    lengths.foldEnds(this.norm, numFrames, ends);
    // No frame of the set may reach the clip's last samples, nor the spare ones, by which the kernels divide as well.
    const norm = kernels.floats(this.normAddress, numFrames * lengths.hop + SPARE_SAMPLES);
    for (let i = 0; i < norm.length; i++) norm[i] = Math.max(NORM_FLOOR, norm[i]!);
  }

  /** What overlap-added frames are divided by, one value per sample of the clip. */
  get normAddress(): Address {
    return this.norm + 4 * this.lengths.left;
  }

  /** Windowed samples of a batch, as `size` complex rows at `out`. */
  window(batch: number, padded: Address, out: Address, size: number): void {
    this.kernels.run.windowed(out, padded, this.startsOf(batch), this.lengths.window, this.lengths.windowLength, size);
  }

  /** Adds a batch of inverse transforms, times `scale`, to a padded waveform. */
  overlapAdd(batch: number, z: Address, padded: Address, scale: number): void {
    this.kernels.run.overlapAdded(
      z, padded, this.startsOf(batch), this.weights + 4 * FRAMES_PER_BATCH * batch,
      this.lengths.window, this.lengths.windowLength, scale,
    );
  }

  private startsOf(batch: number): Address {
    return this.starts + 4 * FRAMES_PER_BATCH * batch;
  }
}
