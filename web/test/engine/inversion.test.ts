/** Spectrogram images to audio: equal to Python's, and right by themselves. */

import { describe, expect, test } from "vitest";
import { ImageInverter, invertImage } from "../../src/engine/inversion";
import { Fourier } from "../../src/engine/inversion/fourier";
import { COMPLEX_BYTES, Kernels } from "../../src/engine/inversion/kernels";
import { bandEdges, interpolatedBands, melBands } from "../../src/engine/inversion/mel_filterbank";
import { type MelFrames, melFrames } from "../../src/engine/inversion/mel_frames";
import { reducedBins, reducedRate } from "../../src/engine/inversion/reduced_rate";
import type { SpectrogramParams } from "../../src/engine/spectrogram_params";
import { amplitudesFromPixels } from "../../src/engine/inversion/mel_image";
import { floats, golden, psnr, type SparseColumns, exampleImage, exampleLoop } from "./inversion_golden";

/** Of float32 transforms, relative to the largest value. */
const TRANSFORM_ERROR = 3e-6;
/** Python rounds powers and logarithms alike in nearly all cases; else by one unit in the last place. */
const WEIGHT_ERROR = 1e-6;
/** In dB. Rounding of the 16-bit samples is at 98 dB, and the waveforms are equal to more than 100 dB. */
const MIN_PSNR = 85;
/** Relative difference of the waveforms' errors, in mel amplitudes. */
const MAX_WORSE = 0.01;

const defaults = golden.rates[0]!.params;

describe("Fourier transforms", () => {
  /** Bin `k` of four complex signals, by the definition. */
  const expected = (re: number[][], im: number[][], k: number, lane: number): [number, number] => {
    const size = re.length;
    let [sumRe, sumIm] = [0, 0];
    for (let n = 0; n < size; n++) {
      const angle = (-2 * Math.PI * ((n * k) % size)) / size;
      const [a, b] = [re[n]![lane]!, im[n]![lane]!];
      sumRe += a * Math.cos(angle) - b * Math.sin(angle);
      sumIm += a * Math.sin(angle) + b * Math.cos(angle);
    }
    return [sumRe, sumIm];
  };

  for (const size of [1, 2, 3, 4, 5, 7, 12, 35, 60, 121, 143, 243, 1089, 2160, 4320, 8820]) {
    test(`of length ${size}`, () => {
      const kernels = new Kernels();
      const fourier = new Fourier(kernels, size);
      const [source, spare] = [kernels.reserve(fourier.bytes), kernels.reserve(fourier.bytes)];
      const row = (n: number, seed: number): number[] => [0, 1, 2, 3].map((lane) => Math.sin(n * n * 0.37 + seed + lane));
      const re = Array.from({ length: size }, (_, n) => row(n, 0.1));
      const im = Array.from({ length: size }, (_, n) => row(n, 5.3));
      const input = kernels.floats(source, (size * COMPLEX_BYTES) / 4);
      re.forEach((values, n) => input.set([...values, ...im[n]!], 8 * n));
      const output = kernels.floats(fourier.transform(source, spare), (size * COMPLEX_BYTES) / 4);
      const bins = size <= 300 ? re.map((_, k) => k) : [0, 1, 2, 3, 63, size >> 1, (size >> 1) + 1, size - 2, size - 1];
      for (const k of bins) {
        for (let lane = 0; lane < 4; lane++) {
          const [wantedRe, wantedIm] = expected(re, im, k, lane);
          expect(Math.abs(output[8 * k + lane]! - wantedRe)).toBeLessThan(TRANSFORM_ERROR * size);
          expect(Math.abs(output[8 * k + 4 + lane]! - wantedIm)).toBeLessThan(TRANSFORM_ERROR * size);
        }
      }
    });
  }
});

describe("the same constants as Python's", () => {
  for (const { params, ...wanted } of golden.rates) {
    test(`reduced rate of ${params.sample_rate} Hz with bands to ${params.max_frequency} Hz`, () => {
      const frames = melFrames(params);
      const rate = reducedRate(frames);
      const [fine, coarse] = [reducedBins(frames, rate, 2), reducedBins(frames, rate, 1)];
      expect({
        hop: rate.hop, window_length: rate.windowLength, min_frames: rate.minFrames,
        fine_size: fine.size, coarse_size: coarse.size, full_size: fine.fullSize,
      }).toEqual(wanted);
    });
  }

  /** Compares rows of weights, without the zeros at their ends. */
  const expectColumns = (found: { first: number; weights: Float32Array }[], { rows, weights }: SparseColumns): void => {
    const wanted = floats(weights);
    expect(found.flatMap(({ first, weights: { length } }) => (length === 0 ? [0, 0] : [first, length]))).toEqual(rows);
    found.flatMap((row) => Array.from(row.weights)).forEach((weight, i) => {
      expect(Math.abs(weight - wanted[i]!)).toBeLessThanOrEqual(WEIGHT_ERROR * Math.max(1, wanted[i]!));
    });
  };

  for (const { params, bands, reduced } of golden.filterbanks) {
    test(`mel bands, ${params.mel_scale_type}`, () => {
      const frames = melFrames(params);
      expectColumns(melBands(frames), bands);
      const { binHz, numBins } = reducedBins(frames, reducedRate(frames), 1);
      const matrix = interpolatedBands(frames, binHz, numBins);
      let index = 0;
      expectColumns(Array.from({ length: frames.numBands }, (_, band) => {
        const count = matrix.rows[2 * band + 1]!;
        return { first: matrix.rows[2 * band]!, weights: matrix.weights.slice(index, (index += count)) };
      }), reduced);
    });
  }
});

/** Mel amplitudes by their definition: frames centred on multiples of the hop, their ends reflected. */
function melAmplitudes(waveform: Float32Array, numFrames: number, frames: MelFrames): Float32Array {
  const { numFft, windowLength, hop, numBands } = frames;
  const kernels = new Kernels();
  const fourier = new Fourier(kernels, numFft);
  const [source, spare] = [kernels.reserve(fourier.bytes), kernels.reserve(fourier.bytes)];
  const bands = melBands(frames);
  const amplitudes = new Float32Array(numFrames * numBands);
  const start = (numFft - windowLength) >> 1;
  const numSamples = Math.max(waveform.length, (numFft >> 1) + 1); // silence follows what is too short to be reflected
  for (let frame = 0; frame < numFrames; frame++) {
    const input = kernels.floats(source, 8 * numFft).fill(0);
    for (let i = 0; i < windowLength; i++) {
      const at = Math.abs(frame * hop - (numFft >> 1) + start + i);
      const reflected = at < numSamples ? at : 2 * numSamples - 2 - at;
      input[8 * i] = (waveform[reflected] ?? 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / windowLength));
    }
    const output = kernels.floats(fourier.transform(source, spare), 8 * numFft);
    bands.forEach(({ first, weights }, band) => {
      amplitudes[frame * numBands + band] = weights.reduce(
        (sum, weight, i) => sum + weight * Math.hypot(output[8 * (first + i)]!, output[8 * (first + i) + 4]!), 0);
    });
  }
  return amplitudes;
}

/** Distance of all amplitudes, relative to the wanted ones. */
function distance(found: Float32Array, wanted: Float32Array): number {
  const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return norm(wanted.map((value, i) => value - found[i]!)) / norm(wanted);
}

describe("audio of images", () => {
  test.each([false, true])("is finite if windows are two hops long, and samples no multiple of four (circular: %s)", (circular) => {
    const params = { ...golden.clips[0]!.params, step_size_ms: 20, window_duration_ms: 40, num_griffin_lim_iters: 3 };
    const waveform = invertImage(exampleImage(512, 14), 14, 512, params, { normalize: false, circular });
    expect(waveform.every(Number.isFinite)).toBe(true);
    expect(waveform.some((value) => Math.abs(value) > 0.1)).toBe(true);
  });

  for (const clip of golden.clips) {
    test(`as Python's: ${clip.name}`, () => {
      const { params, columns, ends } = clip;
      const image = (ends === "loop" ? exampleLoop : exampleImage)(params.num_frequencies, columns);
      const options = { normalize: false, circular: ends !== "reflected" };
      const waveform = invertImage(image, columns, params.num_frequencies, params, options);
      expect(waveform.length).toBe(clip.num_samples);
      if (clip.kept) expect(psnr(waveform, clip.kept)).toBeGreaterThan(MIN_PSNR);
      const wanted = amplitudesFromPixels(image, columns, params.num_frequencies, params.power_for_image);
      const found = melAmplitudes(waveform, columns, melFrames(params));
      const worse = distance(found, wanted) / clip.convergence - 1;
      expect(Math.abs(worse)).toBeLessThan(MAX_WORSE);
    });
  }

  /** An image with one row of a grey. */
  const tone = (band: number, columns: number, params: SpectrogramParams): Uint8Array => {
    const rgb = new Uint8Array(3 * columns * params.num_frequencies).fill(255);
    const row = params.num_frequencies - 1 - band;
    return rgb.fill(0, 3 * columns * row, 3 * columns * (row + 1));
  };

  for (const band of [40, 150, 400]) {
    test(`band ${band} alone is a tone of its frequency`, () => {
      const samples = invertImage(tone(band, 40, defaults), 40, 512, defaults);
      const edges = bandEdges(melFrames(defaults));
      let crossings = 0;
      for (let i = 4410; i < 13230; i++) if (samples[i]! <= 0 && samples[i + 1]! > 0) crossings++;
      const hz = crossings / ((13230 - 4410) / defaults.sample_rate);
      expect(hz).toBeGreaterThan(edges[band]! - 5);
      expect(hz).toBeLessThan(edges[band + 2]! + 5);
    });
  }

  test("equal images give equal audio, after images of other sizes, too, and memory stays the same", () => {
    const inverter = new ImageInverter(defaults);
    const image = exampleImage(512, 40);
    const first = inverter.invert(image, 40, 512);
    inverter.invert(exampleImage(512, 64), 64, 512);
    const bytes = inverter.memoryBytes;
    expect(inverter.invert(image, 40, 512)).toEqual(first);
    for (const columns of [64, 3, 64, 17]) inverter.invert(exampleImage(512, columns), columns, 512);
    expect(inverter.invert(image, 40, 512)).toEqual(first);
    expect(inverter.memoryBytes).toBe(bytes);
  });

  test("white is silence", () => {
    const samples = invertImage(new Uint8Array(3 * 512 * 20).fill(255), 20, 512, defaults);
    expect(samples.length).toBe(20 * 441);
    expect(samples.every((value) => value === 0)).toBe(true);
  });

  test("black everywhere is finite and below full scale", () => {
    const samples = invertImage(new Uint8Array(3 * 512 * 20), 20, 512, defaults);
    expect(samples.every((value) => Math.abs(value) < 0.9)).toBe(true);
  });

  test("images of another size, and stereo, are refused", () => {
    expect(() => invertImage(new Uint8Array(3 * 256 * 20), 20, 256, defaults))
      .toThrow("height=256 must equal num_frequencies=512");
    expect(() => invertImage(new Uint8Array(5), 20, 512, defaults)).toThrow("5 bytes must be 3");
    expect(() => invertImage(new Uint8Array(0), 0, 512, defaults)).toThrow("at least one column");
    expect(() => new ImageInverter({ ...defaults, stereo: true })).toThrow("stereo=true");
  });
});
