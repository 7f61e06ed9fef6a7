/** Makes clips: request → image → audio. It computes one clip at a time. */

import type { InferenceInput } from "../api/messages";
import type { Seconds } from "../units";
import { Cache } from "./cache";
import { convertedImage, convertedMask, frameDuration } from "./conversion/image_conversion";
import { LatentGeometry } from "./geometry";
import type { ImageLibrary, InitImage } from "./images";
import { InputError } from "./input_error";
import type { DenoisingJob } from "./job";
import type { Networks } from "./networks";
import { melFrames } from "./inversion/mel_frames";
import { type Pixels, withHeight } from "./pixels";
import type { JobPreparation } from "./preparation";
import type { Timings } from "./protocol";
import { type ClipInputs, type ImageReference, MAX_DURATION, clipInputs } from "./request";
import { type SpectrogramParams, checkParams } from "./spectrogram_params";
import { nextTask } from "./tasks";

const CLIP_DURATION: Seconds = 5.12;
/** Columns × FFT length: a minute with the default parameters. */
const MAX_SPECTROGRAM_CELLS = 6000 * 17_640;
/** Converted images that are kept: a jam asks for the same one with each clip. */
const MAX_CONVERTED = 4;

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
  private readonly converted = new Cache<Pixels>(MAX_CONVERTED);

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
      if (error instanceof RangeError && params !== this.params) throw fromExif(error);
      throw error;
    }
  }

  private async draw(inputs: ClipInputs, stopwatch: Stopwatch, options: GenerateOptions): Promise<ClipImage> {
    this.preparation.check(inputs);
    const given = inputs.initImage === null ? null : await this.initImage(inputs.initImage);
    if (inputs.mode === "image_to_audio" && given !== null) {
      const { params, maxValue } = given.recorded ?? { params: this.params, maxValue: null };
      const heard = { ...params, stereo: this.params.stereo };
      const { width, height, data } = await this.withParams(given, heard);
      stopwatch.lap("prepare");
      return { rgb: Uint8Array.from(data), width, height, params: params.stereo === heard.stereo ? params : heard, maxValue, isDrawn: false };
    }
    const own = given?.recorded?.params ?? this.params;
    const init = given && { ...given, pixels: await this.withParams(given, this.params) };
    const mask = inputs.mask === null ? null : convertedMask(await this.images.mask(inputs.mask), own, this.params);
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

  /** The init image as it is. Its parameters and the length of its audio are allowed. */
  private async initImage(reference: ImageReference): Promise<InitImage> {
    const image = await this.images.initImage(reference);
    const { width } = image.pixels;
    const params = image.recorded?.params ?? this.params;
    withExif(() => checkParams(params));
    const duration = width * frameDuration(params);
    if (duration > MAX_DURATION) {
      throw new InputError("init_image", `${width} columns are ${duration} s of audio; at most ${MAX_DURATION} s are allowed`);
    }
    if (width * melFrames(params).numFft > MAX_SPECTROGRAM_CELLS) {
      const { padded_duration_ms: padded, sample_rate: rate } = params;
      throw new InputError("init_image", `${width} columns of padded_duration_ms=${padded} at sample_rate=${rate} are too large a spectrogram; lower one of them`);
    }
    return image;
  }

  /** The pixels of an init image with other parameters; without EXIF data it counts as having the checkpoint's. */
  private withParams({ key, pixels, recorded }: InitImage, wanted: SpectrogramParams): Promise<Pixels> {
    if (recorded === null) return Promise.resolve(withHeight(pixels, wanted.num_frequencies));
    const make = async (): Promise<Pixels> => withExif(() => convertedImage(pixels, recorded.params, wanted));
    return this.converted.get(JSON.stringify([key, wanted]), make);
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

/** What `use` returns. A RangeError about an image's parameters becomes an InputError. */
function withExif<T>(use: () => T): T {
  try {
    return use();
  } catch (error) {
    throw error instanceof RangeError ? fromExif(error) : error;
  }
}

function fromExif({ message }: RangeError): InputError {
  return new InputError("init_image", `its EXIF data says ${message}`);
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
