/** What a person can set about the jam, with ranges and defaults. */

import type { Share } from "../units";

export const SCHEDULERS = [
  "pndm", "ddim", "dpmsolver++", "unipc", "euler", "euler_a", "lms", "lcm",
] as const;
export type SchedulerName = (typeof SCHEDULERS)[number];

/** A range of a number: both ends are allowed; `step` is a slider's. */
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

/** What the jam is painted over. A person's own images come by data URL, the server's by id. */
export type ImageSource =
  | { readonly kind: "id"; readonly id: string }
  | { readonly kind: "own"; readonly dataUrl: string; readonly name: string };

export interface Settings {
  readonly negativePrompt: string;
  /** How much of the seed image is repainted: more is freer, less keeps the beat. */
  readonly denoising: Share;
  /** How literally prompts are taken. */
  readonly guidance: number;
  readonly numInferenceSteps: number;
  /** null leaves it to the checkpoint. */
  readonly scheduler: SchedulerName | null;
  readonly seedImage: ImageSource;
  readonly mask: ImageSource | null;
  /** How far a clip is from the one before, in (0, 1]. */
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

/** `value` moved into the range. */
export function clamped(value: number, range: Range): number {
  return Math.min(range.max, Math.max(range.min, value));
}

export function isScheduler(name: string): name is SchedulerName {
  return (SCHEDULERS as readonly string[]).includes(name);
}
