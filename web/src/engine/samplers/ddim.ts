/** DDIM: deterministic steps of first order. */

import { type Floats, weightedSum } from "../arrays";
import { COMMON, type SchedulerSettings, type Step, isSupported, withDefaults } from "./sampler";
import { StridedSampler } from "./strides";

const DEFAULTS = { ...COMMON, clip_sample: true, set_alpha_to_one: true, timestep_spacing: "leading" };

/** Song et al., "Denoising Diffusion Implicit Models", 2021, equation 12 with σ = 0. */
export class Ddim extends StridedSampler {
  constructor(settings: SchedulerSettings) {
    super(withDefaults(settings, DEFAULTS));
  }

  /** Latents aren't clipped. */
  static supports(settings: SchedulerSettings): boolean {
    const known = withDefaults(settings, DEFAULTS);
    return isSupported(known) && !known.clip_sample;
  }

  step(output: Floats, timestep: number, latents: Floats): Step {
    const [ofLatents, ofOutput] = this.coefficients(timestep);
    return { latents: weightedSum(ofLatents, latents, ofOutput, output) };
  }
}
