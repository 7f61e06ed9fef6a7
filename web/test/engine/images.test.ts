/** Images and masks: resizing against Pillow's, sizes, transparency and errors. */

import { describe, expect, test } from "vitest";
import { LatentGeometry } from "../../src/engine/geometry";
import { ImageLibrary } from "../../src/engine/images";
import { type Pixels, luminance, resizedGrey, rgbFromRgba, withHeight } from "../../src/engine/pixels";
import { type RecordedParams, recordedParams } from "../../src/engine/recorded_params";
import { bytes, golden, largestDifference } from "./golden";
import { BASE_URL, fetchData } from "./node_engine";
import { decodePng } from "./png";

interface GoldenMask {
  readonly size: readonly [number, number];
  readonly greys: string;
  readonly latents: number[];
  readonly lanczos: string;
}

/** Each axis is rounded to bytes, and versions of Pillow differ in which one is first. */
const GREY_TOLERANCE = 1;
interface GoldenImage {
  readonly format: string;
  readonly file: string;
  readonly recorded: RecordedParams;
}

const SHAPE = { pixels_per_latent: 8, size_multiple: 32 };

/** The same made-up pixels as in Python. */
function madeUp(width: number, height: number): Pixels {
  const value = (index: number): number => Number(((BigInt(index) ** 2n * 31n) % 65_537n) % 256n);
  return { width, height, data: Uint8Array.from({ length: width * height * 3 }, (_, index) => value(index)) };
}

describe.each(golden<GoldenMask[]>("masks"))("a mask of $size pixels", ({ size: [width, height], greys, latents, lanczos }) => {
  const mask = madeUp(width, height);
  const geometry = new LatentGeometry(40, 24, SHAPE);

  test("is resized as by Pillow", () => {
    expect(largestDifference(resizedGrey(luminance(mask), width, height, 40, 24), bytes(greys))).toBeLessThanOrEqual(GREY_TOLERANCE);
  });

  test("has Python's means per latent", () => {
    expect(largestDifference(geometry.latentsFromRepaint(geometry.repaintFromMask(mask)), latents)).toBeLessThan(GREY_TOLERANCE / 255);
  });

  test("gets another height as by Pillow, bit for bit", () => {
    const { data } = withHeight(mask, 24);
    const corner = Uint8Array.from(bytes(lanczos), (_, i) => data[Math.floor(i / 24) * width * 3 + (i % 24)]!);
    expect(corner).toEqual(bytes(lanczos));
  });
});

describe("LatentGeometry", () => {
  test("an image's own pixels come back, and beyond its edges they are mirrored", () => {
    const geometry = new LatentGeometry(30, 20, SHAPE);
    const image = madeUp(30, 20);
    const pixels = geometry.pixelsFromImage(image);
    expect(geometry.imageFromPixels(pixels)).toEqual(image.data);
    expect(geometry.padded).toEqual({ width: 32, height: 32 });
    expect(geometry.latent).toEqual({ width: 4, height: 4 });
    expect([pixels[30], pixels[31]]).toEqual([pixels[29], pixels[28]]);
    expect(pixels[20 * 32]).toBe(pixels[19 * 32]);
  });

  test("decoded values outside of the range are the darkest and the lightest", () => {
    const geometry = new LatentGeometry(32, 32, SHAPE);
    expect(geometry.imageFromPixels(new Float32Array(3 * 32 * 32).fill(1.5)).every((value) => value === 255)).toBe(true);
    expect(geometry.imageFromPixels(new Float32Array(3 * 32 * 32).fill(-1.5)).every((value) => value === 0)).toBe(true);
  });
});

describe.each(golden<GoldenImage[]>("images"))("a $format image", ({ file, recorded }) => {
  test("has the parameters that Python recorded", () => {
    expect(recordedParams(Uint8Array.from(bytes(file)))).toEqual(recorded);
  });

  test("of which the end is missing has none, or all, but no others", () => {
    const whole = bytes(file);
    for (let length = 4; length < whole.length; length++) {
      expect([null, JSON.stringify(recorded)]).toContain(jsonOrNull(recordedParams(Uint8Array.from(whole.slice(0, length)))));
    }
  });
});

describe("ImageLibrary", () => {
  const library = new ImageLibrary(BASE_URL, decodePng, fetchData);

  test("transparent parts of a seed image are white, those of a mask black", () => {
    const clear = { width: 1, height: 1, data: Uint8Array.of(10, 20, 30, 0) };
    expect(rgbFromRgba(clear, 255).data).toEqual(Uint8Array.of(255, 255, 255));
    expect(rgbFromRgba(clear, 0).data).toEqual(Uint8Array.of(0, 0, 0));
    expect(rgbFromRgba({ ...clear, data: Uint8Array.of(10, 20, 30, 255) }, 255).data).toEqual(Uint8Array.of(10, 20, 30));
  });

  test("a seed image has the size of a clip", async () => {
    const { pixels } = await library.initImage({ kind: "id", id: "og_beat" });
    expect([pixels.width, pixels.height]).toEqual([512, 512]);
  });

  test("a seed image says what it was made with, and a picture of something else does not", async () => {
    const { recorded } = await library.initImage({ kind: "id", id: "og_beat" });
    expect(recorded).toMatchObject({ params: { sample_rate: 44_100, num_frequencies: 512, mel_scale_norm: null } });
    expect(recordedParams(Uint8Array.from([1, 2, 3]))).toBeNull();
    expect(recordedParams(new TextEncoder().encode("GIF89a and more"))).toBeNull();
  });

  test("an unknown id is refused", async () => {
    await expect(library.initImage({ kind: "id", id: "no_beat" })).rejects.toThrow("seed_image_id: 'no_beat' is not in the library");
    await expect(library.mask({ kind: "id", id: "../secret" })).rejects.toThrow("mask_image_id: '../secret' is not in the library");
  });

  test("what is no image is refused", async () => {
    const dataUrl = `data:image/png;base64,${btoa("not a picture")}`;
    await expect(library.initImage({ kind: "own", dataUrl })).rejects.toThrow("init_image: is not an image");
    await expect(library.mask({ kind: "own", dataUrl: "https://example.test/a.png" })).rejects.toThrow("mask_image: must be a data URL");
  });

  test("an image of too many columns is refused", async () => {
    const huge = new ImageLibrary(BASE_URL, () => Promise.resolve({ width: 6001, height: 512, data: new Uint8Array(0) }), fetchData);
    await expect(huge.initImage({ kind: "id", id: "og_beat" })).rejects.toThrow("seed_image_id: the image is 6001×512 pixels");
  });
});

function jsonOrNull(value: unknown): string | null {
  return value === null ? null : JSON.stringify(value);
}
