import { readFile } from "node:fs/promises";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import type { EditInput } from "../src/api/edit_messages";
import { imageToAudioInput } from "../src/api/messages";
import { type Pcm, type PcmFormat, emptySamples, fullScale } from "../src/audio/pcm";
import { wavOf } from "../src/audio/wav";
import { readWav } from "../src/audio/wav_reader";
import { Jam, launchBrowser } from "./jam";
import { Proxy } from "./proxy";
import { clickTrack, tone } from "./signals";

/** A song at 120 BPM: clicks on the beat and a tone, not the same on both channels. */
const FORMAT: PcmFormat = { sampleRate: 48_000, numChannels: 2, bits: 24, isFloat: false };
const DURATION = 20;
const CONTEXT = 4;
const SERVER_MS = 300_000;

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

it("replaces a marked section; outside of it, the downloaded file has the recording's samples", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const { page, complaints } = await Jam.open(browser, proxy.url, { device: { viewport: { width: 1000, height: 720 }, acceptDownloads: true } });
  const original = song();
  await drop(page, "song.wav", original);
  await page.getByRole("button", { name: "Edit this recording" }).click();
  await page.getByText("120.0 BPM").waitFor({ timeout: SERVER_MS });
  expect(await page.getByText("WAV, 48 kHz, 24 bit, stereo").isVisible()).toBe(true);

  await drag(page, [0.395, 0.5], [0.502, 0.5]); // near the beats at 8 and 10 s
  const marked = await section(page);
  expect([Number(marked.from), Number(marked.to)]).toEqual([expect.closeTo(8, 1), expect.closeTo(10, 1)]);
  await page.getByRole("textbox", { name: "What should be here?" }).fill("church bells");
  await page.getByRole("button", { name: "Make" }).click();
  await page.getByRole("button", { name: "Replace: church bells" }).waitFor({ timeout: SERVER_MS });

  const input = proxy.exchanges[0]!.input as unknown as EditInput;
  const sent = readWav(bytesOf(input.init_audio))!;
  const [start, stop] = [Math.round(Number(marked.from) * FORMAT.sampleRate), Math.round(Number(marked.to) * FORMAT.sampleRate)];
  expect(input).toMatchObject({ mode: "repaint", start: { prompt: "church bells", denoising: 1 }, preset: "fast" });
  expect(input.region!.from_s).toBeCloseTo(CONTEXT, 3);
  expect(sent.format).toEqual(FORMAT);
  expect(sent.channels[0]!.length / FORMAT.sampleRate).toBeCloseTo(2 * CONTEXT + (stop - start) / FORMAT.sampleRate, 2);

  const edited = await download(page);
  expect(edited.format).toEqual(FORMAT);
  const nearby = Math.round(0.001 * FORMAT.sampleRate); // the fields show milliseconds
  for (const [channel, samples] of edited.channels.entries()) {
    const own = original.channels[channel]!;
    expect(samples.length).toBe(own.length);
    expect(isEqual(samples.subarray(0, start - nearby), own.subarray(0, start - nearby))).toBe(true);
    expect(isEqual(samples.subarray(stop + nearby), own.subarray(stop + nearby))).toBe(true);
    const changed = samples.subarray(start, stop).filter((value, i) => value !== own[start + i]).length;
    expect(changed / (stop - start)).toBeGreaterThan(0.9);
  }

  await page.getByRole("button", { name: "Undo (U)" }).click();
  expect(isSame(await download(page), original)).toBe(true);
  await page.keyboard.press("Control+Shift+z");
  expect(isSame(await download(page), edited)).toBe(true);
  await page.reload();
  await page.getByRole("button", { name: "Replace: church bells", pressed: true }).waitFor({ timeout: SERVER_MS });
  expect(isSame(await download(page), edited)).toBe(true);
  expect(complaints).toEqual([]);
});

it("marks by keys, compares while it plays, and makes a loop; Back leads to the jam", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const jam = await Jam.open(browser, proxy.url, { device: { acceptDownloads: true } });
  const { page } = jam;
  await page.getByRole("button", { name: "Edit", exact: true }).click();
  await page.getByLabel("Open a recording").setInputFiles({ name: "song.wav", mimeType: "audio/wav", buffer: Buffer.from(await fileOf(song()).arrayBuffer()) });
  await page.getByText("120.0 BPM").waitFor({ timeout: SERVER_MS });
  await page.getByRole("application").focus();
  for (let beat = 0; beat < 4; beat++) await page.keyboard.press("ArrowRight");
  await page.keyboard.press("[");
  for (let beat = 0; beat < 8; beat++) await page.keyboard.press("Shift+ArrowRight");
  expect(await page.locator(".edit-about").innerText()).toMatch(/^4\.0\d s · 8 beats/);
  await page.keyboard.press("ArrowUp");
  expect(await page.getByLabel("Lowest, in Hz").inputValue()).not.toBe("");

  await page.getByRole("button", { name: "Loop", exact: true }).click();
  expect(await page.getByLabel("Beats", { exact: true }).inputValue()).toBe("8");
  await page.getByRole("button", { name: "Make" }).click();
  await page.getByRole("button", { name: "Loop: 8 beats", pressed: true }).waitFor({ timeout: SERVER_MS });
  const loop = await download(page);
  expect(loop.channels[0]!.length / FORMAT.sampleRate).toBeCloseTo(4, 1);

  await page.getByRole("application").press("Space");
  await jam.untilStarted(2); // parts of one second
  await page.keyboard.press("b");
  expect(await page.getByRole("button", { name: "Before" }).getAttribute("aria-pressed")).toBe("true");
  await page.getByText("/ 0:20").waitFor();
  await page.keyboard.press("b");
  await page.getByText("/ 0:04").waitFor();
  expect(await page.getByRole("button", { name: "Pause" }).isVisible()).toBe(true);
  await page.goBack();
  await page.getByRole("textbox", { name: "Next prompt" }).waitFor();
  expect(await page.getByRole("application").isVisible()).toBe(false);
  expect(jam.complaints).toEqual([]);
});

it("reads the samples of a FLAC file exactly", async () => {
  const [flac, wav] = [await clip("flac"), await clip("wav")];
  const { page } = await Jam.open(browser, `${inject("gateway")}/#edit`, { device: { viewport: { width: 1000, height: 720 }, acceptDownloads: true } });
  await page.getByLabel("Open a recording").setInputFiles({ name: "clip.flac", mimeType: "audio/flac", buffer: Buffer.from(flac) });
  await page.getByText(/FLAC, 44.1 kHz, 16 bit, mono.*same to the bit.*cannot write FLAC/).first().waitFor({ timeout: SERVER_MS });
  expect(isSame(await download(page), readWav(wav)!)).toBe(true);
});

function song(): Pcm {
  const { sampleRate } = FORMAT;
  const clicks = clickTrack(120, DURATION, sampleRate);
  const channels = [220, 330].map((frequency) => {
    const note = tone(frequency, DURATION, sampleRate);
    const samples = emptySamples(FORMAT, clicks.length);
    for (let i = 0; i < samples.length; i++) samples[i] = Math.round((0.6 * clicks[i]! + 0.3 * note[i]!) * fullScale(FORMAT));
    return samples;
  });
  return { format: FORMAT, channels };
}

function fileOf({ format, channels }: Pcm): Blob {
  return wavOf(format, channels[0]!.length, (start, stop) => channels.map((samples) => samples.slice(start, stop)));
}

async function drop(page: Page, name: string, pcm: Pcm): Promise<void> {
  const base64 = Buffer.from(await fileOf(pcm).arrayBuffer()).toString("base64");
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
async function drag(page: Page, from: readonly [number, number], to: readonly [number, number]): Promise<void> {
  const box = (await page.getByRole("application").boundingBox())!;
  const at = ([x, y]: readonly [number, number]): [number, number] => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(from));
  await page.mouse.down();
  await page.mouse.move(...at(to), { steps: 5 });
  await page.mouse.up();
}

async function section(page: Page): Promise<{ from: string; to: string }> {
  return { from: await page.getByLabel("From, in seconds").inputValue(), to: await page.getByLabel("To, in seconds").inputValue() };
}

async function download(page: Page): Promise<Pcm> {
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download", exact: true }).click()]);
  const bytes = await readFile(await file.path());
  return readWav(Uint8Array.from(bytes).buffer)!;
}

/** A tone that the server has converted, which it does in the same way every time. */
async function clip(format: "flac" | "wav"): Promise<ArrayBuffer> {
  const wav = fileOf({ format: { ...FORMAT, numChannels: 1, sampleRate: 44_100 }, channels: [song().channels[0]!.slice(0, 44_100)] });
  const dataUrl = `data:audio/wav;base64,${Buffer.from(await wav.arrayBuffer()).toString("base64")}`;
  const input = { ...imageToAudioInput({ kind: "audio", dataUrl }), audio_format: format };
  const response = await fetch(`${inject("gateway")}/run_inference/`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(input),
  });
  return bytesOf(((await response.json()) as { audio: string }).audio);
}

function bytesOf(dataUrl: string): ArrayBuffer {
  return Uint8Array.from(Buffer.from(dataUrl.split(",")[1] ?? "", "base64")).buffer;
}

function isEqual(a: Pcm["channels"][number], b: Pcm["channels"][number]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

function isSame(a: Pcm, b: Pcm): boolean {
  return JSON.stringify(a.format) === JSON.stringify(b.format) && a.channels.every((samples, i) => isEqual(samples, b.channels[i]!));
}
