/** Images with other parameters, and masks over them, against Python's. */

import { describe, expect, test } from "vitest";
import { convertedImage, convertedMask, frameDuration } from "../../src/engine/conversion/image_conversion";
import type { Pixels } from "../../src/engine/pixels";
import { type SpectrogramParams, checkParams } from "../../src/engine/spectrogram_params";
import { bytes, golden } from "./golden";
import { exampleImage } from "./inversion_golden";

interface GoldenConversion {
  readonly name: string;
  readonly params: SpectrogramParams;
  readonly wanted: SpectrogramParams;
  readonly size: readonly [number, number];
  /** G and B of every fourth row. */
  readonly pixels: string;
  /** One byte per row. */
  readonly mask: string;
}

const CASES = golden<GoldenConversion[]>("conversions");
const DEFAULT = CASES[0]!.wanted;
const COLUMNS = 20;
const MASK_ROWS = 64;
const ROWS = 4;
/** Python's sums are of single precision. */
const ROUNDING = 1;
const MOST_ROUNDED = 0.02;

function example({ stereo, num_frequencies: height }: SpectrogramParams): Pixels {
  const grey = exampleImage(height, COLUMNS);
  const stereoPixel = (i: number): number => {
    const [pixel, plane] = [Math.floor(i / 3), i % 3];
    const mirrored = pixel - (pixel % COLUMNS) + COLUMNS - 1 - (pixel % COLUMNS);
    return plane === 0 ? 0 : grey[3 * (plane === 1 ? pixel : mirrored)]!;
  };
  return { width: COLUMNS, height, data: stereo ? grey.map((_, i) => stereoPixel(i)) : grey };
}

describe.each(CASES)("$name", ({ params, wanted, size, pixels, mask }) => {
  test("the image is Python's", () => {
    const { width, height, data } = convertedImage(example(params), params, wanted);
    expect([width, height]).toEqual(size);
    const found = Array.from({ length: Math.ceil(height / ROWS) * width * 2 }, (_, i) => {
      const [row, column] = [ROWS * Math.floor(i / (2 * width)), Math.floor(i / 2) % width];
      return data[3 * (row * width + column) + 1 + (i % 2)]!;
    });
    const differences = [...bytes(pixels)].map((pixel, i) => Math.abs(pixel - found[i]!));
    expect(Math.max(...differences)).toBeLessThanOrEqual(ROUNDING);
    expect(differences.filter((difference) => difference > 0).length / differences.length).toBeLessThan(MOST_ROUNDED);
    for (let i = 0; i < data.length; i += 3) if (data[i] !== (wanted.stereo ? 0 : data[i + 1])) throw new Error(`pixel ${i / 3} has red ${data[i]}`);
  });

  test("a mask moves as Python's does", () => {
    const rows = { width: 1, height: MASK_ROWS, data: Uint8Array.from({ length: 3 * MASK_ROWS }, (_, i) => Math.floor(i / 3)) };
    const moved = convertedMask(rows, params, wanted);
    expect(moved.data).toEqual(Uint8Array.from({ length: 3 * moved.height }, (_, i) => bytes(mask)[Math.floor(i / 3)]!));
  });
});

test("an image that has the parameters keeps its pixels, at any window and FFT", () => {
  const image = example(DEFAULT);
  expect(convertedImage(image, { ...DEFAULT, window_duration_ms: 80, padded_duration_ms: 200 }, DEFAULT)).toEqual(image);
});

test("an image of which nothing is in the wanted range is refused, silence is not", () => {
  const high = { ...DEFAULT, min_frequency: 12_000, max_frequency: 20_000 };
  expect(() => convertedImage(example(high), high, DEFAULT)).toThrow("min_frequency=12000 to max_frequency=20000 Hz, and all that is audible is outside");
  const silence = { width: 3, height: 512, data: new Uint8Array(3 * 3 * 512).fill(255) };
  expect(convertedImage(silence, high, DEFAULT)).toEqual(silence);
});

test("frames last whole samples", () => {
  expect(frameDuration({ ...DEFAULT, sample_rate: 11_025, step_size_ms: 1 })).toBe(11 / 11_025);
});

test.each<[Partial<Record<keyof SpectrogramParams, unknown>>, string]>([
  [{ sample_rate: 22_050.5 }, "sample_rate=22050.5 must be a whole number"],
  [{ num_frequencies: "512" }, "num_frequencies=512 must be a whole number"],
  [{ sample_rate: 0 }, "sample_rate=0 must be from 1000 to 384000"],
  [{ num_frequencies: 9000 }, "num_frequencies=9000 must be from 1 to 8192"],
  [{ max_mel_iters: NaN }, "max_mel_iters=NaN must be a whole number"],
  [{ power_for_image: 0 }, "power_for_image=0 must be above 0 and at most 10; 0.25 is the usual value"],
  [{ power_for_image: NaN }, "power_for_image=NaN must be above 0"],
  [{ step_size_ms: 100 }, "step_size_ms=100, window_duration_ms=100, padded_duration_ms=400 must be step < window <= padded"],
  [{ sample_rate: 1000, step_size_ms: 1, window_duration_ms: 3, max_frequency: 400 }, "window_duration_ms=3 has only 3 samples at sample_rate=1000"],
  [{ padded_duration_ms: 10_000 }, "need a filterbank of 441000 × 512; at most 67108864 cells are allowed"],
  [{ min_frequency: 10_000 }, "min_frequency=10000 must be below max_frequency=10000"],
  [{ min_frequency: 23_000, max_frequency: 24_000 }, "min_frequency=23000 must be below half of sample_rate=44100"],
  [{ mel_scale_norm: "area" }, "mel_scale_norm=area must be none or slaney"],
  [{ mel_scale_type: "bark" }, "mel_scale_type=bark must be htk or slaney"],
  [{ stereo: 2 }, "stereo=2 must be 0 or 1"],
])("parameters %o are refused", (changed, message) => {
  expect(() => checkParams({ ...DEFAULT, ...changed } as SpectrogramParams)).toThrow(message);
});
