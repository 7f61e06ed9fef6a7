/**
 * Samplers: DDIM and latent consistency; `dpm_solver.ts` has DPM-Solver++. They give what diffusers' schedulers give, to
 * rounding.
 *
 * With α = √ᾱ and σ = √(1 - ᾱ), the network's output at latents x says what the clean latents x₀ are:
 *
 *   epsilon       x₀ = (x - σ output) / α
 *   v_prediction  x₀ = α x - σ output
 *   sample        x₀ = output
 *
 * A sampler holds the state of one clip: each clip has its own.
 */

import { type Floats, roundedToEven, weightedSum } from "./arrays";
import { type ScheduleSettings, isKnownSchedule, remainingPower } from "./noise_schedule";
import type { NormalNumbers } from "./normal_numbers";

/** Settings of a checkpoint's `scheduler_config.json`, with diffusers' names. */
export type SchedulerSettings = Readonly<Record<string, unknown>>;

type PredictionType = "epsilon" | "v_prediction" | "sample";

interface CommonSettings extends ScheduleSettings {
  readonly prediction_type: PredictionType;
  readonly steps_offset: number;
  readonly thresholding: boolean;
  readonly timestep_spacing?: string;
}

/** Settings that all have, with diffusers' defaults. */
export const COMMON: CommonSettings = {
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: "linear",
  trained_betas: null,
  rescale_betas_zero_snr: false,
  prediction_type: "epsilon",
  steps_offset: 0,
  thresholding: false,
};

/** Standard deviation of the data, as latent consistency models assume it. */
const LCM_SIGMA = 0.5;

/** A timestep's share of the clean latents, and of the noise. */
export interface AlphaSigma {
  readonly alpha: number;
  readonly sigma: number;
}

/** What a step gives: the next latents and, of consistency, the clean ones. */
export interface Step {
  readonly latents: Floats;
  readonly clean?: Floats;
}

export abstract class Sampler {
  /** Those to run, noisiest first. */
  timesteps: readonly number[] = [];
  protected readonly power: Float32Array;
  protected readonly numTrained: number;
  protected begin = 0;
  protected index: number | null = null;

  constructor(protected readonly common: CommonSettings) {
    this.power = remainingPower(common);
    this.numTrained = this.power.length;
  }

  abstract setTimesteps(count: number): void;
  /** Less noisy latents. `numbers` is for samplers that draw noise in each step. */
  abstract step(output: Floats, timestep: number, latents: Floats, numbers: NormalNumbers | null): Step;

  /** Begins at another timestep than the first. */
  beginAt(begin: number): void {
    this.begin = begin;
    this.index = null;
  }

  /** Latents with the noise of a timestep. */
  addNoise(latents: Floats, noise: Floats, timestep: number): Floats {
    const { alpha, sigma } = this.alphaSigma(timestep);
    return weightedSum(alpha, latents, sigma, noise);
  }

  protected set(timesteps: readonly number[]): void {
    this.timesteps = timesteps.map(Math.trunc);
    this.begin = 0;
    this.index = null;
  }

  /** Number of the step that is taken now. */
  protected nextIndex(): number {
    this.index = this.index === null ? this.begin : this.index + 1;
    return this.index;
  }

  protected alphaSigma(timestep: number): AlphaSigma {
    const power = this.power[timestep]!;
    return { alpha: Math.sqrt(power), sigma: Math.sqrt(1 - power) };
  }

  /** x₀; see the module. */
  protected clean(output: Floats, latents: Floats, { alpha, sigma }: AlphaSigma): Floats {
    switch (this.common.prediction_type) {
      case "epsilon":
        return weightedSum(1, latents, -sigma, output).map((value) => value / Math.fround(alpha));
      case "v_prediction":
        return weightedSum(alpha, latents, -sigma, output);
      case "sample":
        return output;
    }
  }
}

const DDIM_DEFAULTS = { ...COMMON, clip_sample: true, set_alpha_to_one: true, timestep_spacing: "leading" };

/** Song et al., "Denoising Diffusion Implicit Models", 2021, equation 12 with σ = 0. */
export class Ddim extends Sampler {
  private readonly settings: typeof DDIM_DEFAULTS;
  private stride = 1;

  constructor(settings: SchedulerSettings) {
    const known = withDefaults(settings, DDIM_DEFAULTS);
    super(known);
    this.settings = known;
  }

  static supports(settings: SchedulerSettings): boolean {
    const known = withDefaults(settings, DDIM_DEFAULTS);
    return isSupported(known) && !known.clip_sample;
  }

  setTimesteps(count: number): void {
    const total = this.numTrained;
    this.stride = Math.floor(total / count);
    this.set(spacedTimesteps(this.settings, total, count, this.stride, count - 1, count));
  }

  step(output: Floats, timestep: number, latents: Floats): Step {
    const [ofLatents, ofOutput] = this.coefficients(timestep);
    return { latents: weightedSum(ofLatents, latents, ofOutput, output) };
  }

  /** The next latents are the first times the latents and the second times the output. */
  private coefficients(timestep: number): readonly [number, number] {
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

const LCM_DEFAULTS = {
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
  private readonly settings: typeof LCM_DEFAULTS;

  constructor(settings: SchedulerSettings) {
    const known = withDefaults(settings, LCM_DEFAULTS);
    super(known);
    this.settings = known;
  }

  static supports(settings: SchedulerSettings): boolean {
    const known = withDefaults(settings, LCM_DEFAULTS);
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

/** The settings of a sampler, with defaults for what is missing. */
export function withDefaults<S extends CommonSettings>(settings: SchedulerSettings, defaults: S): S {
  const known = Object.keys(defaults).map((name) => [name, name in settings ? settings[name] : defaults[name as keyof S]]);
  return Object.fromEntries(known) as S;
}

/** Whether the samplers can do what the common settings ask for. */
export function isSupported(settings: CommonSettings): boolean {
  const isKnown = ["epsilon", "v_prediction", "sample"].includes(settings.prediction_type);
  return isKnownSchedule(settings) && !settings.thresholding && isKnown;
}

/**
 * Timesteps by a setting of diffusers, `count` of them, noisiest first.
 *
 * @param stride for `leading`, the distance of two
 * @param last for `leading`, how many strides the first one is from 0
 * @param points for `linspace`, the number of points, of which the first `count` are taken
 */
export function spacedTimesteps(
  { timestep_spacing: spacing, steps_offset: offset }: CommonSettings,
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
