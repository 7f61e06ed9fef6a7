/**
 * WAV files with 16-bit PCM: a 44-byte header, then little-endian samples with interleaved channels.
 */

import type { Hertz } from "../units";

/** One array of samples per channel, all of the same length. */
export type Channels = readonly Float32Array[];

const HEADER_BYTES = 44;
const BYTES_PER_SAMPLE = 2;

/** The header of a WAV file. */
export function wavHeader(numFrames: number, numChannels: number, sampleRate: Hertz): ArrayBuffer {
  const header = new ArrayBuffer(HEADER_BYTES);
  const view = new DataView(header);
  const text = (offset: number, letters: string): void => {
    for (let i = 0; i < letters.length; i++) view.setUint8(offset + i, letters.charCodeAt(i));
  };
  const frameBytes = numChannels * BYTES_PER_SAMPLE;
  text(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + numFrames * frameBytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // size of the format chunk
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, numChannels, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * frameBytes, true);
  view.setUint16(32, frameBytes, true);
  view.setUint16(34, 8 * BYTES_PER_SAMPLE, true);
  text(36, "data");
  view.setUint32(40, numFrames * frameBytes, true);
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
