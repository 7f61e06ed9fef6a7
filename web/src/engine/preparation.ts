/** Turns requests into jobs for one checkpoint. */

import type { Share } from "../units";
import { type Floats, lerp, lerpArrays, slerp, weightedSum } from "./arrays";
import { Cache } from "./cache";
import { type DistilledCheckpoint, checkSampling, consistencyTimesteps, guidanceEmbedding, isSampledDistilled } from "./distilled_sampling";
import { LatentGeometry } from "./geometry";
import { InputError } from "./input_error";
import { DenoisingJob, type Inpainting } from "./job";
import type { Networks, Posterior } from "./networks";
import { NormalNumbers } from "./normal_numbers";
import type { Pixels } from "./pixels";
import type { PromptEncoder } from "./prompt_encoder";
import type { ClipInputs } from "./request";
import { Consistency } from "./samplers/consistency";
import type { Sampler } from "./samplers/sampler";
import { type TrainedScheduler, newSampler, partialTimesteps } from "./schedulers";

/** Images whose latents are kept: a jam's seed image, and some that were used before. */
const MAX_CACHED = 8;

/** An image that was decoded, RGB. `key` tells it from others. */
export interface DecodedImage {
  readonly key: string;
  readonly pixels: Pixels;
}

/** Where denoising begins. */
interface Begin {
  readonly latents: Floats;
  readonly inpainting: Inpainting | null;
}

export class JobPreparation {
  private readonly posteriors = new Cache<Posterior>(MAX_CACHED);

  constructor(
    private readonly networks: Networks,
    private readonly prompts: PromptEncoder,
    private readonly trained: TrainedScheduler,
    private readonly distillation: DistilledCheckpoint | null,
  ) {}

  /** Checks what can be checked of a request without its images. Throws InputError. */
  check(inputs: ClipInputs): void {
    if (inputs.mode === "image_to_audio") return;
    checkSampling(inputs, this.distillation, this.trained);
    newSampler(inputs.scheduler, this.trained);
  }

  /**
   * @param geometry of the clip's image
   * @param init the image to start from, of this geometry; null for none
   * @param mask white is repainted, black is kept; of any size; only with an init image
   */
  async prepare(inputs: ClipInputs, geometry: LatentGeometry, init: DecodedImage | null, mask: Pixels | null): Promise<DenoisingJob> {
    checkSampling(inputs, this.distillation, this.trained);
    const isDistilled = isSampledDistilled(inputs, this.distillation, this.trained);
    const distillation = isDistilled ? this.distillation : null;
    const { start, end, alpha } = inputs;
    const guidance = lerp(start.guidance, end.guidance, alpha);
    const embeddings = await this.embeddings(inputs, guidance > 1 && !isDistilled);
    const sampler = newSampler(isDistilled ? "lcm" : inputs.scheduler, this.trained);
    const timesteps = chosenTimesteps(inputs, sampler, distillation, init !== null);
    const numbers = { start: new NormalNumbers(start.seed), end: new NormalNumbers(end.seed) };
    const { width, height } = geometry.latent;
    const size = this.networks.shape.latent_channels * width * height;
    const noise = slerp(alpha, numbers.start.normal(size), numbers.end.normal(size));
    const begin: Begin =
      init === null
        ? { latents: noise, inpainting: null }
        : await this.beginWithImage(start.seed, sampler, timesteps, geometry, noise, init, mask);
    const guidanceWidth = this.networks.shape.guidance_width;
    return new DenoisingJob({
      geometry,
      latents: begin.latents,
      timesteps,
      sampler,
      embeddings,
      guidance,
      guidanceInterval: inputs.guidanceInterval,
      guidanceEmbeddings:
        distillation === null || guidanceWidth === null
          ? null
          : [guidanceEmbedding(guidance, guidanceWidth), guidanceEmbedding(distillation.guidance[0], guidanceWidth)],
      stepNoise: isDistilled ? { ...numbers, alpha } : null,
      numbers: isDistilled ? null : numbers.start,
      inpainting: begin.inpainting,
    });
  }

  /** Embeddings between the two ends: the negative prompt's if guided, then the prompt's. */
  private async embeddings({ start, end, alpha }: ClipInputs, isGuided: boolean): Promise<Floats[]> {
    const prompts = [start.prompt, end.prompt];
    if (isGuided) prompts.push(start.negativePrompt, end.negativePrompt);
    const embedded = await this.prompts.embed(prompts);
    const between = (index: number): Floats => lerpArrays(embedded[index]!, embedded[index + 1]!, alpha);
    return isGuided ? [between(2), between(0)] : [between(0)];
  }

  /** The init image's latents with the noise of the first timestep, and what a mask keeps. */
  private async beginWithImage(
    seed: bigint, sampler: Sampler, timesteps: readonly number[], geometry: LatentGeometry,
    noise: Floats, init: DecodedImage, mask: Pixels | null,
  ): Promise<Begin> {
    const { mean, deviation } = await this.posteriors.get(init.key, () =>
      this.networks.encode(geometry.pixelsFromImage(init.pixels), geometry.padded.height, geometry.padded.width),
    );
    const initLatents = deviation === null ? mean : sampled(mean, deviation, new NormalNumbers(seed).normal(mean.length));
    const [first] = timesteps;
    const latents = first === undefined ? initLatents : sampler.addNoise(initLatents, noise, first);
    if (mask === null) return { latents, inpainting: null };
    const repaintPixels = geometry.repaintFromMask(mask);
    const repaint = geometry.latentsFromRepaint(repaintPixels);
    return { latents, inpainting: { initLatents, noise, repaint, repaintPixels, initImage: init.pixels } };
  }
}

/** The timesteps to run: with an init image, those of the request's strength. */
function chosenTimesteps(
  { start, end, alpha, numSteps }: ClipInputs, sampler: Sampler, distillation: DistilledCheckpoint | null, hasImage: boolean,
): readonly number[] {
  const strength: Share = lerp(start.denoising, end.denoising, alpha);
  if (distillation !== null) {
    if (!(sampler instanceof Consistency)) throw new InputError("scheduler", "must be 'lcm' for a distilled checkpoint");
    return consistencyTimesteps(sampler, numSteps, hasImage ? strength : 1, distillation.solverSteps);
  }
  sampler.setTimesteps(numSteps);
  return hasImage ? partialTimesteps(sampler, numSteps, strength) : sampler.timesteps;
}

function sampled(mean: Floats, deviation: Floats, noise: Floats): Floats {
  const spread = noise.map((value, index) => value * deviation[index]!);
  return weightedSum(1, mean, 1, spread);
}
