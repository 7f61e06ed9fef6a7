/** A song for tests of the Edit view, what hands do there, and what is in the files that come out. */

import { readFile } from "node:fs/promises";
import type { Flac } from "libflacjs";
import * as library from "libflacjs/dist/libflac.js"; // without WebAssembly, which its loader cannot open in Node
import type { Page } from "playwright-core";
import { expect } from "vitest";
import { encodingOf } from "../src/audio/encoding";
import type { FileTags } from "../src/audio/file_tags";
import { FlacEncoder } from "../src/audio/flac";
import { type Pcm, type PcmFormat, emptySamples, fullScale, integersFrom } from "../src/audio/pcm";
import { wavOf } from "../src/audio/wav";
import { readWav } from "../src/audio/wav_reader";
import { clickTrack, tone } from "./signals";

/** A song at 120 BPM: clicks on the beat and a tone, not the same on both channels. */
export const FORMAT: PcmFormat = { sampleRate: 48_000, numChannels: 2, bits: 24, isFloat: false };
/** Tones of the channels. */
export const CHANNEL_HZ = [220, 330] as const;
const DURATION = 20;
/** A window that is large enough for all text. */
export const WIDE = { viewport: { width: 1000, height: 720 }, acceptDownloads: true };

export function song(duration = DURATION): Pcm {
  const { sampleRate } = FORMAT;
  const clicks = clickTrack(120, duration, sampleRate);
  const channels = CHANNEL_HZ.map((frequency) => {
    const note = tone(frequency, duration, sampleRate);
    const samples = emptySamples(FORMAT, clicks.length);
    for (let i = 0; i < samples.length; i++) samples[i] = Math.round((0.6 * clicks[i]! + 0.3 * note[i]!) * fullScale(FORMAT));
    return samples;
  });
  return { format: FORMAT, channels };
}

/** @param tags chunks of the file beside the samples */
export function fileOf({ format, channels }: Pcm, tags: FileTags = []): Blob {
  return wavOf(format, channels[0]!.length, (start, stop) => channels.map((samples) => samples.slice(start, stop)), tags);
}

export async function drop(page: Page, name: string, pcm: Pcm, tags: FileTags = []): Promise<void> {
  const base64 = Buffer.from(await fileOf(pcm, tags).arrayBuffer()).toString("base64");
  await page.evaluate(([name, base64]) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], name, { type: "audio/wav" }));
    for (const type of ["dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true }));
    }
  }, [name, base64] as const);
}

/** Drags over the spectrogram; points are shares of its width and height. */
export async function drag(page: Page, from: readonly [number, number], to: readonly [number, number]): Promise<void> {
  const box = (await page.getByRole("application").boundingBox())!;
  const at = ([x, y]: readonly [number, number]): [number, number] => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(from));
  await page.mouse.down();
  await page.mouse.move(...at(to), { steps: 5 });
  await page.mouse.up();
}

/** A marked section as its fields show it, in seconds. */
export interface Marked {
  readonly from: string;
  readonly to: string;
}

export async function mark(page: Page, from: string, to: string): Promise<Marked> {
  for (const [label, time] of [["From, in seconds", from], ["To, in seconds", to]] as const) {
    await page.getByLabel(label).fill(time);
    await page.getByLabel(label).press("Enter");
  }
  return section(page);
}

export async function section(page: Page): Promise<Marked> {
  return { from: await page.getByLabel("From, in seconds").inputValue(), to: await page.getByLabel("To, in seconds").inputValue() };
}

export function samplesOf({ from, to }: Marked): [number, number] {
  return [Math.round(Number(from) * FORMAT.sampleRate), Math.round(Number(to) * FORMAT.sampleRate)];
}

/** Expects new samples in what is marked, and the recording's own everywhere else. */
export function expectChanged(edited: Pcm, original: Pcm, marked: Marked): void {
  const [start, stop] = samplesOf(marked);
  const nearby = Math.round(0.001 * FORMAT.sampleRate); // the fields show milliseconds
  expect(edited.format).toEqual(FORMAT);
  for (const [channel, samples] of edited.channels.entries()) {
    const own = original.channels[channel]!;
    expect(samples.length).toBe(own.length);
    expect(isEqual(samples.subarray(0, start - nearby), own.subarray(0, start - nearby))).toBe(true);
    expect(isEqual(samples.subarray(stop + nearby), own.subarray(stop + nearby))).toBe(true);
    const changed = samples.subarray(start, stop).filter((value, i) => value !== own[start + i]).length;
    expect(changed / (stop - start)).toBeGreaterThan(0.9);
  }
}

export async function download(page: Page): Promise<Pcm> {
  return readWav(await downloadedBytes(page))!;
}

export async function downloadedBytes(page: Page): Promise<ArrayBuffer> {
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download", exact: true }).click()]);
  return Uint8Array.from(await readFile(await file.path())).buffer;
}

/** What the browser's decoder finds in a FLAC file, as integers. */
export async function decoded(page: Page, file: ArrayBuffer): Promise<Pcm> {
  const { sampleRate, bits } = encodingOf(file)!;
  const channels = await page.evaluate(async ([base64, sampleRate]) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const audio = await new OfflineAudioContext(1, 1, sampleRate).decodeAudioData(bytes.buffer);
    return Promise.all(Array.from({ length: audio.numberOfChannels }, (_, channel) => new Promise<string>((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(String(reader.result));
      reader.readAsDataURL(new Blob([audio.getChannelData(channel)]));
    })));
  }, [Buffer.from(file).toString("base64"), sampleRate!] as const);
  const format: PcmFormat = { sampleRate: sampleRate!, numChannels: channels.length, bits: bits === 24 ? 24 : 16, isFloat: false };
  const { channels: integers, isExact } = integersFrom(channels.map((url) => new Float32Array(bytesOf(url))), format);
  expect(isExact).toBe(true);
  return { format, channels: integers };
}

/** A FLAC file, written in Node. */
export async function flacOf({ format, channels }: Pcm): Promise<Buffer> {
  const flac = (library as unknown as { default: Flac }).default;
  if (!flac.isReady()) await new Promise<void>((resolve) => flac.on("ready", () => resolve()));
  const encoder = new FlacEncoder(flac, format, channels[0]!.length);
  encoder.write(channels);
  return Buffer.concat(encoder.finish());
}

export function bytesOf(dataUrl: string): ArrayBuffer {
  return Uint8Array.from(Buffer.from(dataUrl.split(",")[1] ?? "", "base64")).buffer;
}

function isEqual(a: Pcm["channels"][number], b: Pcm["channels"][number]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

export function isSame(a: Pcm, b: Pcm): boolean {
  return JSON.stringify(a.format) === JSON.stringify(b.format) && a.channels.every((samples, i) => isEqual(samples, b.channels[i]!));
}
