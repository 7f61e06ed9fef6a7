import type { Flac, StreamMetadata } from "libflacjs";
import * as library from "libflacjs/dist/libflac.js"; // without WebAssembly, which its loader cannot open in Node
import { beforeAll, expect, it } from "vitest";
import { encodingOf, exactBits } from "../src/audio/encoding";
import { FlacEncoder, canBeFlac } from "../src/audio/flac";
import { type PcmFormat, type PcmSamples, emptySamples, fullScale, integersFrom } from "../src/audio/pcm";

const NOT_CHECKED = "0".repeat(32);
const flac = (library as unknown as { default: Flac }).default;
beforeAll(() => new Promise<void>((resolve) => (flac.isReady() ? resolve() : flac.on("ready", () => resolve()))));

/** Full scale on both sides, silence, and noise. */
function samplesOf(format: PcmFormat, length: number, seed: number): PcmSamples {
  const samples = emptySamples(format, length);
  const scale = fullScale(format);
  for (let [i, state] = [0, seed]; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    samples[i] = i < 3 ? -scale : i < 6 ? scale - 1 : i < length / 3 ? 0 : Math.floor((state / 2 ** 32) * 2 * scale) - scale;
  }
  return samples;
}

/** What libFLAC's decoder, which checks the MD5 checksum of the samples, finds in a file. */
function decoded(file: Uint8Array, { bits, numChannels }: PcmFormat): { info: StreamMetadata; channels: number[][]; isIntact: boolean } {
  const channels: number[][] = Array.from({ length: numChannels }, () => []);
  let [at, info] = [0, null as StreamMetadata | null];
  const id = flac.create_libflac_decoder(true);
  const state = flac.init_decoder_stream(
    id,
    (size) => {
      const buffer = file.slice(at, at + size);
      at += buffer.length;
      return { buffer, readDataLength: buffer.length, error: false };
    },
    (blocks) => blocks.forEach((bytes, channel) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const size = bits === 16 ? 2 : 4; // 24 bits come in four bytes
      for (let i = 0; i < bytes.byteLength; i += size) channels[channel]!.push(size === 2 ? view.getInt16(i, true) : (view.getInt32(i, true) << 8) >> 8);
    }),
    (code, message) => expect.unreachable(`${code}: ${message}`),
    (found) => (info = found ?? null),
  );
  expect(state).toBe(0);
  expect(flac.FLAC__stream_decoder_process_until_end_of_stream(id)).toBeTruthy();
  const isIntact = Boolean(flac.FLAC__stream_decoder_finish(id));
  flac.FLAC__stream_decoder_delete(id);
  return { info: info!, channels, isIntact };
}

it.each([
  [44_100, 1, 16, 10_000], [48_000, 2, 24, 20_001], [22_050, 2, 16, 1], [96_000, 1, 24, 4096], [8000, 2, 16, 0],
] as const)("a FLAC file of %i Hz, %i channels and %i bits has the samples that were written", (sampleRate, numChannels, bits, length) => {
  const format: PcmFormat = { sampleRate, numChannels, bits, isFloat: false };
  const channels = Array.from({ length: numChannels }, (_, i) => samplesOf(format, length, i + 1));
  const encoder = new FlacEncoder(flac, format, length);
  for (let start = 0; start < length; start += 7000) encoder.write(channels.map((samples) => samples.slice(start, start + 7000)));
  const file = Uint8Array.from(encoder.finish().flatMap((chunk) => [...chunk]));

  expect(encodingOf(file.buffer)).toEqual({ name: "FLAC", sampleRate, bits });
  const { info, channels: found, isIntact } = decoded(file, format);
  expect(found.map((samples) => samples.join())).toEqual(channels.map((samples) => samples.join()));
  expect(info).toMatchObject({ sampleRate, channels: numChannels, bitsPerSample: bits, total_samples: length });
  expect(isIntact).toBe(true);
  expect(info.md5sum).not.toBe(NOT_CHECKED);
  if (length > 0) expect([info.min_framesize > 0, info.max_framesize >= info.min_framesize]).toEqual([true, true]);
});

it("FLAC holds neither floats nor 32 bits", () => {
  const format: PcmFormat = { sampleRate: 48_000, numChannels: 1, bits: 32, isFloat: true };
  expect([canBeFlac(format), canBeFlac({ ...format, isFloat: false }), canBeFlac({ ...format, isFloat: false, bits: 24 })]).toEqual([false, false, true]);
  expect(() => new FlacEncoder(flac, format, 1)).toThrow("FLAC has no 32 bits");
});

it("holds samples of any FLAC up to 24 bits exactly, in 16 or 24", () => {
  const bits = [4, 12, 16, 17, 20, 24, 32].map((each) => exactBits({ name: "FLAC", sampleRate: 44_100, bits: each }));
  expect(bits).toEqual([16, 16, 16, 24, 24, 24, null]);
  expect(exactBits({ name: "WAV", sampleRate: 44_100, bits: 24 })).toBeNull();
  expect(exactBits(null)).toBeNull();
  const twenty = [-(2 ** 19), -3, 0, 1, 2 ** 19 - 1];
  const decoded = integersFrom([Float32Array.from(twenty, (value) => value / 2 ** 19)], { sampleRate: 44_100, numChannels: 1, bits: 24, isFloat: false });
  expect(decoded.isExact).toBe(true);
  expect([...decoded.channels[0]!]).toEqual(twenty.map((value) => 16 * value));
});
