/**
 * Samples as a file holds them: integers of 16, 24 or 32 bits, or 32-bit floats. What nobody edits is copied from
 * file to file without a conversion.
 */

import type { Hertz } from "../units";

/** One channel. Samples of 24 bits are in the lower 24 bits of an `Int32Array`, with their sign. */
export type PcmSamples = Int16Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>;

export interface PcmFormat {
  readonly sampleRate: Hertz;
  readonly numChannels: number;
  readonly bits: 16 | 24 | 32;
  /** Whether the samples are 32-bit floats. */
  readonly isFloat: boolean;
}

export interface Pcm {
  readonly format: PcmFormat;
  /** One array per channel, all of the same length. */
  readonly channels: readonly PcmSamples[];
}

/** The value of a full-scale sample: samples divided by it are in [-1, 1]. */
export function fullScale({ bits, isFloat }: PcmFormat): number {
  return isFloat ? 1 : 2 ** (bits - 1);
}

/** An array for `length` samples of one channel, all of them 0. */
export function emptySamples({ bits, isFloat }: PcmFormat, length: number): PcmSamples {
  if (isFloat) return new Float32Array(length);
  return bits === 16 ? new Int16Array(length) : new Int32Array(length);
}

/** Whether two formats hold the same samples. */
export function isSameFormat(a: PcmFormat, b: PcmFormat): boolean {
  return a.sampleRate === b.sampleRate && a.numChannels === b.numChannels && a.bits === b.bits && a.isFloat === b.isFloat;
}

/** `audio` with its samples rounded to another number of bits, or as floats. Samples beyond full scale are clipped, except as floats. */
export function converted({ format, channels }: Pcm, bits: PcmFormat["bits"], isFloat: boolean): Pcm {
  const target: PcmFormat = { ...format, bits, isFloat };
  const factor = fullScale(target) / fullScale(format);
  const [lowest, highest] = [-fullScale(target), fullScale(target) - 1];
  return {
    format: target,
    channels: channels.map((samples) => {
      const result = emptySamples(target, samples.length);
      for (let i = 0; i < samples.length; i++) {
        const value = (samples[i] ?? 0) * factor;
        result[i] = isFloat ? value : Math.min(highest, Math.max(lowest, Math.round(value)));
      }
      return result;
    }),
  };
}

/**
 * The integers of `bits` bits that a decoder has turned into floats.
 *
 * Decoders divide by 2^(bits-1); some divide positive samples by one less, so that 1 is full scale. The floats
 * show which: one of the two gives integers everywhere.
 *
 * @returns the samples, and whether all of them were integers, so that nothing is lost
 */
export function integersFrom(
  channels: readonly Float32Array[], format: PcmFormat,
): { readonly channels: readonly PcmSamples[]; readonly isExact: boolean } {
  const scale = fullScale(format);
  const isWhole = (positiveScale: number, tolerance: number): boolean => channels.every((samples) => samples.every((value) => {
    const wanted = value * (value > 0 ? positiveScale : scale);
    return Math.abs(wanted - Math.round(wanted)) <= tolerance;
  }));
  const isSymmetric = isWhole(scale, 0); // a division by a power of two rounds nothing
  const isExact = isSymmetric || isWhole(scale - 1, INTEGER_TOLERANCE);
  const positiveScale = isExact && !isSymmetric ? scale - 1 : scale;
  const integers = channels.map((samples) => {
    const result = emptySamples(format, samples.length);
    for (let i = 0; i < samples.length; i++) {
      const value = samples[i] ?? 0;
      result[i] = Math.min(scale - 1, Math.max(-scale, Math.round(value * (value > 0 ? positiveScale : scale))));
    }
    return result;
  });
  return { channels: integers, isExact };
}

/** A float of 24 bits is off by at most half a unit in its last place: 0.25 of a 24-bit sample's step. */
const INTEGER_TOLERANCE = 0.26;
