/** Seconds and memory of clips that the static page's engine makes in Chromium, printed as JSON, and written to MEASURED_FILE. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Browser, type Page, chromium } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { EngineEvent, Timings } from "../src/engine/protocol";
import { FOLDER, PythonServer } from "./file_server";
import { BROWSER_FLAGS } from "./jam";

/** Clips per number of threads; the first one warms up. */
const NUM_TIMED = 4;
const NUM_FOR_MEMORY = 20;
const THREADS = (process.env["MEASURE_THREADS"] ?? "1,2").split(",").map(Number);

let browser: Browser;
beforeAll(async () => {
  browser = await chromium.launch({ executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", args: [...BROWSER_FLAGS, "--enable-blink-features=ForceEagerMeasureMemory"] });
});
afterAll(() => browser?.close());

interface Measured {
  readonly load: number;
  /** Seconds per stage, the median of the clips. */
  readonly instant: Timings;
  readonly fast: Timings;
}

it("measures clips and memory", async () => {
  const server = await PythonServer.open();
  const page = await isolatedPage(server.url);
  const results: Record<string, unknown> = { browser: browser.version() };
  const note = (name: string, result: unknown): void => {
    results[name] = result;
    process.stdout.write(`${name}: ${JSON.stringify(result)}\n`);
  };
  for (const threads of THREADS) note(`threads ${threads}`, await measured(page, server.url, threads));
  note("memory, MB", await memory(page, server.url));
  const file = process.env["MEASURED_FILE"];
  if (file) writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
  expect(Object.keys(results).length).toBe(THREADS.length + 2);
});

/** The about page, which has no timeline that would use the processor. */
async function isolatedPage(url: string): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(url);
  await page.locator(".status", { hasText: "Works without a network" }).waitFor({ timeout: 200_000 });
  await page.goto(`${url}about.html`);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  return page;
}

async function measured(page: Page, url: string, threads: number): Promise<Measured> {
  const load = await startEngine(page, url, threads);
  const instant = median(await clips(page, "instant", NUM_TIMED + 1));
  const fast = median(await clips(page, "fast", Math.ceil(NUM_TIMED / 2)));
  await page.evaluate(() => (window as unknown as { engine: Worker }).engine.terminate());
  return { load, instant, fast };
}

/** Memory of page and worker after 1, 5, 10 … clips. */
async function memory(page: Page, url: string): Promise<Record<string, number>> {
  await startEngine(page, url, Math.max(...THREADS));
  const result: Record<string, number> = {};
  for (let clip = 1; clip <= NUM_FOR_MEMORY; clip++) {
    await clips(page, "instant", 1);
    if (clip === 1 || clip % 5 === 0) result[`${clip} clips`] = Math.round((await bytesOf(page)) / 1e5) / 10;
  }
  return result;
}

/** Seconds until the engine is loaded from the kept files. */
function startEngine(page: Page, url: string, threads: number): Promise<number> {
  const script = readWorkerPath();
  return page.evaluate(async ([url, script, threads]) => {
    const began = performance.now();
    const engine = new Worker(url + script, { type: "module" });
    (window as unknown as { engine: Worker }).engine = engine;
    await new Promise<void>((resolve, reject) => {
      engine.onmessage = ({ data }: MessageEvent<EngineEvent>) => {
        if (data.kind === "loaded") resolve();
        if (data.kind === "unloadable") reject(new Error(data.message));
      };
      engine.postMessage({ kind: "load", baseUrl: url, threads, provider: "wasm" });
    });
    return (performance.now() - began) / 1000;
  }, [url, script, threads] as const);
}

function clips(page: Page, preset: "instant" | "fast", count: number): Promise<Timings[]> {
  return page.evaluate(async ([preset, count]) => {
    const { engine } = window as unknown as { engine: Worker };
    const timings: Timings[] = [];
    for (let i = 0; i < count; i++) {
      const id = Math.floor(Math.random() * 2 ** 40);
      const start = { prompt: `church bells ${id % 7}`, seed: id, denoising: 0.75, guidance: 7 };
      timings.push(await new Promise<Timings>((resolve, reject) => {
        engine.onmessage = ({ data }: MessageEvent<EngineEvent>) => {
          if (data.kind === "result") resolve(data.timings);
          if (data.kind === "failed") reject(new Error(data.failure.message));
        };
        const request = { start, seed_image_id: "og_beat", preset, audio_format: "wav", image_format: "png" };
        engine.postMessage({ kind: "generate", id, request });
      }));
    }
    return timings;
  }, [preset, count] as const);
}

function bytesOf(page: Page): Promise<number> {
  return page.evaluate(async () => {
    const measured = performance as unknown as { measureUserAgentSpecificMemory(): Promise<{ bytes: number }> };
    return (await measured.measureUserAgentSpecificMemory()).bytes;
  });
}

function readWorkerPath(): string {
  const files = JSON.parse(readFileSync(join(FOLDER, "files.json"), "utf8")) as { path: string }[];
  const path = files.map(({ path }) => path).find((path) => /^assets\/worker-[^/]*\.js$/.test(path));
  if (!path) throw new Error("the static page has no worker; run `make web-static`");
  return path;
}

/** The median of each stage, without the first clip. */
function median(all: readonly Timings[]): Timings {
  const of = (stage: keyof Timings): number => {
    const sorted = all.slice(1).map((timings) => timings[stage]).sort((a, b) => a - b);
    return Math.round(1000 * (sorted[Math.floor(sorted.length / 2)] ?? 0)) / 1000;
  };
  return { prepare: of("prepare"), diffusion: of("diffusion"), decode: of("decode"), inversion: of("inversion") };
}
