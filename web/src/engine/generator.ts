/** Makes clips: request → image → audio. It computes one clip at a time. */

import type { InferenceInput } from "../api/messages";
import type { Seconds } from "../units";
import { LatentGeometry } from "./geometry";
import type { ImageLibrary } from "./images";
import { InputError } from "./input_error";
import type { DenoisingJob } from "./job";
import type { Networks } from "./networks";
import { withHeight } from "./pixels";
import type { DecodedImage, JobPreparation } from "./preparation";
import type { Timings } from "./protocol";
import { type ClipInputs, MAX_DURATION, clipInputs } from "./request";
import type { SpectrogramParams } from "./spectrogram_params";
import { nextTask } from "./tasks";

const CLIP_DURATION: Seconds = 5.12;

/** A spectrogram image → audio in [-1, 1]. */
export type Invert = (
  rgb: Uint8Array, width: number, height: number, params: SpectrogramParams,
) => Float32Array<ArrayBuffer> | Promise<Float32Array<ArrayBuffer>>;

/** The request is not wanted any more. */
export class Cancelled extends Error {}

export interface DrawnImage {
  /** Three bytes per pixel, rows from the top. */
  readonly rgb: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

export interface MadeClip extends DrawnImage {
  readonly samples: Float32Array<ArrayBuffer>;
  readonly timings: Timings;
}

export interface GenerateOptions {
  /** Called before the first step and after each one. */
  readonly onStep?: (step: number, steps: number) => void;
  /** Asked between steps; true ends the work with `Cancelled`. */
  readonly isCancelled?: () => boolean;
}

export class ClipGenerator {
  constructor(
    private readonly networks: Networks,
    private readonly preparation: JobPreparation,
    private readonly images: ImageLibrary,
    readonly params: SpectrogramParams,
    private readonly invert: Invert,
  ) {}

  /** @throws InputError for a request that cannot be done, Cancelled, or what the networks throw */
  async generate(request: InferenceInput, options: GenerateOptions = {}): Promise<MadeClip> {
    const stopwatch = new Stopwatch();
    const image = await this.draw(clipInputs(request), stopwatch, options);
    const samples = await this.invert(image.rgb, image.width, image.height, this.params);
    stopwatch.lap("inversion");
    return { ...image, samples, timings: stopwatch.laps };
  }

  private async draw(inputs: ClipInputs, stopwatch: Stopwatch, { onStep, isCancelled }: GenerateOptions): Promise<DrawnImage> {
    this.preparation.check(inputs);
    const init = inputs.initImage === null ? null : await this.initImage(inputs);
    if (inputs.mode === "image_to_audio" && init !== null) {
      const { width, height, data } = init.pixels;
      stopwatch.lap("prepare");
      return { rgb: Uint8Array.from(data), width, height };
    }
    const mask = inputs.mask === null ? null : await this.images.mask(inputs.mask);
    const geometry = this.geometry(inputs, init);
    const job = await this.preparation.prepare(inputs, geometry, init, mask);
    stopwatch.lap("prepare");
    await this.denoise(job, { onStep, isCancelled });
    stopwatch.lap("diffusion");
    const { width, height } = geometry.latent;
    const rgb = job.finish(await this.networks.decode(job.latents, height, width));
    stopwatch.lap("decode");
    await pause(isCancelled);
    return { rgb, width: geometry.width, height: geometry.height };
  }

  /** The init image, as high as the checkpoint's images are. */
  private async initImage({ initImage }: ClipInputs): Promise<DecodedImage> {
    if (initImage === null) throw new InputError("init_image", "is missing");
    const { key, pixels } = await this.images.initImage(initImage);
    const { num_frequencies: height, step_size_ms: step } = this.params;
    const duration = (pixels.width * step) / 1000;
    if (duration > MAX_DURATION) {
      throw new InputError("init_image", `${pixels.width} columns are ${duration} s of audio; at most ${MAX_DURATION} s are allowed`);
    }
    return { key, pixels: withHeight(pixels, height) };
  }

  private geometry({ duration }: ClipInputs, init: DecodedImage | null): LatentGeometry {
    const { num_frequencies: height, step_size_ms: step } = this.params;
    const width = init?.pixels.width ?? Math.max(1, Math.round(((duration ?? CLIP_DURATION) * 1000) / step));
    return new LatentGeometry(width, height, this.networks.shape);
  }

  private async denoise(job: DenoisingJob, { onStep, isCancelled }: { [K in keyof GenerateOptions]: GenerateOptions[K] | undefined }): Promise<void> {
    onStep?.(0, job.numSteps);
    while (!job.isDone) {
      await pause(isCancelled);
      job.advance(await this.networks.predict(job.unetInput()));
      onStep?.(job.stepsDone, job.numSteps);
    }
  }
}

/** Lets waiting messages be read, one of which may cancel the clip. */
async function pause(isCancelled: (() => boolean) | undefined): Promise<void> {
  await nextTask();
  if (isCancelled?.()) throw new Cancelled("the request was cancelled");
}

class Stopwatch {
  readonly laps: Record<keyof Timings, Seconds> = { prepare: 0, diffusion: 0, decode: 0, inversion: 0 };
  private last = performance.now();

  lap(stage: keyof Timings): void {
    const now = performance.now();
    this.laps[stage] = (now - this.last) / 1000;
    this.last = now;
  }
}
