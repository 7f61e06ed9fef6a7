import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { Jam, launchBrowser } from "./jam";
import { Proxy } from "./proxy";

/** All the page's clocks run so many times faster, the audio clock too: an hour takes a minute. */
const SPEED = 60;
const HOUR_S = 3600;
/** Of 703 clips in an hour: a slow machine repeats some. */
const MANY = 150;
/** Answers of the real server that are given again and again in that hour. */
const NUM_ANSWERS = 4;
/** The probe remembers the last 40 sounds, each with a gain and two listeners; in an hour a leak would be hundreds. */
const REMEMBERED = 80;
const MEGABYTE = 2 ** 20;

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

interface Memory {
  readonly textures: number;
  readonly buffers: number;
  readonly sources: number;
  readonly audioNodes: number;
  readonly domNodes: number;
  readonly listeners: number;
  readonly heap: number;
}

it("holds no more after an hour than after some minutes", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const recording = await Jam.open(browser, `${proxy.url}/?prompt=marimba&seed=1&numInferenceSteps=4`);
  await recording.play();
  await expect.poll(() => proxy.exchanges.filter(({ answer }) => answer).length, { timeout: 120_000 }).toBe(NUM_ANSWERS);
  await recording.page.close();
  proxy.replays = proxy.exchanges.map(({ answer }) => answer!).slice(0, NUM_ANSWERS);
  const numRecorded = proxy.exchanges.length;

  const small = { viewport: { width: 320, height: 240 } };
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=marimba&seed=1&numInferenceSteps=4`, { speed: SPEED, device: small });
  await jam.play();
  await jam.untilTime(HOUR_S / 12);
  const early = await memory(jam);
  await jam.untilTime(HOUR_S);
  const late = await memory(jam);
  const numClips = proxy.exchanges.length - numRecorded;

  expect(numClips).toBeGreaterThan(MANY);
  expect(late.textures).toBeLessThan(30);
  expect(late.textures).toBeLessThanOrEqual(early.textures + 6);
  expect(late.buffers).toBeLessThanOrEqual(early.buffers + 6);
  expect(late.sources).toBeLessThanOrEqual(4);
  expect(late.audioNodes).toBeLessThanOrEqual(early.audioNodes + REMEMBERED);
  expect(late.domNodes).toBeLessThanOrEqual(early.domNodes + 50);
  expect(late.listeners).toBeLessThanOrEqual(early.listeners + REMEMBERED);
  expect(late.heap - early.heap).toBeLessThan(4 * MEGABYTE);
  expect(jam.complaints).toEqual([]);
});

/** What the page holds after garbage was collected. */
async function memory({ page }: Jam): Promise<Memory> {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  await session.send("HeapProfiler.collectGarbage");
  const { metrics } = await session.send("Performance.getMetrics");
  const metric = (name: string): number => metrics.find((known) => known.name === name)?.value ?? NaN;
  const living = await page.evaluate(() => ({ ...window.probe.living }));
  await session.detach();
  return {
    ...living,
    audioNodes: metric("AudioHandlers"),
    domNodes: metric("Nodes"),
    listeners: metric("JSEventListeners"),
    heap: metric("JSHeapUsedSize"),
  };
}
