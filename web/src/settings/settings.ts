/** The settings of a jam, with their ranges and defaults. */

import type { Share } from "../units";

export const SCHEDULERS = [
  "pndm", "ddim", "dpmsolver++", "unipc", "euler", "euler_a", "lms", "lcm",
] as const;
export type SchedulerName = (typeof SCHEDULERS)[number];

/** A closed range of numbers; `step` is the step of its slider. */
export interface Range {
  readonly min: number;
  readonly max: number;
  readonly step: number;
}

export const RANGES = {
  denoising: { min: 0.05, max: 1, step: 0.05 },
  guidance: { min: 0, max: 30, step: 0.5 },
  numInferenceSteps: { min: 1, max: 150, step: 1 },
  alphaStep: { min: 0.01, max: 1, step: 0.01 },
} as const satisfies Record<string, Range>;

/** A seed image or mask: an image on the server by its id, or the user's own image as a data URL. */
export type ImageSource =
  | { readonly kind: "id"; readonly id: string }
  | { readonly kind: "own"; readonly dataUrl: string; readonly name: string };

export interface Settings {
  readonly negativePrompt: string;
  /** Denoising strength: higher values follow the prompt more freely, lower values keep the beat of the seed image. */
  readonly denoising: Share;
  /** Guidance scale: how closely clips follow the prompt. */
  readonly guidance: number;
  readonly numInferenceSteps: number;
  /** null uses the scheduler of the checkpoint. */
  readonly scheduler: SchedulerName | null;
  readonly seedImage: ImageSource;
  readonly mask: ImageSource | null;
  /** Step of alpha from one clip to the next, in (0, 1]. */
  readonly alphaStep: Share;
}

export const DEFAULT_SETTINGS: Settings = {
  negativePrompt: "",
  denoising: 0.75,
  guidance: 7,
  numInferenceSteps: 12,
  scheduler: "dpmsolver++",
  seedImage: { kind: "id", id: "og_beat" },
  mask: null,
  alphaStep: 0.25,
};

export const MAX_PROMPT_CHARACTERS = 4000;

/** The value in the range that is nearest to `value`. */
export function clamped(value: number, range: Range): number {
  return Math.min(range.max, Math.max(range.min, value));
}

export function isScheduler(name: string): name is SchedulerName {
  return (SCHEDULERS as readonly string[]).includes(name);
}
