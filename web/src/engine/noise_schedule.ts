/**
 * How much of a clip is left at each timestep: the schedule that a diffusion model is trained with.
 *
 * At timestep t, latents are √ᾱ_t · x + √(1 - ᾱ_t) · noise (Ho et al., "Denoising Diffusion Probabilistic Models", 2020,
 * equation 4), where ᾱ_t is the product of 1 - β up to t. Settings have the names and defaults of diffusers'
 * `scheduler_config.json`; betas and products are rounded to single precision, as there.
 */

/** Largest beta of the cosine schedule, whose last one would be 1. */
const MAX_BETA = 0.999;

export interface ScheduleSettings {
  readonly num_train_timesteps: number;
  readonly beta_start: number;
  readonly beta_end: number;
  readonly beta_schedule: string;
  readonly trained_betas: readonly number[] | null;
  readonly rescale_betas_zero_snr: boolean;
}

const SCHEDULES: Readonly<Record<string, (settings: ScheduleSettings) => Float32Array>> = {
  linear: ({ beta_start: start, beta_end: end, num_train_timesteps: count }) => linear(start, end, count),
  scaled_linear: ({ beta_start: start, beta_end: end, num_train_timesteps: count }) =>
    linear(start ** 0.5, end ** 0.5, count).map((root) => root * root),
  squaredcos_cap_v2: cosine,
};

/** Whether `remainingPower` knows the schedule. */
export function isKnownSchedule(settings: ScheduleSettings): boolean {
  return settings.trained_betas !== null || settings.beta_schedule in SCHEDULES;
}

/** ᾱ of each timestep, from 1 towards 0. The schedule has to be a known one. */
export function remainingPower(settings: ScheduleSettings): Float32Array {
  const make = SCHEDULES[settings.beta_schedule];
  const betas = settings.trained_betas !== null ? Float32Array.from(settings.trained_betas) : make?.(settings);
  if (!betas) throw new RangeError(`beta_schedule=${settings.beta_schedule} must be one of ${Object.keys(SCHEDULES).join(", ")}`);
  return products((settings.rescale_betas_zero_snr ? withoutSignalAtTheEnd(betas) : betas).map((beta) => 1 - beta));
}

/** PyTorch's `linspace`, which counts from both ends in single precision. */
function linear(start: number, end: number, count: number): Float32Array {
  const { fround } = Math;
  const [first, last] = [fround(start), fround(end)];
  const step = fround(fround(last - first) / (count - 1));
  return Float32Array.from({ length: count }, (_, index) =>
    index < Math.floor(count / 2) ? first + fround(step * index) : last - fround(step * (count - 1 - index)),
  );
}

/** Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, equation 17. */
function cosine({ num_train_timesteps: count }: ScheduleSettings): Float32Array {
  const left = (share: number): number => Math.cos((((share + 0.008) / 1.008) * Math.PI) / 2) ** 2;
  return Float32Array.from({ length: count }, (_, i) => Math.min(1 - left((i + 1) / count) / left(i / count), MAX_BETA));
}

function products(factors: Float32Array): Float32Array {
  let product = 1;
  return factors.map((factor) => (product *= factor));
}

/**
 * Betas whose last timestep is noise only (Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed",
 * 2024, algorithm 1).
 */
function withoutSignalAtTheEnd(betas: Float32Array): Float32Array {
  const { fround } = Math;
  const roots = products(betas.map((beta) => 1 - beta)).map((power) => Math.sqrt(power));
  const [first, last] = [roots[0]!, roots[roots.length - 1]!];
  const factor = fround(first / fround(first - last));
  const powers = roots.map((root) => fround(fround(root - last) * factor) ** 2);
  return powers.map((power, index) => 1 - (index === 0 ? power : fround(power / powers[index - 1]!)));
}
