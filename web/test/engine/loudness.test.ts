/** Loudness, true peak and the limiter: equal to Python's. */

import { describe, expect, test } from "vitest";
import { Kernels } from "../../src/engine/inversion/kernels";
import { normalized } from "../../src/engine/inversion/loudness";
import { measureLoudness } from "../../src/engine/inversion/loudness_meter";
import { envelope } from "../../src/engine/inversion/true_peak";
import { golden, psnr, exampleSignal } from "./inversion_golden";

/** Python weights by FFT, and measures peaks in float64. */
const LOUDNESS_ERROR_LU = 1e-6;
const PEAK_ERROR_DB = 1e-4;
/** The 16-bit samples are rounded at 98 dB. */
const MIN_PSNR = 90;

const kernels = new Kernels();
const truePeakDb = (samples: Float32Array, circular = false): number =>
  20 * Math.log10(envelope(kernels, samples, circular).reduce((most, value) => Math.max(most, value), 0));

describe("as Python's", () => {
  for (const signal of golden.loudness) {
    test(signal.name, () => {
      const waveform = exampleSignal(signal.sample_rate, signal.num_samples, signal.tone, signal.clicks);
      const result = normalized(kernels, waveform, signal.sample_rate, signal.circular);
      if (signal.lufs === null) {
        expect(measureLoudness(waveform, signal.sample_rate)).toBe(-Infinity);
        expect(result.every((value) => value === 0)).toBe(true);
        return;
      }
      expect(Math.abs(measureLoudness(waveform, signal.sample_rate) - signal.lufs)).toBeLessThan(LOUDNESS_ERROR_LU);
      expect(Math.abs(truePeakDb(result, signal.circular) - signal.true_peak_db!)).toBeLessThan(PEAK_ERROR_DB);
      expect(psnr(result, signal.kept)).toBeGreaterThan(MIN_PSNR);
    });
  }
});

test("a full-scale sine of 1 kHz is at -3 LUFS and 0 dBTP", () => {
  const sine = Float32Array.from({ length: 48_000 }, (_, i) => Math.sin((2 * Math.PI * 1000 * i) / 48_000));
  expect(measureLoudness(sine, 48_000)).toBeCloseTo(-3, 1);
  expect(truePeakDb(sine)).toBeCloseTo(0, 1);
});

test("the peak between samples is found", () => {
  // A sine at a quarter of the rate, sampled at 45°, 135° …, has samples of 0.707 and a peak of 1.
  const sine = Float32Array.from({ length: 4000 }, (_, i) =>
    Math.sin((Math.PI / 2) * i + Math.PI / 4) * Math.sin((Math.PI * i) / 4000));
  expect(truePeakDb(sine)).toBeCloseTo(0, 1);
});

test("music reaches the target, and its peaks the ceiling at most", () => {
  const waveform = exampleSignal(44_100, 88_200, 0.1, 0.9);
  const result = normalized(kernels, waveform, 44_100);
  expect(Math.abs(measureLoudness(result, 44_100) + 14)).toBeLessThan(0.06);
  expect(truePeakDb(result)).toBeLessThan(-1);
});

test("no samples are silence", () => {
  expect(measureLoudness(new Float32Array(0), 44_100)).toBe(-Infinity);
  expect(normalized(kernels, new Float32Array(0), 44_100)).toHaveLength(0);
});

test("a sample rate that is too low for the measurement is refused", () => {
  expect(() => normalized(kernels, new Float32Array(100), 4000)).toThrow("sample_rate=4000 must be at least 8000");
});
