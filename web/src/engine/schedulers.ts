/** The schedulers (samplers) that a request can name. */

import type { SchedulerName } from "../settings/settings";
import type { Share } from "../units";
import { InputError } from "./input_error";
import { Consistency } from "./samplers/consistency";
import { Ddim } from "./samplers/ddim";
import { DpmSolver } from "./samplers/dpm_solver";
import { Pndm } from "./samplers/pndm";
import type { Sampler, SchedulerSettings } from "./samplers/sampler";

/** A checkpoint's own scheduler: the content of its `scheduler_config.json`. */
export interface TrainedScheduler {
  /** Name of diffusers' class. */
  readonly className: string;
  readonly settings: SchedulerSettings;
}

interface SamplerClass {
  new (settings: SchedulerSettings): Sampler;
  supports(settings: SchedulerSettings): boolean;
}

const SAMPLERS: Readonly<Record<string, SamplerClass>> = {
  DDIMScheduler: Ddim,
  PNDMScheduler: Pndm,
  DPMSolverMultistepScheduler: DpmSolver,
  LCMScheduler: Consistency,
};

/** By name, diffusers' class and the settings that it is used with here. */
const NAMED: Partial<Record<SchedulerName, readonly [string, SchedulerSettings]>> = {
  pndm: ["PNDMScheduler", { skip_prk_steps: true }],
  ddim: ["DDIMScheduler", { clip_sample: false, thresholding: false }],
  "dpmsolver++": ["DPMSolverMultistepScheduler", { algorithm_type: "dpmsolver++", solver_order: 2, use_karras_sigmas: true }],
  lcm: ["LCMScheduler", {}],
};

/** Names of the samplers that this engine has. */
export const ENGINE_SCHEDULERS = Object.keys(NAMED) as readonly SchedulerName[];

/** A checkpoint's scheduler from the text of its `scheduler_config.json`, in which Python writes `Infinity` as a number. */
export function parseTrainedScheduler(text: string): TrainedScheduler {
  const quoted = text.replace(/(:\s*)(-?Infinity)\b/g, '$1"$2"');
  const config = JSON.parse(quoted, (_, value: unknown) =>
    value === "-Infinity" ? -Infinity : value === "Infinity" ? Infinity : value,
  ) as Record<string, unknown>;
  const unset = new Set((config["_use_default_values"] as string[] | undefined) ?? []);
  const settings = Object.fromEntries(Object.entries(config).filter(([name]) => !unset.has(name)));
  return { className: String(config["_class_name"] ?? "PNDMScheduler"), settings };
}

/**
 * A new sampler for one clip.
 *
 * @param name null for the checkpoint's own
 * @throws InputError if this engine has no such sampler
 */
export function newSampler(name: SchedulerName | null, trained: TrainedScheduler): Sampler {
  const [className, changed] = name === null ? [trained.className, {}] : (NAMED[name] ?? [name, {}]);
  const settings = { ...trained.settings, ...changed };
  const found = SAMPLERS[className];
  if (found?.supports(settings)) return new found(settings);
  throw new InputError("scheduler", `'${name ?? className}' needs a server; choose one of ${ENGINE_SCHEDULERS.join(", ")}`);
}

/**
 * The timesteps that img2img runs at a given strength: the last ones of the schedule. At a strength of 0 there are none:
 * the image only passes through the autoencoder.
 *
 * PNDM lists its second timestep twice, to correct the first step. The count includes the repetition, so any strength
 * above 0 takes a step.
 */
export function partialTimesteps(sampler: Sampler, numSteps: number, strength: Share): readonly number[] {
  const repeated = sampler.timesteps.length - numSteps;
  const count = strength > 0 ? Math.min(Math.trunc(numSteps * strength) + repeated, numSteps) : 0;
  const begin = sampler.timesteps.length - count;
  sampler.beginAt(begin);
  return sampler.timesteps.slice(begin);
}
