/**
 * What the samplers share. They give what diffusers' schedulers give, to rounding.
 *
 * With α = √ᾱ and σ = √(1 - ᾱ), the network's output at latents x says what the clean latents x₀ are:
 *
 *   epsilon       x₀ = (x - σ output) / α
 *   v_prediction  x₀ = α x - σ output
 *   sample        x₀ = output
 *
 * A sampler holds the state of one clip: each clip has its own.
 */

import { type Floats, weightedSum } from "../arrays";
import { type ScheduleSettings, isKnownSchedule, remainingPower } from "../noise_schedule";
import type { NormalNumbers } from "../normal_numbers";

/** Settings of a checkpoint's `scheduler_config.json`, with diffusers' names. */
export type SchedulerSettings = Readonly<Record<string, unknown>>;

type PredictionType = "epsilon" | "v_prediction" | "sample";

export interface CommonSettings extends ScheduleSettings {
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
