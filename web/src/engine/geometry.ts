/**
 * Images and masks as arrays of pixels, and their size in latent space.
 *
 * The autoencoder divides an image's size by its scale factor and the UNet halves the latents several times, so sizes must
 * be multiples of the product. Images are padded by mirroring rather than resized, since resizing would change tempo and
 * pitch; after decoding the padding is cropped.
 */

import { type Floats, roundedToEven } from "./arrays";
import type { CheckpointShape } from "./networks";
import { type Pixels, luminance, resizedGrey } from "./pixels";

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Geometry of one image. */
export class LatentGeometry {
  /** In pixels, rounded up to multiples of what the networks take. */
  readonly padded: Size;
  readonly latent: Size;

  constructor(
    readonly width: number,
    readonly height: number,
    private readonly shape: Pick<CheckpointShape, "pixels_per_latent" | "size_multiple">,
  ) {
    const { size_multiple: multiple, pixels_per_latent: factor } = shape;
    const padded = (side: number): number => Math.ceil(side / multiple) * multiple;
    this.padded = { width: padded(width), height: padded(height) };
    this.latent = { width: this.padded.width / factor, height: this.padded.height / factor };
  }

  /** An RGB image as (3, padded height, padded width) in [-1, 1]. */
  pixelsFromImage({ data }: Pixels): Floats {
    return this.mirrored(3, (channel, row, column) => {
      const unit = Math.fround(data[3 * (row * this.width + column) + channel]! / 255);
      return unit * 2 - 1;
    });
  }

  /** RGB bytes from (3, padded height, padded width) values in [-1, 1], cropped to the image's size. */
  imageFromPixels(pixels: Floats): Uint8Array<ArrayBuffer> {
    const { width, height, padded } = this;
    const rgb = new Uint8Array(width * height * 3);
    for (let channel = 0; channel < 3; channel++) {
      for (let row = 0; row < height; row++) {
        const start = (channel * padded.height + row) * padded.width;
        for (let column = 0; column < width; column++) {
          const unit = Math.min(1, Math.max(0, Math.fround(pixels[start + column]! / 2 + 0.5)));
          rgb[3 * (row * width + column) + channel] = roundedToEven(Math.fround(unit * 255));
        }
      }
    }
    return rgb;
  }

  /**
   * Share of repainting per pixel, (padded height, padded width) in [0, 1]: white is 1 (repainted), black 0 (kept).
   *
   * @param mask RGB of any size; it is resized to the image
   */
  repaintFromMask(mask: Pixels): Floats {
    const grey = resizedGrey(luminance(mask), mask.width, mask.height, this.width, this.height);
    return this.mirrored(1, (_, row, column) => grey[row * this.width + column]! / 255);
  }

  /** Mean share of repainting per latent, (latent height, latent width). */
  latentsFromRepaint(repaint: Floats): Floats {
    const { latent, padded, shape: { pixels_per_latent: factor } } = this;
    return Float32Array.from({ length: latent.width * latent.height }, (_, index) => {
      const [top, left] = [Math.floor(index / latent.width) * factor, (index % latent.width) * factor];
      let sum = 0;
      for (let row = top; row < top + factor; row++) {
        for (let column = left; column < left + factor; column++) sum += repaint[row * padded.width + column]!;
      }
      return sum / factor ** 2;
    });
  }

  /** (channels, padded height, padded width) from values inside the image, mirrored at its right and lower edge. */
  private mirrored(channels: number, value: (channel: number, row: number, column: number) => number): Floats {
    const { width, height } = this.padded;
    const result = new Float32Array(channels * width * height);
    let index = 0;
    for (let channel = 0; channel < channels; channel++) {
      for (let row = 0; row < height; row++) {
        for (let column = 0; column < width; column++) {
          result[index++] = value(channel, mirroredIndex(row, this.height), mirroredIndex(column, this.width));
        }
      }
    }
    return result;
  }
}

/** The place from which a place beyond `length` is taken, as if mirrors stood at both edges. */
function mirroredIndex(index: number, length: number): number {
  const turned = index % (2 * length);
  return turned < length ? turned : 2 * length - 1 - turned;
}
