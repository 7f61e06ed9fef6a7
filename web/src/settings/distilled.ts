/** Settings for distilled checkpoints, which make a clip in a few steps that each cost half of a guided one. */

import { DEFAULT_SETTINGS, type Settings } from "./settings";

/** What a distilled checkpoint can do. */
export interface Distillation {
  readonly maxSteps: number;
  /** Lowest and highest guidance scale that it was distilled for. */
  readonly guidance: readonly [number, number];
  /** Whether the other schedulers work as well. */
  readonly isGuidedSampling: boolean;
}

type Sampling = Pick<Settings, "scheduler" | "numInferenceSteps">;

/** The server's preset `instant`. */
export const INSTANT: Sampling = { scheduler: "lcm", numInferenceSteps: 4 };
const USUAL: Sampling = { scheduler: DEFAULT_SETTINGS.scheduler, numInferenceSteps: DEFAULT_SETTINGS.numInferenceSteps };

/**
 * The defaults for a server: `instant` if its checkpoint is distilled.
 *
 * @param negativePrompt with one, the usual sampling is the default, if the checkpoint can do it
 */
export function defaultsFor(distillation: Distillation | null, negativePrompt = ""): Settings {
  const isUsual = distillation === null || (distillation.isGuidedSampling && negativePrompt !== "");
  return fitted(isUsual ? DEFAULT_SETTINGS : { ...DEFAULT_SETTINGS, ...INSTANT }, distillation);
}

/** Whether clips are made by distilled sampling. */
export function isInstant(settings: Settings, distillation: Distillation | null): boolean {
  return distillation !== null && settings.scheduler === "lcm";
}

/** The settings with distilled sampling on or off. A negative prompt is removed, as it has no effect there. */
export function withInstant(settings: Settings, isOn: boolean): Settings {
  return isOn ? { ...settings, ...INSTANT, negativePrompt: "" } : { ...settings, ...USUAL };
}

/**
 * The settings, changed where the server would refuse them.
 *
 * Distilled sampling has no negative prompt, so with one the usual sampling is used, if the checkpoint can do it.
 *
 * @param distillation null if the checkpoint is not distilled, or unknown
 */
export function fitted(settings: Settings, distillation: Distillation | null): Settings {
  if (distillation === null) return settings;
  const { maxSteps, guidance: [lowest, highest], isGuidedSampling } = distillation;
  if (!isGuidedSampling) {
    if (settings.scheduler !== "lcm") return fitted(withInstant(settings, true), distillation);
    if (settings.negativePrompt) return fitted({ ...settings, negativePrompt: "" }, distillation);
  }
  if (settings.scheduler !== "lcm") return settings;
  if (settings.negativePrompt) return { ...settings, ...USUAL };
  return {
    ...settings,
    numInferenceSteps: Math.min(settings.numInferenceSteps, maxSteps),
    guidance: Math.min(highest, Math.max(lowest, settings.guidance)),
  };
}
