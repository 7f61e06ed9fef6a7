/** The state of one image between UNet calls. */

import type { Share } from "../units";
import { type Floats, concatenated, slerp, weightedSum } from "./arrays";
import type { LatentGeometry } from "./geometry";
import type { UNetInput } from "./networks";
import type { NormalNumbers } from "./normal_numbers";
import type { Pixels } from "./pixels";
import type { Sampler } from "./samplers/sampler";

/** What a job with a mask keeps. */
export interface Inpainting {
  /** Latents that are kept where the mask is black, and the noise to add to them. */
  readonly initLatents: Floats;
  readonly noise: Floats;
  /** Share of repainting per latent, (height, width). */
  readonly repaint: Floats;
  readonly initImage: Pixels;
  /** Share of repainting per pixel, (padded height, padded width). */
  readonly repaintPixels: Floats;
}

/** The noise that distilled sampling adds after each step but the last, between that of two seeds. */
export interface StepNoise {
  readonly start: NormalNumbers;
  readonly end: NormalNumbers;
  readonly alpha: Share;
}

/** What a job starts from. */
export interface JobStart {
  readonly geometry: LatentGeometry;
  /** (channels, height, width), with the noise of the first timestep. */
  readonly latents: Floats;
  /** Those to run, noisiest first. */
  readonly timesteps: readonly number[];
  readonly sampler: Sampler;
  /** One per row, (tokens, width); if guided, the negative prompt's before the prompt's. */
  readonly embeddings: readonly Floats[];
  readonly guidance: number;
  readonly guidanceInterval: readonly [Share, Share];
  /** For distilled sampling: what the UNet is told inside of that interval and outside. */
  readonly guidanceEmbeddings: readonly [Floats, Floats] | null;
  readonly stepNoise: StepNoise | null;
  /** What the sampler draws noise with, if it does. */
  readonly numbers: NormalNumbers | null;
  readonly inpainting: Inpainting | null;
}

export class DenoisingJob {
  stepsDone = 0;
  latents: Floats;

  constructor(private readonly start: JobStart) {
    this.latents = start.latents;
  }

  get numSteps(): number {
    return this.start.timesteps.length;
  }

  get isDone(): boolean {
    return this.stepsDone >= this.numSteps;
  }

  /** Inputs of the next UNet call. */
  unetInput(): UNetInput {
    const { geometry: { latent }, embeddings, guidanceEmbeddings } = this.start;
    const rows = this.isInGuidanceInterval ? embeddings.length : 1;
    return {
      rows,
      latents: this.latents,
      height: latent.height,
      width: latent.width,
      timestep: this.timestep,
      embeddings: concatenated(embeddings.slice(-rows)),
      guidance: guidanceEmbeddings?.[this.isInGuidanceInterval ? 0 : 1] ?? null,
    };
  }

  /** Runs one step, with the UNet's output for `unetInput`. */
  advance(prediction: Floats): void {
    const { sampler, numbers, guidance, stepNoise, inpainting } = this.start;
    const size = this.latents.length;
    let output = prediction;
    if (prediction.length === 2 * size) {
      const [unconditional, conditional] = [prediction.slice(0, size), prediction.slice(size)];
      output = weightedSum(1, unconditional, guidance, weightedSum(1, conditional, -1, unconditional));
    }
    const { latents, clean } = sampler.step(output, this.timestep, this.latents, numbers);
    this.latents = latents;
    this.stepsDone += 1;
    if (stepNoise !== null && clean !== undefined && !this.isDone) {
      const noise = slerp(stepNoise.alpha, stepNoise.start.normal(size), stepNoise.end.normal(size));
      this.latents = sampler.addNoise(clean, noise, this.timestep);
    }
    if (inpainting !== null) this.latents = this.withKept(inpainting);
  }

  /**
   * The finished image, RGB bytes. Pixels that the mask keeps entirely are the init image's own.
   *
   * @param pixels decoded latents, (3, padded height, padded width) in [-1, 1]
   */
  finish(pixels: Floats): Uint8Array<ArrayBuffer> {
    const { geometry, inpainting } = this.start;
    if (inpainting === null) return geometry.imageFromPixels(pixels);
    const { initImage, repaintPixels } = inpainting;
    const init = geometry.pixelsFromImage(initImage);
    const plane = repaintPixels.length;
    return geometry.imageFromPixels(pixels.map((value, index) => (repaintPixels[index % plane] === 0 ? init[index]! : value)));
  }

  private get timestep(): number {
    return this.start.timesteps[this.stepsDone]!;
  }

  private get isInGuidanceInterval(): boolean {
    const [first, last] = this.start.guidanceInterval;
    const share = this.stepsDone / this.numSteps;
    return first <= share && share < last;
  }

  /** Latents, with the init latents put back where the mask keeps them, noised as the rest. */
  private withKept({ initLatents, noise, repaint }: Inpainting): Floats {
    const kept = this.isDone ? initLatents : this.start.sampler.addNoise(initLatents, noise, this.timestep);
    const plane = repaint.length;
    return this.latents.map((value, index) => kept[index]! + Math.fround(repaint[index % plane]! * Math.fround(value - kept[index]!)));
  }
}
