/**
 * Samplers: DDIM, DPM-Solver++ and latent consistency; they give what diffusers' schedulers give, to rounding.
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

const COMMON: CommonSettings = {
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

const KARRAS_RHO = 7; // Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022
/** Below this many steps, the last ones of a multistep solver are of lower order. */
const FEW_STEPS = 15;
/** Standard deviation of the data, as latent consistency models assume it. */
const LCM_SIGMA = 0.5;
/** ᾱ of a last timestep without signal, which DPM-Solver++ can't divide by. */
const ONE_AT_LAST_TIMESTEP = 2 ** -24;

interface AlphaSigma {
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

const DPM_DEFAULTS = {
  ...COMMON,
  solver_order: 2,
  algorithm_type: "dpmsolver++",
  solver_type: "midpoint",
  lower_order_final: true,
  euler_at_final: false,
  use_karras_sigmas: false,
  use_exponential_sigmas: false,
  use_beta_sigmas: false,
  use_lu_lambdas: false,
  use_flow_sigmas: false,
  final_sigmas_type: "zero",
  lambda_min_clipped: -Infinity,
  variance_type: null as string | null,
  sigma_min: null as number | null,
  sigma_max: null as number | null,
  timestep_spacing: "linspace",
};

/**
 * DPM-Solver++ (Lu et al. 2022), of first or second order, by midpoints (algorithm 2).
 *
 * With λ = ln(α / σ) and h its change, and with the clean latents x₀ of this step and of the one before, the data are
 * extrapolated to the middle of the step, and x' = (σ' / σ) x - α' (e^-h - 1) (x₀ + h / (2 h_before) · (x₀ - x₀_before)).
 */
export class DpmSolver extends Sampler {
  private readonly settings: typeof DPM_DEFAULTS;
  private levels = new Float32Array(1);
  private cleanBefore: Floats | null = null;

  constructor(settings: SchedulerSettings) {
    const known = withDefaults(settings, DPM_DEFAULTS);
    super(known);
    this.settings = known;
    if (known.rescale_betas_zero_snr) this.power[this.numTrained - 1] = ONE_AT_LAST_TIMESTEP;
  }

  static supports(settings: SchedulerSettings): boolean {
    const known = withDefaults(settings, DPM_DEFAULTS);
    return (
      isSupported(known) && [1, 2].includes(known.solver_order) &&
      known.algorithm_type === "dpmsolver++" && known.solver_type === "midpoint" &&
      known.lambda_min_clipped === -Infinity && known.variance_type === null &&
      known.sigma_min === null && known.sigma_max === null &&
      !(known.use_exponential_sigmas || known.use_beta_sigmas || known.use_lu_lambdas || known.use_flow_sigmas)
    );
  }

  /** Chooses the timesteps and their noise levels, σ / α. */
  setTimesteps(count: number): void {
    const { settings, numTrained: total } = this;
    const trained = this.power.map((power) => Math.sqrt(Math.fround(Math.fround(1 - power) / power)));
    let steps: readonly number[];
    let levels: readonly number[];
    if (settings.use_karras_sigmas) {
      levels = karrasLevels(trained[0]!, trained[total - 1]!, count);
      const logarithms = trained.map((level) => Math.log(level));
      steps = levels.map((level) => positionIn(logarithms, Math.log(level)));
      if (settings.beta_schedule !== "squaredcos_cap_v2") steps = steps.map(roundedToEven);
    } else {
      steps = spacedTimesteps(settings, total, count, Math.floor(total / (count + 1)), count, count + 1);
      levels = steps.map((step) => valueAt(trained, step));
    }
    const last = settings.final_sigmas_type === "zero" ? 0 : trained[0]!;
    this.levels = Float32Array.from([...levels, last]);
    this.cleanBefore = null;
    this.set(steps);
  }

  /** Latents with the noise of the step that comes next or, after a step, of its end. */
  override addNoise(latents: Floats, noise: Floats): Floats {
    const { alpha, sigma } = ofLevel(this.levels[this.index === null ? this.begin : this.index + 1]!);
    return weightedSum(alpha, latents, sigma, noise);
  }

  step(output: Floats, _timestep: number, latents: Floats): Step {
    const index = this.nextIndex();
    const [level, end] = [this.levels[index]!, this.levels[index + 1]!];
    const here = ofLevel(level);
    const next = ofLevel(end);
    const clean = this.clean(output, latents, here);
    const before = this.cleanBefore;
    this.cleanBefore = clean;
    let data = clean;
    if (this.settings.solver_order === 2 && before !== null && !this.isOfFirstOrder(index)) {
      // λ = -ln(σ / α), so changes of λ are logarithms of ratios of levels.
      const ratio = Math.log(level / end) / Math.log(this.levels[index - 1]! / level);
      data = weightedSum(1, clean, 0.5 * ratio, weightedSum(1, clean, -1, before));
    }
    return { latents: weightedSum(next.sigma / here.sigma, latents, -next.alpha * (end / level - 1), data) };
  }

  /** Whether a step is of first order because it is the last one. */
  private isOfFirstOrder(index: number): boolean {
    const { settings, timesteps: { length: count } } = this;
    return (
      index === count - 1 &&
      (settings.euler_at_final || (settings.lower_order_final && count < FEW_STEPS) || settings.final_sigmas_type === "zero")
    );
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

function withDefaults<S extends CommonSettings>(settings: SchedulerSettings, defaults: S): S {
  const known = Object.keys(defaults).map((name) => [name, name in settings ? settings[name] : defaults[name as keyof S]]);
  return Object.fromEntries(known) as S;
}

function isSupported(settings: CommonSettings): boolean {
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
function spacedTimesteps(
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

/** Noise levels from `most` to `least` (Karras et al. 2022, equation 5). */
function karrasLevels(least: number, most: number, count: number): number[] {
  const [first, last] = [most ** (1 / KARRAS_RHO), least ** (1 / KARRAS_RHO)];
  return Array.from({ length: count }, (_, i) => (first + (count > 1 ? i / (count - 1) : 0) * (last - first)) ** KARRAS_RHO);
}

/** Where a value lies among ascending ones: an index with a fraction, at most the last. */
function positionIn(ascending: Float32Array, value: number): number {
  const last = ascending.length - 1;
  if (value <= ascending[0]!) return 0;
  if (value >= ascending[last]!) return last;
  let [low, high] = [0, last];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (ascending[middle]! <= value) low = middle;
    else high = middle;
  }
  return low + (value - ascending[low]!) / (ascending[high]! - ascending[low]!);
}

/** Linear interpolation at an index with a fraction. */
function valueAt(values: Float32Array, position: number): number {
  const below = Math.min(values.length - 1, Math.floor(position));
  const above = Math.min(values.length - 1, below + 1);
  return values[below]! + (position - below) * (values[above]! - values[below]!);
}

function ofLevel(level: number): AlphaSigma {
  const alpha = 1 / Math.sqrt(level ** 2 + 1);
  return { alpha, sigma: level * alpha };
}
