/** The page without a server: from a plain file server, then without a network, in a real Chromium. */

import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from "vitest";
import { wavBlob } from "../src/audio/wav";
import { psnr } from "../test/engine/golden";
import { decodePng } from "../test/engine/png";
import { FaultyServer, PythonServer } from "./file_server";
import { BROWSER_FLAGS, Jam } from "./jam";
import { clickTrack, levelDb, quietestDb } from "./signals";

const SAMPLE_RATE = 44_100;
const CLIP_S = 5.12;
const PROMPT = "church bells";
const SEED = 42;
/** Of the same clip made by Python: 30 dB is what was promised, unrelated clips have 15 dB. */
const MIN_PSNR_DB = 45;
/** Another clip leaves no more than this behind in the page; it has 2 MB of samples and pixels. */
const MOST_GROWTH_BYTES = 40e6;
/** Quota of a browser that is full: enough for the page, not for the weights. */
const SMALL_QUOTA = 6e6;

let browser: Browser;
beforeAll(async () => {
  browser = await chromium.launch({ executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", args: [...BROWSER_FLAGS, "--enable-blink-features=ForceEagerMeasureMemory"] });
});
afterAll(() => browser?.close());

it("shows the progress of its only download, then reloads, plays and hears recordings without a network, and draws what Python draws", async () => {
  const server = await PythonServer.open();
  const jam = await Jam.open(browser, `${server.url}?prompt=${PROMPT.replace(" ", "+")}&seed=${SEED}`);
  await jam.untilStatus(/Downloading what makes the music, only once: [\d.]+ of \d+ MB/);
  await jam.untilStatus(/Works without a network from now on/);
  expect(await jam.page.evaluate(() => crossOriginIsolated)).toBe(true);
  server.stop();
  await jam.page.reload();
  await jam.play();
  const [first] = await jam.untilStarted(1);
  const python = pythonClip();
  const image = await savedImage(jam);
  await jam.untilStarted(2);
  const memory = await memoryOf(jam);
  const started = (await jam.untilStarted(3)).slice(0, 3);
  expect((await memoryOf(jam)) - memory).toBeLessThan(MOST_GROWTH_BYTES);
  expect(psnr(image, await python)).toBeGreaterThan(MIN_PSNR_DB);

  for (const { numSamples, isLoop } of started) expect([numSamples, isLoop]).toEqual([CLIP_S * SAMPLE_RATE, true]);
  const rounds = started.slice(1).map(({ start }, i) => (start - started[i]!.start) / CLIP_S);
  for (const count of rounds) expect(Math.abs(count - Math.round(count)) * CLIP_S).toBeLessThan(1 / SAMPLE_RATE);
  const heard = await jam.tapped("heard", first!.start, started[2]!.start + 1);
  expect(quietestDb(heard.samples, SAMPLE_RATE, 1)).toBeGreaterThan(-45); // no gap
  expect(levelDb(heard.samples)).toBeGreaterThan(-30);
  expect(await jam.status()).toMatch(/this device|This device|late/);

  await jam.page.getByRole("tab", { name: "Seed" }).click();
  expect(await jam.page.locator(".images img").evaluateAll((images) => Promise.all(images.map((image) => (image as HTMLImageElement).decode())).then(() => images.length))).toBe(11);
  const recording = wavBlob([clickTrack(120, 10, SAMPLE_RATE)], SAMPLE_RATE);
  const buffer = Buffer.from(await recording.arrayBuffer());
  await jam.page.locator("#seed-file").setInputFiles({ name: "clicks.wav", mimeType: "audio/wav", buffer });
  await jam.page.locator(".hint", { hasText: /clicks\.wav: 8 beats at 120\.\d BPM, 4\.00 s/ }).waitFor({ timeout: 60_000 });
  expect((await jam.started()).some(({ duration, isLoop }) => !isLoop && Math.abs(duration - 4) < 0.001)).toBe(true); // its preview
  expect(jam.complaints.filter((text) => !text.startsWith("Failed to load resource"))).toEqual([]); // the browser looks for a new version
});

it("resumes a download that breaks off, and keeps nothing half", async () => {
  const server = await FaultyServer.open();
  server.breakAfter = 2e6;
  const jam = await Jam.open(browser, server.url);
  await jam.untilStatus(/The download of .* broke off after 2 of \d+ MB. Check the network/);
  expect(Math.max(...(await keptSizes(jam)))).toBeLessThan(2e6);
  server.breakAfter = Infinity;
  await vi.waitFor(async () => expect(Math.max(...(await keptSizes(jam)))).toBeGreaterThan(14e6), { timeout: 60_000, interval: 500 });
});

it("works if the browser has no room to keep what makes the music, and says so", async () => {
  const server = await PythonServer.open();
  const jam = await Jam.open(browser, "about:blank");
  const session = await jam.page.context().newCDPSession(jam.page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(server.url).origin, quotaSize: SMALL_QUOTA });
  await jam.page.goto(server.url);
  await jam.untilStatus(/no room left to keep the music maker.*Free some space.*Press play/);
});

it("names the browsers that it needs in one without WebAssembly SIMD, and has no controls for what needs a server", async () => {
  const server = await PythonServer.open();
  const jam = await Jam.open(browser, "about:blank");
  await jam.page.addInitScript(() => (WebAssembly.validate = () => false));
  await jam.page.goto(`${server.url}#edit`);
  await jam.untilStatus(/no SIMD instructions.*Use a current Chrome/);
  await jam.play();
  await jam.untilStatus(/no SIMD instructions/);
  await jam.page.locator(".notice", { hasText: "needs a server" }).waitFor();
  expect(await jam.page.getByRole("button", { name: "Edit", exact: true }).isVisible()).toBe(false);
  await jam.page.keyboard.press("s");
  await jam.page.getByRole("tab", { name: "Save" }).click();
  expect(await jam.page.getByRole("group", { name: "Save the current clip" }).locator("button").allInnerTexts()).toEqual(["FLAC", "WAV", "Image"]);
  expect(jam.complaints).toEqual([]);
});

/** The pixels of the same clip by `riffusion generate`. */
async function pythonClip(): Promise<Uint8Array> {
  const folder = mkdtempSync(join(tmpdir(), "riffusion-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const command = process.env["RIFFUSION"] ?? fileURLToPath(new URL("../../.venv/bin/riffusion", import.meta.url));
  await promisify(execFile)(command, [
    "generate", PROMPT, "--seed", String(SEED), "--engine", "light", "--preset", "instant", "--seed-image", "og_beat", "--denoising", "0.75",
    "--guidance", "7", "-o", join(folder, "clip.wav"), "--image", join(folder, "clip.png"),
  ]);
  return red(readFileSync(join(folder, "clip.png")));
}

/** The pixels of the image that the page saves of the clip that plays. */
async function savedImage(jam: Jam): Promise<Uint8Array> {
  await jam.page.keyboard.press("s");
  await jam.page.getByRole("tab", { name: "Save" }).click();
  const download = jam.page.waitForEvent("download");
  await jam.page.getByRole("button", { name: "Image", exact: true }).click();
  return red(readFileSync(await (await download).path()));
}

async function red(png: Buffer): Promise<Uint8Array> {
  const { data } = await decodePng(new Blob([Uint8Array.from(png)]));
  return data.filter((_, i) => i % 4 === 0) as Uint8Array;
}

/** Memory of the page in bytes, without its workers: how many of these there are depends on the machine's load. */
function memoryOf(jam: Jam): Promise<number> {
  return jam.page.evaluate(async () => {
    const measured = performance as unknown as {
      measureUserAgentSpecificMemory(): Promise<{ breakdown: { bytes: number; attribution: { scope: string }[] }[] }>;
    };
    const { breakdown } = await measured.measureUserAgentSpecificMemory();
    const isPage = ({ attribution }: (typeof breakdown)[number]): boolean => !attribution.some(({ scope }) => scope.includes("Worker"));
    return breakdown.filter(isPage).reduce((sum, { bytes }) => sum + bytes, 0);
  });
}

/** Sizes of the files that the page keeps. */
function keptSizes(jam: Jam): Promise<number[]> {
  return jam.page.evaluate(async () => {
    const cache = await caches.open("riffusion-files");
    return Promise.all((await cache.keys()).map(async (key) => (await (await cache.match(key))!.arrayBuffer()).byteLength));
  });
}
