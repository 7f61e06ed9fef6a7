import { describe, expect, it } from "vitest";
import { encodingOf } from "../src/audio/encoding";
import { type Pcm, type PcmFormat, converted, emptySamples, fullScale, integersFrom } from "../src/audio/pcm";
import { wavOf } from "../src/audio/wav";
import { readWav, wavLayout } from "../src/audio/wav_reader";

const FORMATS: readonly (readonly [bits: PcmFormat["bits"], isFloat: boolean])[] = [[16, false], [24, false], [32, false], [32, true]];

/** Every kind of sample: full scale both ways, the smallest steps, and noise. */
function samplesOf(format: PcmFormat, length: number): Pcm {
  let state = 7;
  const channels = Array.from({ length: format.numChannels }, () => {
    const samples = emptySamples(format, length);
    const scale = fullScale(format);
    for (let i = 0; i < length; i++) {
      state = (state * 16807) % 2147483647; // Park-Miller generator: the same noise in every run
      const value = (state / 2147483647) * 2 - 1;
      samples[i] = format.isFloat ? value : Math.floor(value * scale);
    }
    samples.set(format.isFloat ? [-1.5, 1e-30, 1] : [-scale, scale - 1, -1], 0);
    return samples;
  });
  return { format, channels };
}

function fileOf({ format, channels }: Pcm): Promise<ArrayBuffer> {
  return wavOf(format, channels[0]!.length, (start, stop) => channels.map((samples) => samples.slice(start, stop))).arrayBuffer();
}

/** A file of chunks: name and content. */
function riff(...chunks: readonly (readonly [name: string, content: Uint8Array])[]): ArrayBuffer {
  const parts: number[] = [];
  for (const [name, content] of chunks) {
    const size = new Uint8Array(Uint32Array.of(content.length).buffer);
    parts.push(...[...name].map((letter) => letter.charCodeAt(0)), ...size, ...content, ...(content.length % 2 ? [0] : []));
  }
  const head = [..."RIFF"].map((letter) => letter.charCodeAt(0));
  const size = new Uint8Array(Uint32Array.of(parts.length + 4).buffer);
  return Uint8Array.from([...head, ...size, ...[..."WAVE"].map((letter) => letter.charCodeAt(0)), ...parts]).buffer;
}

function formatChunk(tag: number, numChannels: number, rate: number, bits: number, subFormat?: number): Uint8Array {
  const chunk = new DataView(new ArrayBuffer(subFormat === undefined ? 16 : 40));
  const frameBytes = (numChannels * bits) / 8;
  chunk.setUint16(0, tag, true);
  chunk.setUint16(2, numChannels, true);
  chunk.setUint32(4, rate, true);
  chunk.setUint32(8, rate * frameBytes, true);
  chunk.setUint16(12, frameBytes, true);
  chunk.setUint16(14, bits, true);
  if (subFormat !== undefined) {
    chunk.setUint16(16, 22, true);
    chunk.setUint16(18, bits, true);
    chunk.setUint16(24, subFormat, true);
  }
  return new Uint8Array(chunk.buffer);
}

describe("a WAV file", () => {
  it.each(FORMATS.flatMap(([bits, isFloat]) => [1, 2].map((numChannels) => ({ bits, isFloat, numChannels }))))(
    "of $bits bits (float: $isFloat, channels: $numChannels) is read as it was written, to the bit",
    async ({ bits, isFloat, numChannels }) => {
      const pcm = samplesOf({ sampleRate: 48_000, numChannels, bits, isFloat }, 2 ** 18 + 101); // two parts, an odd number of bytes
      const file = await fileOf(pcm);
      const read = readWav(file)!;
      expect(file.byteLength % 2).toBe(0);
      expect(read.format).toEqual(pcm.format);
      expect(read.channels.map((samples, i) => Buffer.compare(bytesOf(samples), bytesOf(pcm.channels[i]!)))).toEqual(pcm.channels.map(() => 0));
      expect(Buffer.compare(Buffer.from(await fileOf(read)), Buffer.from(file))).toBe(0);
    },
  );

  it("may have an extensible header, other chunks of odd size, and a data chunk without its size", () => {
    const data = new Uint8Array(Int16Array.of(1, -2, 3, -4).buffer);
    const file = riff(["LIST", Uint8Array.of(1, 2, 3)], ["fmt ", formatChunk(0xfffe, 2, 96_000, 16, 1)], ["data", data]);
    expect(readWav(file)?.channels.map((samples) => [...samples])).toEqual([[1, 3], [-2, -4]]);
    new DataView(file).setUint32(file.byteLength - data.length - 4, 0xffffffff, true);
    expect(wavLayout(file)).toMatchObject({ numFrames: 2, format: { sampleRate: 96_000, numChannels: 2, bits: 16 } });
  });

  it("has 24-bit samples with their sign", () => {
    const data = Uint8Array.of(0xff, 0xff, 0xff, 0x00, 0x00, 0x80, 0x01, 0x02, 0x03);
    const file = riff(["fmt ", formatChunk(1, 1, 8000, 24)], ["data", data]);
    expect([...readWav(file)!.channels[0]!]).toEqual([-1, -(2 ** 23), 0x030201]);
  });

  it.each([
    ["8 bits", riff(["fmt ", formatChunk(1, 1, 8000, 8)], ["data", Uint8Array.of(1)])],
    ["A-law", riff(["fmt ", formatChunk(6, 1, 8000, 16)], ["data", Uint8Array.of(1, 2)])],
    ["no format", riff(["data", Uint8Array.of(1, 2)])],
    ["no samples", riff(["fmt ", formatChunk(1, 1, 8000, 16)])],
    ["no channels", riff(["fmt ", formatChunk(1, 0, 8000, 16)], ["data", Uint8Array.of(1, 2)])],
    ["an end in its format", riff(["fmt ", formatChunk(1, 1, 8000, 16)]).slice(0, 30)],
    ["nothing", new ArrayBuffer(0)],
  ])("with %s is left to the browser's decoder", (_, file) => {
    expect(readWav(file)).toBeNull();
  });
});

describe("what a decoder returns", () => {
  const values = [-(2 ** 15), -12345, -1, 0, 1, 16384, 2 ** 15 - 1];
  const format: PcmFormat = { sampleRate: 44_100, numChannels: 1, bits: 16, isFloat: false };

  it.each([
    ["2^15 for all samples", (value: number) => value / 2 ** 15],
    ["one less for positive samples", (value: number) => value / (value > 0 ? 2 ** 15 - 1 : 2 ** 15)],
  ])("is the file's integers, if it divides by %s", (_, float) => {
    const { channels, isExact } = integersFrom([Float32Array.from(values, float)], format);
    expect([[...channels[0]!], isExact]).toEqual([values, true]);
  });

  it("is the file's integers of 24 bits", () => {
    const wide = [-(2 ** 23), -8388607, -1, 1, 8388606, 2 ** 23 - 1];
    for (const scale of [2 ** 23, 2 ** 23 - 1]) {
      const floats = Float32Array.from(wide, (value) => value / (value > 0 ? scale : 2 ** 23));
      expect([...integersFrom([floats], { ...format, bits: 24 }).channels[0]!]).toEqual(wide);
    }
  });

  it("is rounded and clipped if it was not integers, and that is said", () => {
    const { channels, isExact } = integersFrom([Float32Array.of(0.1, -1.2, 1.2)], format);
    expect([[...channels[0]!], isExact]).toEqual([[3277, -32768, 32767], false]);
  });
});

it("floats are sent as 24 bits and clipped, and come back as floats", () => {
  const pcm: Pcm = { format: { sampleRate: 8000, numChannels: 1, bits: 32, isFloat: true }, channels: [Float32Array.of(0.5, -1.5, 1.5)] };
  const sent = converted(pcm, 24, false);
  expect([...sent.channels[0]!]).toEqual([2 ** 22, -(2 ** 23), 2 ** 23 - 1]);
  expect([...converted(sent, 32, true).channels[0]!]).toEqual([0.5, -1, Math.fround(1 - 2 ** -23)]);
});

describe("the encoding of a file", () => {
  const bytes = (...parts: (string | number[])[]): ArrayBuffer =>
    Uint8Array.from(parts.flatMap((part) => (typeof part === "string" ? [...part].map((letter) => letter.charCodeAt(0)) : part))).buffer;
  const zeros = (count: number): number[] => Array.from({ length: count }, () => 0);

  it.each([
    ["FLAC at 96 kHz of 24 bits", bytes("fLaC", [0, 0, 0, 34], zeros(10), [0x17, 0x70, 0x03, 0x70], zeros(20)), { name: "FLAC", sampleRate: 96_000, bits: 24 }],
    ["MP3 at 48 kHz after a tag", bytes("ID3", [4, 0, 0, 0, 0, 1, 2], zeros(130), [0xff, 0xfb, 0x94, 0]), { name: "MP3", sampleRate: 48_000 }],
    ["MP3 at 22.05 kHz", bytes([0xff, 0xf3, 0x80, 0]), { name: "MP3", sampleRate: 22_050 }],
    ["Opus", bytes("OggS", zeros(24), "OpusHead"), { name: "Opus", sampleRate: 48_000 }],
    ["Vorbis", bytes("OggS", zeros(24), [1], "vorbis", zeros(4), [2], [0x44, 0xac, 0, 0]), { name: "Ogg", sampleRate: 44_100 }],
    ["AAC", bytes(zeros(4), "ftypM4A ", zeros(9), "mp4a", zeros(24), [0x7d, 0x00, 0, 0]), { name: "AAC", sampleRate: 32_000 }],
  ])("is found: %s", (_, file, encoding) => {
    expect(encodingOf(file)).toMatchObject(encoding);
  });

  it("is null for anything else", () => {
    expect(encodingOf(bytes("no audio at all"))).toBeNull();
  });
});

function bytesOf(samples: Pcm["channels"][number]): Buffer {
  return Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength);
}
