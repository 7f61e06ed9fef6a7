/** The images and masks of requests, decoded. */

import { InputError } from "./input_error";
import { type Pixels, rgbFromRgba } from "./pixels";
import type { DecodedImage } from "./preparation";
import { type RecordedParams, recordedParams } from "./recorded_params";
import type { ImageReference } from "./request";

/** One minute in columns of 10 ms. */
const MAX_WIDTH = 6000;
const MAX_HEIGHT = 8192;
const NOT_FOUND = 404;

/** Decodes an image to RGBA, without premultiplied alpha and without a change of colours. */
export type DecodeImage = (file: Blob) => Promise<Pixels>;

/** An image to start from, or to hear. */
export interface InitImage extends DecodedImage {
  /** What it was made with, unchecked; null if it does not say. */
  readonly recorded: RecordedParams | null;
}

export class ImageLibrary {
  /**
   * @param baseUrl has the folders `seed_images` and `masks`
   * @param decode rejects what is no image
   */
  constructor(
    private readonly baseUrl: string,
    private readonly decode: DecodeImage,
    private readonly fetcher: typeof fetch = (...request) => fetch(...request),
  ) {}

  /** A seed image or the user's own; transparent parts are white, which is silence. Throws InputError. */
  async initImage(reference: ImageReference): Promise<InitImage> {
    const field = reference.kind === "id" ? "seed_image_id" : "init_image";
    const file = await this.file(reference, field, "seed_images");
    const pixels = rgbFromRgba(await this.pixels(file, field), 255);
    const recorded = recordedParams(new Uint8Array(await file.arrayBuffer()));
    return { key: reference.kind === "id" ? `id:${reference.id}` : reference.dataUrl, pixels, recorded };
  }

  /** A mask; transparent parts are black, which is kept. Throws InputError. */
  async mask(reference: ImageReference): Promise<Pixels> {
    const field = reference.kind === "id" ? "mask_image_id" : "mask_image";
    return rgbFromRgba(await this.pixels(await this.file(reference, field, "masks"), field), 0);
  }

  private file(reference: ImageReference, field: string, folder: string): Promise<Blob> {
    return reference.kind === "id" ? this.fetched(reference.id, field, folder) : this.own(reference.dataUrl, field);
  }

  private async pixels(file: Blob, field: string): Promise<Pixels> {
    let pixels: Pixels;
    try {
      pixels = await this.decode(file);
    } catch {
      throw new InputError(field, "is not an image, or is damaged; send a PNG, a JPEG or a WebP");
    }
    const { width, height } = pixels;
    if (width <= MAX_WIDTH && height <= MAX_HEIGHT) return pixels;
    throw new InputError(field, `the image is ${width}×${height} pixels; at most ${MAX_WIDTH}×${MAX_HEIGHT} are allowed`);
  }

  private async fetched(id: string, field: string, folder: string): Promise<Blob> {
    const response = await this.fetcher(`${this.baseUrl}${folder}/${encodeURIComponent(id)}.png`);
    if (response.ok) return response.blob();
    if (response.status === NOT_FOUND) throw new InputError(field, `'${id}' is not in the library; choose one of the listed images`);
    throw new Error(`the image ${id} cannot be fetched (status ${response.status}); reload the page`);
  }

  private async own(dataUrl: string, field: string): Promise<Blob> {
    if (!dataUrl.startsWith("data:")) throw new InputError(field, "must be a data URL");
    try {
      return await (await fetch(dataUrl)).blob();
    } catch {
      throw new InputError(field, "is not a valid data URL; encode the file as base64");
    }
  }
}
