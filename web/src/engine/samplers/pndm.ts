/** PNDM: a linear multistep method over deterministic steps. */

import { type Floats, weightedSum } from "../arrays";
import { COMMON, type SchedulerSettings, type Step, isSupported, withDefaults } from "./sampler";
import { StridedSampler } from "./strides";

const DEFAULTS = { ...COMMON, skip_prk_steps: false, set_alpha_to_one: false, timestep_spacing: "leading" };
/** Weights of the last outputs, newest first, by how many there are (Adams and Bashforth). */
const WEIGHTS: readonly (readonly number[])[] = [
  [1],
  [3 / 2, -1 / 2],
  [23 / 12, -16 / 12, 5 / 12],
  [55 / 24, -59 / 24, 37 / 24, -9 / 24],
];

/**
 * Liu et al., "Pseudo Numerical Methods for Diffusion Models on Manifolds", 2022.
 *
 * A step is that of DDIM with a weighted sum of the last four outputs in place of the newest one (equations 9 and 12). The
 * paper begins with Runge-Kutta steps. Here, as in latent diffusion and Stable Diffusion, the first step is taken twice
 * instead, the second time with the mean of the outputs at its start and at its end. So the second timestep is listed twice.
 */
export class Pndm extends StridedSampler {
  /** The last ones, newest first. */
  private outputs: readonly Floats[] = [];
  private numTaken = 0;
  private firstLatents: Floats | null = null;

  constructor(settings: SchedulerSettings) {
    super(withDefaults(settings, DEFAULTS));
  }

  /** Without the Runge-Kutta steps. */
  static supports(settings: SchedulerSettings): boolean {
    const known = withDefaults(settings, DEFAULTS);
    return isSupported(known) && known.skip_prk_steps && known.prediction_type !== "sample";
  }

  /** From two on, there is one more than steps are asked for. */
  override setTimesteps(count: number): void {
    super.setTimesteps(count);
    this.set([...this.timesteps.slice(0, 2), ...this.timesteps.slice(1)]);
    this.outputs = [];
    this.numTaken = 0;
  }

  /**
   * The second call takes the first step again, whatever timestep it is given; if denoising began at a later timestep than
   * the first, that step is thus taken twice as well.
   */
  step(output: Floats, timestep: number, latents: Floats): Step {
    const again = this.numTaken === 1 ? this.firstLatents : null;
    const [first] = this.outputs;
    let used: Floats;
    if (again !== null && first) {
      used = weightedSum(1, output, 1, first).map((value) => value / 2);
      this.firstLatents = null;
    } else {
      this.outputs = [output, ...this.outputs.slice(0, 3)];
      used = blended(this.outputs, WEIGHTS[this.outputs.length - 1]!);
      if (this.numTaken === 0) this.firstLatents = latents;
    }
    this.numTaken += 1;
    const [ofLatents, ofOutput] = this.coefficients(again === null ? timestep : timestep + this.stride);
    return { latents: weightedSum(ofLatents, again ?? latents, ofOutput, used) };
  }
}

function blended(outputs: readonly Floats[], weights: readonly number[]): Floats {
  return outputs.slice(1).reduce(
    (sum, output, index) => weightedSum(1, sum, weights[index + 1]!, output),
    outputs[0]!.map((value) => Math.fround(weights[0]!) * value),
  );
}
