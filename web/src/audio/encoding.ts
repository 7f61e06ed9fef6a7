/**
 * What an audio file says about itself: its encoding, sample rate and bits. Browsers decode files at a rate that the
 * page chooses, so the page must know the file's own rate to get its own samples.
 */

import type { Hertz } from "../units";
import { id3Length } from "./file_tags";

export interface Encoding {
  readonly name: "WAV" | "FLAC" | "MP3" | "Ogg" | "Opus" | "AAC";
  /** null if the file does not say it where this looks. */
  readonly sampleRate: Hertz | null;
  /** Bits per sample of a lossless file; null otherwise. */
  readonly bits: number | null;
}

/** Sample rates of MPEG 1 audio. MPEG 2 has half of them, MPEG 2.5 a quarter. */
const MPEG_RATES: readonly Hertz[] = [44_100, 48_000, 32_000];
const OPUS_RATE: Hertz = 48_000;
/** Where the sample entry `mp4a` of an MP4 file has the sample rate, as 16.16 fixed point. */
const MP4A_RATE_OFFSET = 28;
const SEARCHED_BYTES = 2 ** 20;

/** The encoding of an audio file; null if it is none of those that this knows. */
export function encodingOf(file: ArrayBuffer): Encoding | null {
  const bytes = new Uint8Array(file);
  const start = bytes.subarray(id3Length(bytes));
  if (starts(bytes, "RIFF")) return { name: "WAV", sampleRate: number(bytes, 24, 4, true), bits: number(bytes, 34, 2, true) };
  if (starts(start, "fLaC")) return flac(start);
  if (starts(bytes, "OggS")) return ogg(bytes.subarray(0, 512));
  if (starts(bytes.subarray(4), "ftyp")) return mp4(bytes);
  return mpeg(start);
}

/**
 * The bits that hold a FLAC's samples exactly: 16, or 24 for 17 to 24 bits; null for more, of which a decoder's floats
 * keep 24, and for other encodings.
 */
export function exactBits(encoding: Encoding | null): 16 | 24 | null {
  if (encoding?.name !== "FLAC" || encoding.bits === null || encoding.bits > 24) return null;
  return encoding.bits > 16 ? 24 : 16;
}

/** The stream info of FLAC: 20 bits of sample rate, 3 of channels, 5 of bits per sample (RFC 9639, 8.2). */
function flac(bytes: Uint8Array): Encoding {
  const packed = number(bytes, 18, 4, false);
  return { name: "FLAC", sampleRate: packed >>> 12, bits: ((packed >>> 4) & 31) + 1 };
}

function ogg(bytes: Uint8Array): Encoding {
  if (find(bytes, "OpusHead") >= 0) return { name: "Opus", sampleRate: OPUS_RATE, bits: null };
  const vorbis = find(bytes, "\u0001vorbis");
  return { name: "Ogg", sampleRate: vorbis < 0 ? null : number(bytes, vorbis + 12, 4, true), bits: null };
}

/** The sample entry is near the start or, if the file was not made for streaming, near the end. */
function mp4(bytes: Uint8Array): Encoding {
  for (const part of [bytes.subarray(0, SEARCHED_BYTES), bytes.subarray(-SEARCHED_BYTES)]) {
    const entry = find(part, "mp4a");
    const rate = entry < 0 ? 0 : number(part, entry + MP4A_RATE_OFFSET, 2, false);
    if (rate > 0) return { name: "AAC", sampleRate: rate, bits: null };
  }
  return { name: "AAC", sampleRate: null, bits: null };
}

/** A frame header of MPEG audio: 11 bits of 1, version, layer, …, and the rate in bits 10 and 11 from the right of 16. */
function mpeg(bytes: Uint8Array): Encoding | null {
  for (let at = 0; at + 4 <= Math.min(bytes.length, SEARCHED_BYTES); at++) {
    const [first, second, third] = [bytes[at] ?? 0, bytes[at + 1] ?? 0, bytes[at + 2] ?? 0];
    if (first !== 0xff || second < 0xe0) continue;
    const [version, layer, index] = [(second >> 3) & 3, (second >> 1) & 3, (third >> 2) & 3];
    if (version === 1 || layer === 0 || index === 3 || third >> 4 === 15) continue; // reserved values
    return { name: "MP3", sampleRate: (MPEG_RATES[index] ?? 44_100) / { 3: 1, 2: 2, 0: 4 }[version]!, bits: null };
  }
  return null;
}

function starts(bytes: Uint8Array, text: string): boolean {
  return [...text].every((letter, i) => bytes[i] === letter.charCodeAt(0));
}

function find(bytes: Uint8Array, text: string): number {
  for (let at = 0; at + text.length <= bytes.length; at++) if (starts(bytes.subarray(at, at + text.length), text)) return at;
  return -1;
}

function number(bytes: Uint8Array, at: number, size: number, isLittle: boolean): number {
  let value = 0;
  for (let i = 0; i < size; i++) value = value * 256 + (bytes[isLittle ? at + size - 1 - i : at + i] ?? 0);
  return value;
}
