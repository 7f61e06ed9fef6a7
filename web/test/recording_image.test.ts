/** Images of recordings, and their files, against Python's; see `scripts/write_recording_golden.py`. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { pngOf } from "../src/backend/png_image";
import { melImage } from "../src/engine/analysis/mel_image";
import { MixedRadixFft } from "../src/engine/analysis/mixed_radix_fft";
import type { SpectrogramParams } from "../src/engine/spectrogram_params";
import { recordedParams } from "../src/engine/recorded_params";
import { decodePng } from "./engine/png";

interface Golden {
  readonly params: SpectrogramParams;
  readonly width: number;
  readonly height: number;
  readonly pixels: string;
  readonly exif: string;
}

const golden = JSON.parse(readFileSync(new URL("./golden/recording.json", import.meta.url), "utf8")) as Golden;
const NUM_SAMPLES = 11_000;
const PERIOD = 147;
/** Python computes in single precision, so a pixel may be rounded the other way. */
const ROUNDING = 1;
const MOST_ROUNDED = 0.01;

/** The samples of `made_up_samples` in the script. */
function madeUpSamples(): Float32Array {
  let state = 1;
  return Float32Array.from({ length: NUM_SAMPLES }, (_, i) => {
    state = (state * 16807) % (2 ** 31 - 1);
    const triangle = Math.abs((i % PERIOD) / PERIOD - 0.5) * 4 - 1;
    return 0.5 * triangle * (1 - i / NUM_SAMPLES) + 0.02 * (state / 2 ** 30 - 1);
  });
}

describe("the image of a recording", () => {
  it("is Python's", () => {
    const { width, height, data } = melImage(madeUpSamples(), golden.params);
    expect([width, height]).toEqual([golden.width, golden.height]);
    const expected = Buffer.from(golden.pixels, "base64");
    const differences = Array.from(expected, (pixel, i) => Math.abs(pixel - data[3 * i]!));
    expect(Math.max(...differences)).toBeLessThanOrEqual(ROUNDING);
    expect(differences.filter((difference) => difference > 0).length / differences.length).toBeLessThan(MOST_ROUNDED);
    expect(data.every((value, i) => value === data[i - (i % 3)])).toBe(true);
  });

  it("has a column for audio that is shorter than a window, and is white for silence", () => {
    expect(melImage(Float32Array.of(0.5), golden.params).width).toBe(1);
    expect(melImage(new Float32Array(882), golden.params).data.every((value) => value === 255)).toBe(true);
  });
});

describe("the Fourier transform", () => {
  it.each([1, 2, 7, 12, 49, 210])("of %d values is the sum that defines it", (size) => {
    const re = Float64Array.from({ length: size }, (_, i) => Math.sin(i * i));
    const im = Float64Array.from({ length: size }, (_, i) => Math.cos(3 * i));
    const [toRe, toIm] = [new Float64Array(size), new Float64Array(size)];
    new MixedRadixFft(size).transform(re, im, toRe, toIm);
    for (let k = 0; k < size; k++) {
      let [sumRe, sumIm] = [0, 0];
      for (let i = 0; i < size; i++) {
        const angle = (-2 * Math.PI * i * k) / size;
        sumRe += re[i]! * Math.cos(angle) - im[i]! * Math.sin(angle);
        sumIm += re[i]! * Math.sin(angle) + im[i]! * Math.cos(angle);
      }
      expect(toRe[k]).toBeCloseTo(sumRe, 9);
      expect(toIm[k]).toBeCloseTo(sumIm, 9);
    }
  });
});

describe("the PNG of an image", () => {
  it("says what it was made with, also numbers of more than 16 bits", async () => {
    const params = { ...golden.params, sample_rate: 192_000, max_frequency: 90_000, power_for_image: 0.3, mel_scale_norm: "slaney" as const };
    const file = await pngOf({ width: 1, height: 1, data: new Uint8Array(3) }, params);
    expect(recordedParams(new Uint8Array(await file.arrayBuffer()))).toEqual({ params, maxValue: null });
  });

  it("has its pixels, and the parameters in the EXIF that Pillow writes", async () => {
    const [width, height] = [5, 3];
    const data = Uint8Array.from({ length: 3 * width * height }, (_, i) => (i * 97) % 256);
    const blob = await pngOf({ width, height, data }, golden.params);
    const decoded = await decodePng(blob);
    expect([decoded.width, decoded.height]).toEqual([width, height]);
    expect(Array.from({ length: data.length }, (_, i) => decoded.data[4 * Math.floor(i / 3) + (i % 3)])).toEqual([...data]);
    const hex = Buffer.from(await blob.arrayBuffer()).toString("hex");
    expect(hex).toContain(Buffer.from("eXIf").toString("hex") + golden.exif);
  });
});
