import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { Jam, launchBrowser } from "./jam";
import { Proxy } from "./proxy";
import { recordSeedClips } from "./recorded_clips";

/** Factor for all clocks of the page, including the audio clock: a clip of 5.12 s takes 85 ms. */
const SPEED = 60;
/** Number of clips before the two measurements. The second one is after at least 21 minutes of music. */
const NUM_EARLY = 50;
const NUM_LATE = 250;
/** The probe keeps the last 40 buffers, each with a gain and two listeners; a leak would add at least one per clip. */
const TOLERANCE = 80;
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

it("needs no more memory after 250 clips than after 50", async () => {
  const clips = await recordSeedClips(inject("gateway"), ["og_beat", "agile"]);
  const proxy = await Proxy.open(inject("gateway"), clips);
  const small = { viewport: { width: 320, height: 240 } };
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=marimba&seed=1&numInferenceSteps=4`, { speed: SPEED, device: small });
  await jam.play();
  const untilClips = (count: number): Promise<void> =>
    expect.poll(() => proxy.exchanges.length, { timeout: 200_000, interval: 200 }).toBeGreaterThanOrEqual(count);
  await untilClips(NUM_EARLY);
  const early = await memory(jam);
  await untilClips(NUM_LATE);
  const late = await memory(jam);

  expect(late.textures).toBeLessThan(30);
  expect(late.textures).toBeLessThanOrEqual(early.textures + 6);
  expect(late.buffers).toBeLessThanOrEqual(early.buffers + 6);
  expect(late.sources).toBeLessThanOrEqual(4);
  expect(late.audioNodes).toBeLessThanOrEqual(early.audioNodes + TOLERANCE);
  expect(late.domNodes).toBeLessThanOrEqual(early.domNodes + 50);
  expect(late.listeners).toBeLessThanOrEqual(early.listeners + TOLERANCE);
  expect(late.heap - early.heap).toBeLessThan(4 * MEGABYTE);
  expect(jam.complaints).toEqual([]);
});

/** What the page holds after a garbage collection. */
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
