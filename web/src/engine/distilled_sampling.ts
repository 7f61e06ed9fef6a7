/**
 * Sampling of distilled checkpoints: which requests it is used for, and what they may ask for.
 *
 * A latent consistency model (Luo et al. 2023) jumps from any timestep to the finished latents, adds the next timestep's
 * noise and jumps again. Its UNet takes the guidance scale as an embedding, so a step has one row: there is none for the
 * negative prompt.
 */

import type { Distillation } from "../settings/distilled";
import type { Share } from "../units";
import type { Floats } from "./arrays";
import { InputError } from "./input_error";
import type { ClipInputs } from "./request";
import type { Consistency } from "./samplers/consistency";
import type { TrainedScheduler } from "./schedulers";

/** Steps × strength above a whole number by less than this is that number. */
const ROUNDING = 1e-9;
const POSITIONS_PER_UNIT = 1000;
const LONGEST_PERIOD = 10_000;

/** What a distilled checkpoint can do, with what only its sampling needs to know. */
export interface DistilledCheckpoint extends Distillation {
  /** Number of timesteps that it was distilled at; null for those of its scheduler. */
  readonly solverSteps: number | null;
}

/**
 * Whether a request is sampled with one row per step that is told the guidance.
 *
 * That is so with the scheduler `lcm`. It is the default of a checkpoint that was published with it, or that can't be
 * sampled in another way.
 */
export function isSampledDistilled(
  { scheduler }: ClipInputs, distillation: DistilledCheckpoint | null, trained: TrainedScheduler,
): boolean {
  if (distillation === null) return false;
  return scheduler === null ? trained.className === "LCMScheduler" || !distillation.isGuidedSampling : scheduler === "lcm";
}

/**
 * Checks that the checkpoint can be sampled as the request asks for.
 *
 * @throws InputError if it can't
 */
export function checkSampling(inputs: ClipInputs, distillation: DistilledCheckpoint | null, trained: TrainedScheduler): void {
  if (distillation === null) {
    if (inputs.preset !== "instant") return;
    throw new InputError("preset", "'instant' needs a distilled checkpoint, and this one is not distilled; use preset=fast");
  }
  if (isSampledDistilled(inputs, distillation, trained)) checkDistilled(inputs, distillation);
  else if (!distillation.isGuidedSampling) {
    throw new InputError(
      "scheduler",
      `'${inputs.scheduler}' must be 'lcm', as this checkpoint is distilled without guided sampling; use preset=instant`,
    );
  }
}

function checkDistilled(inputs: ClipInputs, { maxSteps, guidance: [low, high], isGuidedSampling }: DistilledCheckpoint): void {
  if (inputs.numSteps > maxSteps) {
    const more = isGuidedSampling ? ", or preset=balanced for more steps" : "";
    throw new InputError(
      "num_inference_steps",
      `${inputs.numSteps} must be at most ${maxSteps} for scheduler 'lcm' with this distilled checkpoint; use preset=instant${more}`,
    );
  }
  const guided = isGuidedSampling ? "use preset=fast, or " : "";
  for (const name of ["start", "end"] as const) {
    const { guidance, negativePrompt } = inputs[name];
    if (!(low <= guidance && guidance <= high)) {
      throw new InputError(
        `${name}.guidance`,
        `${guidance} must be from ${low} to ${high}, the range that this checkpoint was distilled for with scheduler 'lcm'; ${guided}choose one in it`,
      );
    }
    if (negativePrompt !== "") {
      throw new InputError(
        `${name}.negative_prompt`,
        `'${abridged(negativePrompt)}' has no effect with scheduler 'lcm', as this checkpoint was distilled without negative prompts; ${guided}leave it out`,
      );
    }
  }
}

/**
 * Embedding of a guidance scale for the UNet: the sinusoidal embedding of Vaswani et al. 2017 at position 1000 · (w - 1),
 * where w = 1 is no guidance.
 *
 * @param width at least 4
 * @returns sines, then cosines, and a zero if the width is odd
 */
export function guidanceEmbedding(guidance: number, width: number): Floats {
  const { fround } = Math;
  const half = Math.floor(width / 2);
  const decay = fround(-Math.log(LONGEST_PERIOD) / (half - 1));
  const position = fround(fround(fround(guidance) - 1) * POSITIONS_PER_UNIT);
  const embedding = new Float32Array(width);
  for (let i = 0; i < half; i++) {
    const angle = fround(position * fround(Math.exp(fround(i * decay))));
    embedding[i] = Math.sin(angle);
    embedding[half + i] = Math.cos(angle);
  }
  return embedding;
}

/**
 * Sets the timesteps of an LCM scheduler for img2img; a strength of 1 is txt2img.
 *
 * All are timesteps that the checkpoint was distilled at, so the first one follows the strength in steps of
 * `1 / solverSteps`. The number of steps is the strength's share, rounded up. A strength of 0 has none.
 */
export function consistencyTimesteps(sampler: Consistency, numSteps: number, strength: Share, solverSteps: number | null): readonly number[] {
  if (strength === 0) return [];
  const numDistilled = Math.max(solverSteps ?? sampler.originalSteps, numSteps);
  const numUsable = Math.max(1, Math.trunc(numDistilled * strength + ROUNDING));
  const count = Math.min(Math.ceil(numSteps * strength - ROUNDING), numUsable);
  const share = Math.min(1, (numUsable + 0.5) / numDistilled); // their product is rounded down
  sampler.chooseTimesteps(count, numDistilled, share);
  return sampler.timesteps;
}

function abridged(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}…`;
}
