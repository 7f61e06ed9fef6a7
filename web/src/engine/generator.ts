/** Makes clips: request → image → audio. It computes one clip at a time. */

import type { InferenceInput } from "../api/messages";
import type { Seconds } from "../units";
import { LatentGeometry } from "./geometry";
import type { ImageLibrary, InitImage } from "./images";
import { InputError } from "./input_error";
import type { DenoisingJob } from "./job";
import type { Networks } from "./networks";
import { withHeight } from "./pixels";
import type { JobPreparation } from "./preparation";
import type { Timings } from "./protocol";
import { type ClipInputs, MAX_DURATION, clipInputs } from "./request";
import type { SpectrogramParams } from "./spectrogram_params";
import { nextTask } from "./tasks";

const CLIP_DURATION: Seconds = 5.12;
/** Parameters without which an image means another sound. */
const SCALE = [
  "stereo", "step_size_ms", "num_frequencies", "min_frequency", "max_frequency", "mel_scale_type", "mel_scale_norm", "power_for_image",
] as const;

/**
 * A spectrogram image → audio in [-1, 1]. `maxValue` is the amplitude of black, if it is not the usual one. Throws
 * RangeError for parameters that it cannot handle.
 */
export type Invert = (
  rgb: Uint8Array, width: number, height: number, params: SpectrogramParams, options?: { readonly maxValue?: number; readonly circular?: boolean },
) => Float32Array<ArrayBuffer> | Promise<Float32Array<ArrayBuffer>>;

/** The request is not wanted any more. */
export class Cancelled extends Error {}

interface ClipImage {
  /** Three bytes per pixel, rows from the top. */
  readonly rgb: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
  /** What it was made with. */
  readonly params: SpectrogramParams;
  /** Amplitude of black; null for the usual one. */
  readonly maxValue: number | null;
  /** Whether it is drawn here, as a clip that repeats. */
  readonly isDrawn: boolean;
}

export interface MadeClip extends Omit<ClipImage, "maxValue" | "isDrawn"> {
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
    private readonly params: SpectrogramParams,
    private readonly invert: Invert,
  ) {}

  /** @throws InputError for a request that cannot be done, Cancelled, or what the networks throw */
  async generate(request: InferenceInput, options: GenerateOptions = {}): Promise<MadeClip> {
    const stopwatch = new Stopwatch();
    const drawn = await this.draw(clipInputs(request), stopwatch, options);
    const samples = await this.audio(drawn);
    stopwatch.lap("inversion");
    const { maxValue: _, isDrawn: __, ...image } = drawn;
    return { ...image, samples, timings: stopwatch.laps };
  }

  private async audio({ rgb, width, height, params, maxValue, isDrawn }: ClipImage): Promise<MadeClip["samples"]> {
    try {
      return await this.invert(rgb, width, height, params, { circular: isDrawn, ...(maxValue === null ? {} : { maxValue }) });
    } catch (error) {
      if (error instanceof RangeError && params !== this.params) throw new InputError("init_image", `its EXIF data says ${error.message}`);
      throw error;
    }
  }

  private async draw(inputs: ClipInputs, stopwatch: Stopwatch, options: GenerateOptions): Promise<ClipImage> {
    this.preparation.check(inputs);
    const init = inputs.initImage === null ? null : await this.initImage(inputs);
    if (inputs.mode === "image_to_audio" && init !== null) {
      const { params, maxValue } = init.recorded ?? { params: this.params, maxValue: null };
      const { width, height, data } = init.pixels;
      stopwatch.lap("prepare");
      return { rgb: Uint8Array.from(data), width, height, params, maxValue, isDrawn: false };
    }
    const mask = inputs.mask === null ? null : await this.images.mask(inputs.mask);
    const geometry = this.geometry(inputs, init);
    const job = await this.preparation.prepare(inputs, geometry, init, mask);
    stopwatch.lap("prepare");
    await this.denoise(job, options);
    stopwatch.lap("diffusion");
    const { width, height } = geometry.latent;
    const rgb = job.finish(await this.networks.decode(job.latents, height, width));
    stopwatch.lap("decode");
    await pause(options);
    return { rgb, width: geometry.width, height: geometry.height, params: this.params, maxValue: null, isDrawn: true };
  }

  /** The init image, as high as its parameters say. */
  private async initImage({ initImage, mode }: ClipInputs): Promise<InitImage> {
    if (initImage === null) throw new InputError("init_image", "is missing");
    const image = await this.images.initImage(initImage);
    const { pixels, recorded } = image;
    if (recorded !== null && mode !== "image_to_audio") checkSameScale(recorded.params, this.params);
    const { num_frequencies: height, step_size_ms: step } = recorded?.params ?? this.params;
    const duration = (pixels.width * step) / 1000;
    if (!(duration <= MAX_DURATION)) {
      throw new InputError("init_image", `${pixels.width} columns are ${duration} s of audio; at most ${MAX_DURATION} s are allowed`);
    }
    return { ...image, pixels: withHeight(pixels, height) };
  }

  private geometry({ duration }: ClipInputs, init: InitImage | null): LatentGeometry {
    const { num_frequencies: height, step_size_ms: step } = this.params;
    const width = init?.pixels.width ?? Math.max(1, Math.round(((duration ?? CLIP_DURATION) * 1000) / step));
    return new LatentGeometry(width, height, this.networks.shape);
  }

  private async denoise(job: DenoisingJob, options: GenerateOptions): Promise<void> {
    options.onStep?.(0, job.numSteps);
    while (!job.isDone) {
      await pause(options);
      job.advance(await this.networks.predict(job.unetInput()));
      options.onStep?.(job.stepsDone, job.numSteps);
    }
  }
}

/** Checks that pixels stand for the same frequencies, times and amplitudes. Throws InputError. */
function checkSameScale(recorded: SpectrogramParams, wanted: SpectrogramParams): void {
  for (const name of SCALE) {
    if (recorded[name] === wanted[name]) continue;
    const reason = `its EXIF data says ${name}=${recorded[name]}, and this checkpoint's images have ${wanted[name]}`;
    throw new InputError("init_image", `${reason}; use another image, or a server, which converts it`);
  }
}

/** Lets waiting messages be read, one of which may cancel the clip. */
async function pause({ isCancelled }: GenerateOptions): Promise<void> {
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
