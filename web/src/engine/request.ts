/** A request with its defaults filled in and its values checked: the rules are the server's. */

import type { InferenceInput, PresetName, PromptInput } from "../api/messages";
import { MAX_PROMPT_CHARACTERS, SCHEDULERS, type SchedulerName } from "../settings/settings";
import type { Seconds, Share } from "../units";
import { SEED_LIMIT } from "../walk/walk";
import { InputError } from "./input_error";
import PRESETS from "./presets.json";
import { parsePromptWeights } from "./prompt_weights";

/** The most seconds of a clip. */
export const MAX_DURATION: Seconds = 60;
const MAX_STEPS = 150;
const MAX_GUIDANCE = 30;
const DEFAULT_STEPS = 50;
const DEFAULT_DENOISING = 0.75;
const DEFAULT_GUIDANCE = 7;
const DEFAULT_SEED_IMAGE = "og_beat";

/** An image of the library by its id, or one in the request as a data URL. */
export type ImageReference = { readonly kind: "id"; readonly id: string } | { readonly kind: "own"; readonly dataUrl: string };

/** One end of an interpolation. */
export interface PromptEnd {
  readonly prompt: string;
  readonly negativePrompt: string;
  readonly seed: bigint;
  readonly denoising: Share;
  readonly guidance: number;
}

/** A checked request. */
export interface ClipInputs {
  readonly mode: "img2img" | "txt2img" | "image_to_audio";
  readonly start: PromptEnd;
  readonly end: PromptEnd;
  readonly alpha: Share;
  readonly numSteps: number;
  /** null for the checkpoint's own. */
  readonly scheduler: SchedulerName | null;
  readonly preset: PresetName | null;
  /** Guidance applies from the first to the second share of the steps. */
  readonly guidanceInterval: readonly [Share, Share];
  /** null for mode txt2img. */
  readonly initImage: ImageReference | null;
  readonly mask: ImageReference | null;
  /** Of a txt2img clip; null for the usual one. */
  readonly duration: Seconds | null;
}

/**
 * Fills in defaults, those of the request's preset first, and checks all values.
 *
 * @throws InputError for the first value that is not allowed, or that needs a server
 */
export function clipInputs(request: InferenceInput): ClipInputs {
  const preset = request.preset ?? null;
  const defaults = preset === null ? {} : presetFields(preset);
  const mode = request.mode ?? "img2img";
  if (!["img2img", "txt2img", "image_to_audio"].includes(mode)) {
    throw new InputError("mode", `'${String(mode)}' needs a server; use img2img, txt2img or image_to_audio`);
  }
  const start = promptEnd("start", request.start);
  const interval = request.guidance_interval ?? defaults.guidance_interval ?? [0, 1];
  const inputs: ClipInputs = {
    mode,
    start,
    end: request.end ? promptEnd("end", request.end) : start,
    alpha: inRange("alpha", request.alpha ?? 0, 0, 1),
    numSteps: whole("num_inference_steps", request.num_inference_steps ?? defaults.num_inference_steps ?? DEFAULT_STEPS, 1, MAX_STEPS),
    scheduler: request.scheduler ?? defaults.scheduler ?? null,
    preset,
    guidanceInterval: [inRange("guidance_interval.0", interval[0], 0, 1), inRange("guidance_interval.1", interval[1], 0, 1)],
    initImage: mode === "txt2img" ? null : initImage(request),
    mask: mask(request),
    duration: request.duration_s == null ? null : inRange("duration_s", request.duration_s, 0, MAX_DURATION),
  };
  checkCombinations(inputs);
  return inputs;
}

interface PresetFields {
  readonly scheduler?: SchedulerName;
  readonly num_inference_steps?: number;
  readonly guidance_interval?: readonly [number, number];
}

function presetFields(preset: PresetName): PresetFields {
  const fields = (PRESETS as Record<string, unknown>)[preset] as PresetFields | undefined;
  if (!fields) throw new InputError("preset", `'${preset}' must be one of ${Object.keys(PRESETS).join(", ")}`);
  return fields;
}

function promptEnd(name: string, end: PromptInput): PromptEnd {
  return {
    prompt: prompt(`${name}.prompt`, end.prompt),
    negativePrompt: prompt(`${name}.negative_prompt`, end.negative_prompt ?? ""),
    seed: seed(`${name}.seed`, end.seed),
    denoising: inRange(`${name}.denoising`, end.denoising ?? DEFAULT_DENOISING, 0, 1),
    guidance: inRange(`${name}.guidance`, end.guidance ?? DEFAULT_GUIDANCE, 0, MAX_GUIDANCE),
  };
}

/** A number above 2^53 is refused, as it may stand for several seeds. */
function seed(field: string, value: number | bigint): bigint {
  const exact = typeof value === "bigint" ? value : Number.isSafeInteger(value) ? BigInt(value) : null;
  if (exact !== null && 0n <= exact && exact < SEED_LIMIT) return exact;
  const remedy = exact === null && value >= 2 ** 53 ? ", exactly: a bigint" : "";
  throw new InputError(field, `${String(value)} must be a whole number from 0 to ${SEED_LIMIT - 1n}${remedy}`);
}

function prompt(field: string, text: string): string {
  const length = [...text].length; // in characters, as the server counts
  if (length > MAX_PROMPT_CHARACTERS) {
    throw new InputError(field, `${length} characters must be at most ${MAX_PROMPT_CHARACTERS}; shorten it`);
  }
  try {
    parsePromptWeights(text);
  } catch (error) {
    throw error instanceof RangeError ? new InputError(field, error.message) : error;
  }
  return text;
}

function initImage(request: InferenceInput): ImageReference {
  if (request.init_audio != null) {
    throw new InputError("init_audio", "a recording cannot be analysed here; convert it to a spectrogram image, or use a server");
  }
  if (request.init_image != null) return { kind: "own", dataUrl: request.init_image };
  return { kind: "id", id: request.seed_image_id ?? DEFAULT_SEED_IMAGE };
}

function mask({ mask_image: own, mask_image_id: id }: InferenceInput): ImageReference | null {
  if (own != null && id != null) throw new InputError("mask_image", "excludes mask_image_id; send one of them");
  if (own != null) return { kind: "own", dataUrl: own };
  return id == null ? null : { kind: "id", id };
}

function checkCombinations({ mode, scheduler, mask, duration, guidanceInterval: [first, last] }: ClipInputs): void {
  if (scheduler !== null && !SCHEDULERS.includes(scheduler)) {
    throw new InputError("scheduler", `'${String(scheduler)}' must be one of ${SCHEDULERS.join(", ")}`);
  }
  if (first > last) throw new InputError("guidance_interval", `[${first}, ${last}] must be in ascending order`);
  if (mask !== null && mode !== "img2img") throw new InputError("mode", `${mode} takes no mask; use img2img`);
  if (duration !== null && mode !== "txt2img") {
    throw new InputError("duration_s", `only for mode=txt2img; the init image sets it in mode=${mode}`);
  }
}

function inRange(field: string, value: number, low: number, high: number): number {
  if (typeof value === "number" && low <= value && value <= high) return value;
  throw new InputError(field, `${String(value)} must be from ${low} to ${high}`);
}

function whole(field: string, value: number, low: number, high: number): number {
  if (Number.isInteger(value)) return inRange(field, value, low, high);
  throw new InputError(field, `${String(value)} must be a whole number from ${low} to ${high}`);
}
