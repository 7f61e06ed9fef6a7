/** Deterministic steps of equal strides through the timesteps, which DDIM and PNDM are made of. */

import { roundedToEven } from "../arrays";
import { type CommonSettings, Sampler } from "./sampler";

export interface StridedSettings extends CommonSettings {
  readonly set_alpha_to_one: boolean;
  readonly timestep_spacing: string;
}

/** A sampler whose steps go from one timestep to the one a stride below, without noise. */
export abstract class StridedSampler extends Sampler {
  protected stride = 1;

  constructor(private readonly settings: StridedSettings) {
    super(settings);
  }

  setTimesteps(count: number): void {
    const total = this.numTrained;
    this.stride = Math.floor(total / count);
    this.set(spacedTimesteps(this.settings, total, count, this.stride, count - 1, count));
  }

  /** The next latents are the first times the latents and the second times the output. */
  protected coefficients(timestep: number): readonly [number, number] {
    const { alpha, sigma } = this.alphaSigma(timestep);
    const before = timestep - this.stride;
    const next = before >= 0 ? this.alphaSigma(before) : this.settings.set_alpha_to_one ? { alpha: 1, sigma: 0 } : this.alphaSigma(0);
    switch (this.common.prediction_type) {
      case "epsilon":
        return [next.alpha / alpha, next.sigma - (next.alpha * sigma) / alpha];
      case "sample":
        return [next.sigma / sigma, next.alpha - (next.sigma * alpha) / sigma];
      case "v_prediction":
        return [next.alpha * alpha + next.sigma * sigma, next.sigma * alpha - next.alpha * sigma];
    }
  }
}

/**
 * Timesteps by a setting of diffusers, `count` of them, noisiest first.
 *
 * @param stride for `leading`, the distance of two
 * @param last for `leading`, how many strides the first one is from 0
 * @param points for `linspace`, the number of points, of which the first `count` are taken
 */
export function spacedTimesteps(
  { timestep_spacing: spacing, steps_offset: offset }: Pick<StridedSettings, "timestep_spacing" | "steps_offset">,
  total: number, count: number, stride: number, last: number, points: number,
): number[] {
  const indices = Array.from({ length: count }, (_, index) => index);
  if (spacing === "leading") return indices.map((index) => (last - index) * stride + offset);
  if (spacing === "linspace") {
    const width = points > 1 ? (total - 1) / (points - 1) : 0;
    return indices.map((index) => roundedToEven(index === 0 && points > 1 ? total - 1 : (points - 1 - index) * width));
  }
  const step = total - total / count - total; // as NumPy's arange computes it
  return indices.map((index) => roundedToEven(total + index * step) - 1);
}
