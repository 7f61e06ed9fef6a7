/** DPM-Solver++, the sampler of the presets `fast` and `balanced`. */

import { type Floats, roundedToEven, weightedSum } from "../arrays";
import { type AlphaSigma, COMMON, Sampler, type SchedulerSettings, type Step, isSupported, withDefaults } from "./sampler";
import { spacedTimesteps } from "./strides";

const KARRAS_RHO = 7; // Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022
/** Below this many steps, the last ones of a multistep solver are of lower order. */
const FEW_STEPS = 15;
/** ᾱ of a last timestep without signal, which DPM-Solver++ can't divide by. */
const ONE_AT_LAST_TIMESTEP = 2 ** -24;

const DEFAULTS = {
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
  private readonly settings: typeof DEFAULTS;
  private levels = new Float32Array(1);
  private cleanBefore: Floats | null = null;

  constructor(settings: SchedulerSettings) {
    const known = withDefaults(settings, DEFAULTS);
    super(known);
    this.settings = known;
    if (known.rescale_betas_zero_snr) this.power[this.numTrained - 1] = ONE_AT_LAST_TIMESTEP;
  }

  static supports(settings: SchedulerSettings): boolean {
    const known = withDefaults(settings, DEFAULTS);
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
