/** Latent consistency: the sampler of distilled checkpoints, in a few steps. */

import { type Floats, weightedSum } from "../arrays";
import type { NormalNumbers } from "../normal_numbers";
import { COMMON, Sampler, type SchedulerSettings, type Step, isSupported, withDefaults } from "./sampler";

/** Standard deviation of the data, as latent consistency models assume it. */
const LCM_SIGMA = 0.5;

const DEFAULTS = {
  ...COMMON,
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  original_inference_steps: 50,
  clip_sample: false,
  timestep_scaling: 10,
};

/** Latent consistency (Luo et al. 2023): jumps to the clean latents, then adds noise again. */
export class Consistency extends Sampler {
  private readonly settings: typeof DEFAULTS;

  constructor(settings: SchedulerSettings) {
    const known = withDefaults(settings, DEFAULTS);
    super(known);
    this.settings = known;
  }

  static supports(settings: SchedulerSettings): boolean {
    const known = withDefaults(settings, DEFAULTS);
    return isSupported(known) && !known.clip_sample;
  }

  /** Number of timesteps that it chooses from. */
  get originalSteps(): number {
    return this.settings.original_inference_steps;
  }

  /** For more steps than it was distilled with, it chooses from as many timesteps as there are steps. */
  setTimesteps(count: number): void {
    this.chooseTimesteps(count, Math.max(this.originalSteps, count), 1);
  }

  /**
   * Chooses some of the timesteps that the network was distilled at.
   *
   * @param count how many
   * @param original how many there are
   * @param strength share of them, from the least noisy on, that is chosen from
   */
  chooseTimesteps(count: number, original: number, strength: number): void {
    const usable = Math.trunc(original * strength);
    const stride = Math.floor(this.numTrained / original);
    const spacing = usable / count;
    this.set(Array.from({ length: count }, (_, i) => (usable - Math.floor(i * spacing)) * stride - 1));
  }

  step(output: Floats, timestep: number, latents: Floats, numbers: NormalNumbers | null): Step {
    const index = this.nextIndex();
    const clean = this.clean(output, latents, this.alphaSigma(timestep));
    const scaled = timestep * this.settings.timestep_scaling;
    const size = scaled ** 2 + LCM_SIGMA ** 2;
    const denoised = weightedSum(scaled / Math.sqrt(size), clean, LCM_SIGMA ** 2 / size, latents);
    const next = this.timesteps[index + 1];
    if (numbers === null || next === undefined) return { latents: denoised, clean: denoised };
    return { latents: this.addNoise(denoised, numbers.normal(output.length), next), clean: denoised };
  }
}
