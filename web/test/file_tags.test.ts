import type { Flac } from "libflacjs";
import * as library from "libflacjs/dist/libflac.js"; // without WebAssembly, which its loader cannot open in Node
import { beforeAll, describe, expect, it } from "vitest";
import { encodingOf } from "../src/audio/encoding";
import { flacTags, wavTags } from "../src/audio/file_tags";
import { FlacEncoder } from "../src/audio/flac";
import type { PcmFormat } from "../src/audio/pcm";
import { withStartMoved } from "../src/audio/time_reference";
import { wavOf } from "../src/audio/wav";
import { readWav } from "../src/audio/wav_reader";
import { fileOfVersion, newProject } from "../src/edit/project";

const FORMAT: PcmFormat = { sampleRate: 44_100, numChannels: 1, bits: 24, isFloat: false };
const SAMPLES = Int32Array.of(1, -2, 3, -(2 ** 23), 2 ** 23 - 1); // 15 bytes: the data has padding
const NO_TAGS = new Uint8Array();
const flac = (library as unknown as { default: Flac }).default;
beforeAll(() => new Promise<void>((resolve) => (flac.isReady() ? resolve() : flac.on("ready", () => resolve()))));

function bytes(...parts: readonly (string | readonly number[] | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : Uint8Array.from(part)))));
}

function chunk(name: string, content: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes(name, new Uint8Array(Uint32Array.of(content.length).buffer), content, content.length % 2 ? [0] : []);
}

/** A WAV file with chunks before and after its samples. */
async function wav(before: readonly Uint8Array[], after: readonly Uint8Array[]): Promise<ArrayBuffer> {
  const plain = new Uint8Array(await wavOf(FORMAT, SAMPLES.length, (start, stop) => [SAMPLES.slice(start, stop)]).arrayBuffer());
  const file = bytes(plain.subarray(0, 36), ...before, plain.subarray(36), ...after);
  new DataView(file.buffer).setUint32(4, file.length - 8, true);
  return file.buffer;
}

/** Name and content of all chunks of a WAV file, whose sizes must be right. */
function chunksOf(file: ArrayBuffer): (readonly [name: string, content: string])[] {
  const view = new DataView(file);
  expect(view.getUint32(4, true)).toBe(file.byteLength - 8);
  const found = [];
  let at = 12;
  while (at < file.byteLength) {
    const size = view.getUint32(at + 4, true);
    found.push([String.fromCharCode(...new Uint8Array(file, at, 4)), [...new Uint8Array(file, at + 8, size)].join()] as const);
    at += 8 + size + (size % 2);
  }
  expect(at).toBe(file.byteLength);
  return found;
}

function block(type: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes([type, content.length >> 16, (content.length >> 8) & 255, content.length & 255], content);
}

/** Type and content of all metadata blocks of a FLAC file. */
function blocksOf(file: Uint8Array): (readonly [type: number, content: string])[] {
  expect(String.fromCharCode(...file.subarray(0, 4))).toBe("fLaC");
  const found = [];
  let at = 4;
  for (let head = 0; head < 128; ) {
    head = file[at]!;
    const size = (file[at + 1]! << 16) | (file[at + 2]! << 8) | file[at + 3]!;
    found.push([head & 127, [...file.subarray(at + 4, at + 4 + size)].join()] as const);
    at += 4 + size;
  }
  expect([file[at], file[at + 1]! & 0xfe]).toEqual([0xff, 0xf8]); // the first frame's header
  return found;
}

const INFO = chunk("LIST", bytes("INFO", chunk("INAM", bytes("Caf", [0xe9, 0]))));
const BEXT = chunk("bext", bytes("Take 3", new Array(597).fill(0)));
const IXML = chunk("iXML", bytes("<BWFXML></BWFXML>"));
const OTHERS = [chunk("cue ", bytes([0, 0, 0, 0])), chunk("LIST", bytes("adtl")), chunk("iXML", NO_TAGS)];

describe("a WAV file", () => {
  it.each([["before", [INFO, BEXT, ...OTHERS, IXML], []], ["after", [], [...OTHERS, INFO, BEXT, IXML]]] as const)(
    "keeps the INFO, bext and iXML chunks that are %s its samples",
    async (_, before, after) => {
      const file = await wav(before, after);
      const tags = wavTags(file);
      expect(tags).toEqual([INFO, BEXT, IXML]);
      const opened = { pcm: readWav(file)!, note: "", fileType: "wav", isOwnType: true, tags } as const;
      const project = newProject("1", "song.wav", opened);
      const written = await (await fileOfVersion(project, "wav", project.history.versions[0]!.pieces)).arrayBuffer();
      expect(chunksOf(written).map(([name]) => name)).toEqual(["fmt ", "data", "LIST", "bext", "iXML"]);
      expect(wavTags(written)).toEqual(tags);
      expect(readWav(written)!.channels[0]).toEqual(SAMPLES);
    },
  );

  describe("that says at which time of the day it starts", () => {
    const DAY = 86_400 * FORMAT.sampleRate;
    /** A take, with its time in both chunks and an odd number of bytes in the text. */
    const startingAt = (reference: number): readonly Uint8Array<ArrayBuffer>[] => {
      const fixed = bytes(new Uint8Array(338), new Uint8Array(BigUint64Array.of(BigInt(reference)).buffer), new Uint8Array(256), "A=PCM");
      const [low, high] = [reference % 2 ** 32, Math.floor(reference / 2 ** 32)];
      const text = `<BWFXML>\xe9<BWF_TIME_REFERENCE_LOW>${low}</BWF_TIME_REFERENCE_LOW><BWF_TIME_REFERENCE_HIGH> ${high} </BWF_TIME_REFERENCE_HIGH></BWFXML>`;
      return [INFO, chunk("bext", fixed), chunk("iXML", bytes(text))];
    };

    it.each([
      ["later", 44_100, 1_234_567, 3_600 * 44_100, 3_600 * 44_100 + 1_234_567],
      ["later, beyond 32 bits", 192_000, 12, 2 ** 32 - 5, 2 ** 32 + 7],
      ["earlier, from beyond 32 bits", 192_000, -12, 2 ** 32 + 7, 2 ** 32 - 5],
      ["after midnight", 44_100, 5, DAY - 3, 2],
      ["before midnight", 44_100, -5, 2, DAY - 3],
      ["at the same time", 44_100, 0, 2 ** 40, 2 ** 40],
    ])("is told %s where a file starts so", (_, rate, by, reference, expected) => {
      expect(withStartMoved(startingAt(reference), by, rate)).toEqual(startingAt(expected));
    });

    it("has no time to move in other chunks", () => {
      const tags = [INFO, chunk("bext", bytes("short")), IXML, chunk("id3 ", bytes("12345"))];
      expect(withStartMoved(tags, 9, 44_100)).toEqual(tags);
    });

    it.each([
      ["the whole", 0, 5, 0],
      ["a part", 2, 5, 2],
    ])("is right in a download of %s", async (_, start, stop, moved) => {
      const tags = startingAt(700);
      const opened = { pcm: { format: FORMAT, channels: [SAMPLES] }, note: "", fileType: "wav", isOwnType: true, tags } as const;
      const project = newProject("1", "song.wav", opened);
      const pieces = project.history.versions[0]!.pieces;
      expect(wavTags(await (await fileOfVersion(project, "wav", pieces, start, stop)).arrayBuffer())).toEqual(startingAt(700 + moved));
      const sources = new Map([...project.sources, [1, [Int32Array.of(9, 9, 9)]]]);
      const longer = [{ source: 1, start: 0, stop: 3 }, ...pieces];
      expect(wavTags(await (await fileOfVersion({ ...project, sources }, "wav", longer, 1)).arrayBuffer())).toEqual(startingAt(698));
      const made = longer.slice(0, 1);
      expect(wavTags(await (await fileOfVersion({ ...project, sources }, "wav", made)).arrayBuffer())).toEqual(tags);
    });
  });

  it("without them, or with one that is cut off, has none", async () => {
    expect(wavTags(await wav(OTHERS, []))).toEqual([]);
    expect(wavTags(await wav([INFO], [bytes("iXML", [9, 0, 0, 0], "short")]))).toEqual([INFO]);
    expect(wavTags(bytes("RIFF").buffer)).toEqual([]);
    expect(wavTags(bytes("RIFF", [4, 0, 0, 0], "AVI ").buffer)).toEqual([]);
  });

  it("leaves out what is more than 16 MiB, and keeps the rest", async () => {
    expect(wavTags(await wav([chunk("id3 ", new Uint8Array(2 ** 24)), IXML], []))).toEqual([IXML]);
  });
});

describe("a FLAC file", () => {
  const comments = block(4, bytes([4, 0, 0, 0], "mine", [1, 0, 0, 0, 7, 0, 0, 0], "TITLE=A"));
  const picture = block(6, bytes(new Array(300).fill(7)));
  const encoded = (tags: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> => {
    const encoder = new FlacEncoder(flac, FORMAT, SAMPLES.length, tags);
    encoder.write([SAMPLES]);
    return bytes(...encoder.finish());
  };

  it.each([["comments and a picture", [comments, picture]], ["a picture", [picture]], ["nothing", []]] as const)(
    "has %s of another one, and its samples as without them",
    (_, tags) => {
      const [file, plain] = [encoded(tags), encoded([])];
      expect(encodingOf(file.buffer)).toEqual({ name: "FLAC", sampleRate: 44_100, bits: 24 });
      const kept = blocksOf(file).filter(([type]) => type === 6 || (type === 4 && tags.length > 1));
      expect(kept).toEqual(tags.map((tag) => [tag[0]!, [...tag.subarray(4)].join()]));
      expect(blocksOf(file).filter(([type]) => type === 4).length).toBe(1);
      expect(blocksOf(file)[0]).toEqual(blocksOf(plain)[0]);
      const end = (all: Uint8Array): string => [...all.subarray(-20)].join();
      expect(end(file)).toBe(end(plain));
      if (tags.length > 1) expect(flacTags(file.buffer)).toEqual(tags);
    },
  );

  it("is read behind an ID3 tag, and when a block is cut off", () => {
    const file = encoded([comments, picture]);
    const tag = bytes("ID3", [4, 0, 0, 0, 0, 0, 3], [1, 2, 3]);
    expect(flacTags(bytes(tag, file).buffer)).toEqual([comments, picture]);
    expect(flacTags(file.slice(0, 42 + comments.length + 100).buffer)).toEqual([comments]);
    expect(flacTags(bytes("OggS").buffer)).toEqual([]);
    expect(flacTags(new ArrayBuffer(0))).toEqual([]);
  });
});
