/**
 * Reads WAV files with PCM of 16, 24 or 32 bits or 32-bit floats, to the bit.
 *
 *     "RIFF" size "WAVE"   then chunks: name, size, content, and a byte of padding after an odd size
 *     "fmt "               tag, channels, rate, bytes per second, bytes per frame, bits [, extension]
 *     "data"               samples, little-endian, interleaved
 *
 * The extension of tag 0xFFFE has the number of valid bits and the real tag. Other chunks are skipped.
 */

import { type Pcm, type PcmFormat, emptySamples } from "./pcm";
import { FLOAT_TAG, PCM_TAG } from "./wav";

const EXTENSIBLE_TAG = 0xfffe;
/** Where the extension has the real tag: the first two bytes of the sub-format's GUID. */
const SUB_FORMAT_OFFSET = 24;

/** Samples of a WAV file that is still in its file. */
export interface WavLayout {
  readonly format: PcmFormat;
  readonly numFrames: number;
  /** Where the samples begin, in bytes. */
  readonly offset: number;
}

/**
 * Where the samples of a WAV file are, or null if it isn't one, or has another encoding (8 bits, A-law, ADPCM …).
 *
 * A data chunk that claims more bytes than there are, as streaming writers leave it, ends at the end of the file.
 */
export function wavLayout(file: ArrayBuffer): WavLayout | null {
  const view = new DataView(file);
  const name = (offset: number): string => String.fromCharCode(...new Uint8Array(file, offset, 4));
  if (file.byteLength < 12 || name(0) !== "RIFF" || name(8) !== "WAVE") return null;
  let format: PcmFormat | null = null;
  for (let at = 12; at + 8 <= file.byteLength; ) {
    const [chunk, size, start] = [name(at), view.getUint32(at + 4, true), at + 8];
    if (chunk === "fmt " && size >= 16 && start + size <= file.byteLength) format = formatOf(new DataView(file, start, size));
    if (chunk === "data") {
      if (format === null) return null;
      const frameBytes = (format.numChannels * format.bits) / 8;
      return { format, numFrames: Math.floor(Math.min(size, file.byteLength - start) / frameBytes), offset: start };
    }
    at = start + size + (size % 2);
  }
  return null;
}

/** The samples of a WAV file, or null as `wavLayout`. */
export function readWav(file: ArrayBuffer): Pcm | null {
  const layout = wavLayout(file);
  if (layout === null) return null;
  const { format, numFrames, offset } = layout;
  const view = new DataView(file, offset);
  const bytes = format.bits / 8;
  const step = format.numChannels * bytes;
  const channels = Array.from({ length: format.numChannels }, (_, channel) => {
    const samples = emptySamples(format, numFrames);
    let at = channel * bytes;
    for (let i = 0; i < numFrames; i++, at += step) {
      if (format.isFloat) samples[i] = view.getFloat32(at, true);
      else if (format.bits === 16) samples[i] = view.getInt16(at, true);
      else if (format.bits === 32) samples[i] = view.getInt32(at, true);
      else samples[i] = view.getUint16(at, true) | (view.getInt8(at + 2) << 16);
    }
    return samples;
  });
  return { format, channels };
}

function formatOf(chunk: DataView): PcmFormat | null {
  const isExtensible = chunk.getUint16(0, true) === EXTENSIBLE_TAG && chunk.byteLength >= SUB_FORMAT_OFFSET + 2;
  const tag = chunk.getUint16(isExtensible ? SUB_FORMAT_OFFSET : 0, true);
  const [numChannels, sampleRate] = [chunk.getUint16(2, true), chunk.getUint32(4, true)];
  const [frameBytes, bits] = [chunk.getUint16(12, true), chunk.getUint16(14, true)];
  const isFloat = tag === FLOAT_TAG;
  if ((bits !== 16 && bits !== 24 && bits !== 32) || (tag !== PCM_TAG && !(isFloat && bits === 32))) return null;
  if (numChannels === 0 || sampleRate === 0 || frameBytes !== (numChannels * bits) / 8) return null;
  return { sampleRate, numChannels, bits, isFloat };
}
