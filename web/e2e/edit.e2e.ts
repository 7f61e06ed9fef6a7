import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, inject, it, vi } from "vitest";
import type { EditInput } from "../src/api/edit_messages";
import { imageToAudioInput } from "../src/api/messages";
import { encodingOf } from "../src/audio/encoding";
import { wavTags } from "../src/audio/file_tags";
import { type Pcm, fullScale } from "../src/audio/pcm";
import { readWav } from "../src/audio/wav_reader";
import {
  CHANNEL_HZ, FORMAT, WIDE, bytesOf, decoded, download, downloadedBytes, drag, drop, expectChanged, fileOf, flacOf, isSame, mark, samplesOf, section, song,
} from "./edit_page";
import { Jam, launchBrowser } from "./jam";
import { Proxy } from "./proxy";
import { strongestFrequency } from "./signals";

const CONTEXT = 4;
const SERVER_MS = 300_000;
/** A WAV's chunk with the title of a song. */
const TAGS = [Uint8Array.from(Buffer.from("LIST\x12\0\0\0INFOINAM\x06\0\0\0Caf\xe9!\0", "latin1"))];

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

it("replaces a marked section; outside of it, the downloaded file has the recording's samples", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const { page, complaints } = await Jam.open(browser, proxy.url, { device: WIDE });
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
  expectChanged(edited, original, marked);
  await page.getByRole("button", { name: "Stop" }).click(); // one take is enough here

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
  const { page } = await Jam.open(browser, `${inject("gateway")}/#edit`, { device: WIDE });
  await page.getByLabel("Open a recording").setInputFiles({ name: "clip.flac", mimeType: "audio/flac", buffer: Buffer.from(flac) });
  await page.getByText(/FLAC, 44.1 kHz, 16 bit, mono.*same to the bit/).waitFor({ timeout: SERVER_MS });
  expect(isSame(await decoded(page, await downloadedBytes(page)), readWav(wav)!)).toBe(true);
});

it("restyles a section of a FLAC file in several takes, of which one is heard and saved as FLAC", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const { page, complaints } = await Jam.open(browser, `${proxy.url}/#edit`, { device: WIDE });
  const original = song(6);
  await page.getByLabel("Open a recording").setInputFiles({ name: "song.flac", mimeType: "", buffer: await flacOf(original) });
  await page.getByText("FLAC, 48 kHz, 24 bit, stereo").waitFor({ timeout: SERVER_MS });
  const marked = await mark(page, "2.5", "3.5");
  await page.getByRole("button", { name: "Restyle" }).click();
  await page.getByLabel("Strength").fill("0.35");
  await page.getByRole("textbox", { name: "What should be here?" }).fill("church bells");
  await page.getByRole("button", { name: "Make" }).click();
  await page.getByRole("button", { name: "Take 2 of 3, waiting" }).waitFor();
  await page.getByRole("button", { name: "Take 2 of 3", exact: true }).waitFor({ timeout: SERVER_MS });
  expect(await page.getByRole("button", { name: "Take 1 of 3", pressed: true }).isVisible()).toBe(true);
  const first = await decoded(page, await downloadedBytes(page));
  await page.getByRole("button", { name: "Stop" }).click();

  const [one, two] = proxy.exchanges.map(({ input }) => input as unknown as EditInput);
  expect(one).toMatchObject({ mode: "repaint", start: { prompt: "church bells", denoising: 0.35 } });
  expect(two).toEqual({ ...one, start: { ...one!.start, seed: Number(one!.start!.seed) + 1 } });

  await page.getByRole("application").press("2");
  await page.getByRole("button", { name: "Take 2 of 2", pressed: true }).waitFor();
  expect(await page.getByRole("button", { name: "Pause" }).isVisible()).toBe(true);
  const bytes = await downloadedBytes(page);
  expect(encodingOf(bytes)).toEqual({ name: "FLAC", sampleRate: FORMAT.sampleRate, bits: FORMAT.bits });
  const second = await decoded(page, bytes);
  for (const take of [first, second]) expectChanged(take, original, marked);
  expect(isSame(first, second)).toBe(false);
  expect(complaints).toEqual([]);
});

it("makes a piece between a marked section and what follows it, as the server answers it", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const { page, complaints } = await Jam.open(browser, `${proxy.url}/#edit`, { device: WIDE });
  const original = song(6);
  await drop(page, "song.wav", original, TAGS);
  await page.getByRole("button", { name: "Edit this recording" }).click();
  await page.getByText("WAV, 48 kHz, 24 bit, stereo").waitFor({ timeout: SERVER_MS });
  const marked = await mark(page, "1", "2");
  await page.getByRole("button", { name: "Between", exact: true }).click();
  await page.getByLabel("Clips", { exact: true }).fill("3");
  await page.getByRole("button", { name: "Make" }).click();
  await page.getByRole("button", { name: "Between: 3 clips", pressed: true }).waitFor({ timeout: SERVER_MS });

  const [{ input, answer }] = proxy.exchanges as unknown as [{ input: EditInput; answer: Buffer }];
  expect(input).toMatchObject({ mode: "between", num_clips: 3 });
  const [start, stop] = samplesOf(marked);
  const part = (from: number): Pcm => ({ format: FORMAT, channels: original.channels.map((samples) => samples.slice(from, from + stop - start)) });
  expect(isSame(readWav(bytesOf(input.init_audio))!, part(start))).toBe(true);
  expect(isSame(readWav(bytesOf(input.init_audio_b!))!, part(stop))).toBe(true);

  const file = await downloadedBytes(page);
  expect(wavTags(file)).toEqual(TAGS);
  const piece = readWav(file)!;
  const result = JSON.parse(String(answer).trim().split("\n").at(-1)!) as { audio: string; closeness: unknown[] };
  expect(result.closeness.length).toBe(2);
  expect(isSame(piece, readWav(bytesOf(result.audio))!)).toBe(true);
  expect([piece.format, piece.channels[0]!.length]).toEqual([FORMAT, 3 * (stop - start)]);
  expect(piece.channels.map((samples) => samples.some((value) => value !== 0))).toEqual([true, true]);
  await page.getByRole("button", { name: "Undo (U)" }).click();
  expect(isSame(await download(page), original)).toBe(true);
  await page.reload();
  await page.getByRole("button", { name: "Original", pressed: true }).waitFor({ timeout: SERVER_MS });
  expect(wavTags(await downloadedBytes(page))).toEqual(TAGS);
  expect(complaints).toEqual([]);
});

it("replaces a rectangle of time and pitch, and takes a section into the jam", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const { page, complaints } = await Jam.open(browser, `${proxy.url}/#edit`, { device: WIDE });
  const original = song(6);
  await drop(page, "song.wav", original);
  await page.getByRole("button", { name: "Edit this recording" }).click();
  await page.getByText("WAV, 48 kHz, 24 bit, stereo").waitFor({ timeout: SERVER_MS });
  await page.keyboard.down("Alt");
  await drag(page, [0.42, 0.55], [0.58, 0.25]);
  await page.keyboard.up("Alt");
  const marked = await section(page);
  const [low, high] = await Promise.all(["Lowest, in Hz", "Highest, in Hz"].map(async (label) => Number(await page.getByLabel(label).inputValue())));
  expect([low! > 500, high! > low!, high! < 9000]).toEqual([true, true, true]);
  await page.getByRole("textbox", { name: "What should be here?" }).fill("flute");
  await page.getByRole("button", { name: "Make" }).click();
  await page.getByRole("button", { name: "Replace: flute" }).waitFor({ timeout: SERVER_MS });
  await page.getByRole("button", { name: "Stop" }).click();

  expect((proxy.exchanges[0]!.input as unknown as EditInput).region).toMatchObject({ low_hz: low, high_hz: high });
  const edited = await download(page);
  expectChanged(edited, original, marked);
  const [start, stop] = samplesOf(marked);
  for (const [channel, frequency] of CHANNEL_HZ.entries()) {
    const difference = Float32Array.from(edited.channels[channel]!.subarray(start, stop), (value, i) => (value - original.channels[channel]![start + i]!) / fullScale(FORMAT));
    const loudest = strongestFrequency(difference, FORMAT.sampleRate, 100, 10_000, 20);
    expect([loudest > 0.8 * low!, loudest < 1.25 * high!]).toEqual([true, true]); // and not the tone, which is below the band
    expect(frequency).toBeLessThan(0.8 * low!);
  }

  await page.getByRole("button", { name: "Loop", exact: true }).click();
  await page.getByRole("button", { name: "Use section in the jam" }).click();
  await page.getByText("New clips use song.wav as the seed loop").waitFor({ timeout: SERVER_MS });
  expect(await page.getByRole("application").isVisible()).toBe(false);
  const loop = readWav(bytesOf(proxy.exchanges.at(-1)!.input.init_audio!))!;
  expect(loop.channels[0]!.length / loop.format.sampleRate).toBeCloseTo(Number(marked.to) - Number(marked.from), 2);
  [proxy.fault, proxy.faultAfter] = ["hang", proxy.exchanges.length];
  await page.getByRole("button", { name: "Play", exact: true }).click();
  await vi.waitFor(() => expect(proxy.exchanges.at(-1)).toMatchObject({ fault: "hang", input: { init_image: expect.stringMatching(/^data:image\/png/) } }), SERVER_MS);
  expect(complaints).toEqual([]);
});

/** A second of the song that the server has converted, which it does in the same way every time. */
async function clip(format: "flac" | "wav"): Promise<ArrayBuffer> {
  const wav = fileOf({ format: { ...FORMAT, numChannels: 1, sampleRate: 44_100 }, channels: [song().channels[0]!.slice(0, 44_100)] });
  const dataUrl = `data:audio/wav;base64,${Buffer.from(await wav.arrayBuffer()).toString("base64")}`;
  const input = { ...imageToAudioInput({ kind: "audio", dataUrl }), audio_format: format };
  const response = await fetch(`${inject("gateway")}/run_inference/`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(input),
  });
  return bytesOf(((await response.json()) as { audio: string }).audio);
}
