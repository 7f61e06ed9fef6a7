/** Requests and responses of the server. The field names are the server's. */

import type { ImageSource, SchedulerName, Settings } from "../settings/settings";
import type { Seconds, Share } from "../units";
import type { Stop } from "../walk/walk";

export type PresetName = "instant" | "fast" | "balanced" | "reference";

export interface PromptInput {
  prompt: string;
  /** A whole number from 0 to 2^63 - 1; a bigint if a number cannot hold it. */
  seed: number | bigint;
  denoising: number;
  guidance: number;
  negative_prompt?: string;
}

export interface InferenceInput {
  start: PromptInput;
  end?: PromptInput;
  alpha?: number;
  num_inference_steps?: number;
  seed_image_id?: string;
  mask_image_id?: string | null;
  init_image?: string;
  init_audio?: string;
  mask_image?: string;
  mode?: "img2img" | "txt2img" | "image_to_audio";
  /** Of a txt2img clip. */
  duration_s?: Seconds;
  /** Defaults for scheduler, steps and guidance interval. */
  preset?: PresetName;
  scheduler?: SchedulerName;
  guidance_interval?: readonly [Share, Share];
  audio_format: "flac" | "mp3" | "wav";
  image_format: "png";
}

/** As in the server's presets `fast` and `balanced`: the second half of the steps runs without guidance, at half the cost. The few steps of `lcm` all need it, and it may be the checkpoint's own. */
const GUIDANCE_INTERVAL = [0, 0.5] as const;

/** A clip in a response. Image and audio are data URLs. */
export interface InferenceOutput {
  readonly image: string;
  readonly audio: string;
  readonly duration_s: Seconds;
}

/**
 * The request for the clip at one stop of the walk.
 *
 * The formats are lossless: FLAC and WAV add no padding at their ends, so clips join without a gap, and the PNG is the
 * exact image that the audio was made from.
 *
 * @param numSteps replaces the number in `settings`, which may be too high for a slow server
 */
export function clipInput(stop: Stop, settings: Settings, numSteps: number, audioFormat: "flac" | "wav" = "flac"): InferenceInput {
  const prompt = (end: Stop["start"]): PromptInput => ({
    prompt: end.prompt,
    seed: end.seed,
    denoising: settings.denoising,
    guidance: settings.guidance,
    ...(settings.negativePrompt ? { negative_prompt: settings.negativePrompt } : {}),
  });
  return {
    start: prompt(stop.start),
    end: prompt(stop.end),
    alpha: stop.alpha,
    num_inference_steps: numSteps,
    ...imageFields(settings.seedImage, "seed_image_id", "init_image"),
    ...(settings.mask ? imageFields(settings.mask, "mask_image_id", "mask_image") : {}),
    ...(settings.scheduler ? { scheduler: settings.scheduler } : {}),
    ...(settings.scheduler === null || settings.scheduler === "lcm" ? {} : { guidance_interval: GUIDANCE_INTERVAL }),
    audio_format: audioFormat,
    image_format: "png",
  };
}

/** The request that converts an image or a recording to audio without diffusion. */
export function imageToAudioInput(
  source: ImageSource | { readonly kind: "audio"; readonly dataUrl: string },
  audioFormat: InferenceInput["audio_format"] = "flac",
): InferenceInput {
  const fields =
    source.kind === "audio"
      ? { init_audio: source.dataUrl }
      : imageFields(source, "seed_image_id", "init_image");
  return {
    start: { prompt: "", seed: 0, denoising: 0, guidance: 0 },
    mode: "image_to_audio",
    ...fields,
    audio_format: audioFormat,
    image_format: "png",
  };
}

/** Whether a parsed response is a valid clip. Any server may have sent it, so every field is checked. */
export function isInferenceOutput(answer: unknown): answer is InferenceOutput {
  if (typeof answer !== "object" || answer === null) return false;
  const { image, audio, duration_s: duration } = answer as Record<string, unknown>;
  return (
    typeof image === "string" && image.startsWith("data:image/") &&
    typeof audio === "string" && audio.startsWith("data:audio/") &&
    typeof duration === "number" && Number.isFinite(duration) && duration > 0
  );
}

function imageFields(
  source: ImageSource,
  idField: "seed_image_id" | "mask_image_id",
  imageField: "init_image" | "mask_image",
): Partial<InferenceInput> {
  return source.kind === "id" ? { [idField]: source.id } : { [imageField]: source.dataUrl };
}
