/**
 * Writes WAV files with PCM: a 44-byte header, then little-endian samples with interleaved channels.
 */

import type { Hertz } from "../units";
import { type FileTags, lengthOfTags } from "./file_tags";
import type { PcmFormat, PcmSamples } from "./pcm";

/** One array of samples per channel, all of the same length. */
export type Channels = readonly Float32Array[];

const HEADER_BYTES = 44;
/** Format tags of WAVEFORMATEX. */
export const PCM_TAG = 1;
export const FLOAT_TAG = 3;
/** Frames that are written at once. */
export const FRAMES_PER_PART = 2 ** 18;

/** The header of a WAV file; `tagBytes` of other chunks follow the samples. */
export function wavHeader(
  numFrames: number, numChannels: number, sampleRate: Hertz, bits: PcmFormat["bits"] = 16, isFloat = false, tagBytes = 0,
): ArrayBuffer {
  const header = new ArrayBuffer(HEADER_BYTES);
  const view = new DataView(header);
  const text = (offset: number, letters: string): void => {
    for (let i = 0; i < letters.length; i++) view.setUint8(offset + i, letters.charCodeAt(i));
  };
  const frameBytes = (numChannels * bits) / 8;
  const dataBytes = numFrames * frameBytes;
  text(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + dataBytes + (dataBytes % 2) + tagBytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // size of the format chunk
  view.setUint16(20, isFloat ? FLOAT_TAG : PCM_TAG, true);
  view.setUint16(22, numChannels, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * frameBytes, true);
  view.setUint16(32, frameBytes, true);
  view.setUint16(34, bits, true);
  text(36, "data");
  view.setUint32(40, dataBytes, true);
  return header;
}

/** Rounds samples in [-1, 1] to 16 bits. Samples outside this range are clipped. */
export function pcm16(channels: Channels): Int16Array<ArrayBuffer> {
  const numFrames = channels[0]?.length ?? 0;
  const pcm = new Int16Array(numFrames * channels.length);
  channels.forEach((samples, channel) => {
    for (let i = 0; i < numFrames; i++) {
      const value = Math.round((samples[i] ?? 0) * 32767);
      pcm[i * channels.length + channel] = Math.min(32767, Math.max(-32768, value));
    }
  });
  return pcm;
}

/** A complete WAV file. */
export function wavBlob(channels: Channels, sampleRate: Hertz): Blob {
  const numFrames = channels[0]?.length ?? 0;
  return new Blob([wavHeader(numFrames, channels.length, sampleRate), pcm16(channels)], {
    type: "audio/wav",
  });
}

/**
 * A WAV file of samples that are read part by part.
 *
 * @param read returns the samples from `start` to `stop`, one array per channel, in the format's own type
 * @param tags chunks that follow the samples
 */
export function wavOf(
  format: PcmFormat, numFrames: number, read: (start: number, stop: number) => readonly PcmSamples[], tags: FileTags = [],
): Blob {
  const { numChannels, sampleRate, bits, isFloat } = format;
  const parts: BlobPart[] = [wavHeader(numFrames, numChannels, sampleRate, bits, isFloat, lengthOfTags(tags))];
  for (let start = 0; start < numFrames; start += FRAMES_PER_PART) {
    parts.push(interleaved(read(start, Math.min(numFrames, start + FRAMES_PER_PART)), format));
  }
  if ((numFrames * numChannels * bits) % 16 !== 0) parts.push(new Uint8Array(1)); // chunks have an even number of bytes
  return new Blob([...parts, ...tags], { type: "audio/wav" });
}

/** The bytes of samples in a WAV file. */
function interleaved(channels: readonly PcmSamples[], { bits, isFloat }: PcmFormat): ArrayBuffer {
  const numFrames = channels[0]?.length ?? 0;
  const bytes = bits / 8;
  const buffer = new ArrayBuffer(numFrames * channels.length * bytes);
  const view = new DataView(buffer);
  channels.forEach((samples, channel) => {
    let offset = channel * bytes;
    for (let i = 0; i < numFrames; i++, offset += channels.length * bytes) {
      const value = samples[i] ?? 0;
      if (isFloat) view.setFloat32(offset, value, true);
      else if (bits === 16) view.setInt16(offset, value, true);
      else if (bits === 32) view.setInt32(offset, value, true);
      else {
        view.setUint16(offset, value & 0xffff, true);
        view.setInt8(offset + 2, value >> 16);
      }
    }
  });
  return buffer;
}
