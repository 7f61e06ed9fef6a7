/**
 * Images with other spectrogram parameters than the checkpoint's: pitch and length stay, rows and columns change. As in
 * Python's `spectrogram/image_conversion.py`, which derives it:
 *
 *     pixels ─▶ mel amplitudes ─▶ one or two channels ─▶ frames of the other step ─▶ bins ─▶ mel bands ─▶ pixels
 */

import type { Hertz, Seconds } from "../../units";
import { roundedToEven } from "../arrays";
import { hzFromMelExactly, melFromHz } from "../inversion/mel_filterbank";
import { melFrames } from "../inversion/mel_frames";
import { type Pixels, withHeight } from "../pixels";
import type { SpectrogramParams } from "../spectrogram_params";
import { BandConversion } from "./band_conversion";

/** Share of the power, -40 dB, below which the rest of an image counts as nothing. */
const INAUDIBLE = 1e-4;
const SCALE_FIELDS = ["min_frequency", "max_frequency", "mel_scale_type"] as const;
const BAND_FIELDS = ["num_frequencies", ...SCALE_FIELDS, "mel_scale_norm"] as const;
const FIELDS = ["stereo", "step_size_ms", ...BAND_FIELDS, "power_for_image"] as const;

const f32 = Math.fround;

/** Mel amplitudes of one channel: frame by frame, each from its lowest band on. Black is 1. */
type Amplitudes = Float32Array<ArrayBuffer>;

/** Duration of a frame: whole samples, so at some rates not exactly the step. */
export function frameDuration(params: SpectrogramParams): Seconds {
  return melFrames(params).hop / params.sample_rate;
}

/**
 * An RGB image with other parameters, which lasts as long to the nearest frame; one that has them already keeps its pixels.
 *
 * @param params those of the image, which may have any height
 * @throws RangeError if all that is audible in it is outside the range of `wanted`, or a filterbank would be too large
 */
export function convertedImage(pixels: Pixels, params: SpectrogramParams, wanted: SpectrogramParams): Pixels {
  const differs = (names: readonly (keyof SpectrogramParams)[]): boolean => names.some((name) => params[name] !== wanted[name]);
  const [duration, wantedDuration] = [frameDuration(params), frameDuration(wanted)];
  if (!differs(FIELDS) && duration === wantedDuration) return withHeight(pixels, wanted.num_frequencies);
  let channels = channelsOf(withHeight(pixels, params.num_frequencies), params);
  const loudest = Math.max(...channels.map(largest));
  if (channels.length === 2 && !wanted.stereo) channels = [mean(channels[0]!, channels[1]!)];
  channels = channels.map((channel) => withFrames(channel, params.num_frequencies, duration, wantedDuration));
  if (differs(BAND_FIELDS)) channels = withBands(channels, params, wanted);
  return imageOf(channels, wanted, loudest);
}

/**
 * A mask over an image, of any size: its rows move to where the conversion of the image moves the frequencies.
 * Frequencies beyond the range of `params` continue its edge.
 */
export function convertedMask(mask: Pixels, params: SpectrogramParams, wanted: SpectrogramParams): Pixels {
  if (SCALE_FIELDS.every((name) => params[name] === wanted[name])) return mask;
  const { width, height, data } = mask;
  const own = rowFrequencies(params);
  const heights = rowFrequencies(wanted).map((hz) => (placeOf(hz, own) + 0.5) * (height / own.length));
  const rows = heights.map((above) => height - 1 - Math.min(height - 1, Math.trunc(above))).reverse();
  const moved = new Uint8Array(rows.length * width * 3);
  rows.forEach((row, i) => moved.set(data.subarray(3 * row * width, 3 * (row + 1) * width), 3 * i * width));
  return { width, height: rows.length, data: moved };
}

/** One channel from R, or two from G and B. */
function channelsOf({ width, height, data }: Pixels, { stereo, power_for_image: power }: SpectrogramParams): Amplitudes[] {
  const ofPixel = Float32Array.from({ length: 256 }, (_, pixel) => f32((255 - pixel) / 255) ** f32(1 / power));
  return (stereo ? [1, 2] : [0]).map((plane) => {
    const amplitudes = new Float32Array(width * height);
    for (let row = 0, at = plane; row < height; row++) {
      for (let column = 0; column < width; column++, at += 3) amplitudes[column * height + height - 1 - row] = ofPixel[data[at]!]!;
    }
    return amplitudes;
  });
}

function mean(a: Amplitudes, b: Amplitudes): Amplitudes {
  return a.map((value, i) => f32(value + b[i]!) / 2);
}

/** Interpolates linearly at the times of the wanted frames. */
function withFrames(amplitudes: Amplitudes, numBands: number, duration: Seconds, wantedDuration: Seconds): Amplitudes {
  const numFrames = amplitudes.length / numBands;
  const numWanted = Math.max(1, roundedToEven((numFrames * duration) / wantedDuration));
  const frames = new Float32Array(numWanted * numBands);
  for (let frame = 0; frame < numWanted; frame++) {
    const position = Math.min(frame * (wantedDuration / duration), numFrames - 1);
    const below = Math.trunc(position);
    const above = Math.min(below + 1, numFrames - 1);
    const share = f32(position - below);
    for (let band = 0; band < numBands; band++) {
      const [before, after] = [amplitudes[below * numBands + band]!, amplitudes[above * numBands + band]!];
      frames[frame * numBands + band] = f32(before * f32(1 - share)) + f32(after * share);
    }
  }
  return frames;
}

function withBands(channels: readonly Amplitudes[], params: SpectrogramParams, wanted: SpectrogramParams): Amplitudes[] {
  const conversion = new BandConversion(params, wanted);
  const converted = channels.map((channel) => conversion.convert(channel));
  const { power, powerInside } = conversion;
  if (powerInside >= INAUDIBLE * power) return converted;
  const range = (of: SpectrogramParams): string => `min_frequency=${of.min_frequency} to max_frequency=${of.max_frequency} Hz`;
  throw new RangeError(`${range(params)}, and all that is audible is outside of the checkpoint's ${range(wanted)}; use another image`);
}

/** @param loudest darkness of the darkest pixel, as an amplitude in [0, 1] */
function imageOf(channels: readonly Amplitudes[], { num_frequencies: height, stereo, power_for_image: power }: SpectrogramParams, loudest: number): Pixels {
  const most = Math.max(...channels.map(largest));
  const width = channels[0]!.length / height;
  const data = new Uint8Array(3 * width * height);
  const planes = stereo ? [null, channels[0]!, channels.at(-1)!] : [channels[0]!, channels[0]!, channels[0]!];
  planes.forEach((channel, plane) => {
    if (channel === null) return; // R is 0 in stereo images
    for (let column = 0; column < width; column++) {
      for (let band = 0; band < height; band++) {
        const relative = most > 0 ? f32(f32(channel[column * height + band]! / most) * loudest) : 0;
        data[3 * ((height - 1 - band) * width + column) + plane] = roundedToEven(f32(255 - f32(255 * f32(relative ** f32(power)))));
      }
    }
  });
  return { width, height, data };
}

function largest(values: Amplitudes): number {
  return values.reduce((most, value) => Math.max(most, value), 0);
}

/** Centre frequency of each row, the lowest first. */
function rowFrequencies({ num_frequencies: count, min_frequency: min, max_frequency: max, mel_scale_type: scale }: SpectrogramParams): Hertz[] {
  const [low, high] = [melFromHz(min, scale), melFromHz(max, scale)];
  return Array.from({ length: count }, (_, row) => hzFromMelExactly(low + ((row + 1) * (high - low)) / (count + 1), scale));
}

/** Between which of the ascending values a value is, as a fractional index; at the nearest end if it is outside of them. */
function placeOf(value: number, ascending: readonly number[]): number {
  const above = ascending.findIndex((each) => each > value);
  if (above < 0) return ascending.length - 1;
  if (above === 0) return 0;
  const [before, after] = [ascending[above - 1]!, ascending[above]!];
  return above - 1 + (value - before) / (after - before);
}
