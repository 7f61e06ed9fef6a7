import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, inject, it, vi } from "vitest";
import { Jam, launchBrowser } from "./jam";
import { Proxy } from "./proxy";
import { levelDb, loudnessLufs, quietestDb } from "./signals";

/** Few steps per clip: the tests are about timing, not timbre. */
const QUICK = "numInferenceSteps=4";
const SAMPLE_RATE = 44_100;
const NUM_CLIPS = 3;
/** Length of the crossfade at a join. */
const JOIN_S = 0.008;
/** Tolerance: samples leave the page with 16 bits, and the page fades with a curve of 64 points, this test with a sine. */
const ROUNDING = 2e-4;
/** Tolerances of the playhead: for 99 % of the frames, and for all frames, as the machine may be busy. */
const PLAYHEAD_S = 0.05;
const STUTTER_S = 0.25;
const LOUDNESS_STEP_DB = 1;
/** Level after a fade-out. */
const SILENCE_DB = -70;
const FADED_S = 0.01;

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

it("loads without errors or warnings, and so does the about page", async () => {
  const jam = await Jam.open(browser, inject("gateway"));
  await jam.page.locator(".axis-label", { hasText: "A4" }).waitFor();
  expect(await jam.status()).toBe("Press play to start");
  await jam.page.getByRole("link", { name: "Riffusion" }).click();
  await jam.page.getByRole("heading", { level: 1 }).waitFor();
  for (const image of await jam.page.locator("img").all()) {
    await image.scrollIntoViewIfNeeded();
    expect(await image.evaluate((img: HTMLImageElement) => img.decode().then(() => img.naturalWidth))).toBe(512);
  }
  for (const audio of await jam.page.locator("audio").all()) {
    const seconds = await audio.evaluate(async (player: HTMLAudioElement) => {
      player.load();
      player.preload = "metadata";
      await new Promise((done) => player.addEventListener("loadedmetadata", done, { once: true }));
      return player.duration;
    });
    expect(seconds).toBeGreaterThan(5);
  }
  expect(jam.complaints).toEqual([]);
});

it("waits with its first request until it knows what the checkpoint can do, and makes it once", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  [proxy.fault, proxy.infoDelay] = ["hang", 1000];
  const jam = await Jam.open(browser, proxy.url, { speed: 0.2 }); // so the page waits for 10 s, also on a busy machine
  await jam.play();
  await vi.waitFor(() => expect(proxy.isInfoSent || proxy.exchanges.length > 0).toBe(true), 10_000);
  expect(proxy.isInfoSent).toBe(true);
  await vi.waitFor(() => expect(proxy.exchanges.length).toBeGreaterThan(0), 10_000);
  await new Promise((done) => setTimeout(done, 2000)); // time for a second one, with other settings
  expect(proxy.exchanges.length).toBe(1);
  expect(proxy.exchanges[0]!.input).toMatchObject({ scheduler: "lcm", num_inference_steps: 4 }); // the checkpoint is distilled
  expect(jam.complaints).toEqual([]);
});

it("plays clips at exact samples and at equal loudness, and draws what is audible", async () => {
  const jam = await Jam.open(browser, `${inject("gateway")}/?prompt=church+bells&seed=42&${QUICK}`);
  await jam.play();
  const started = (await jam.untilStarted(NUM_CLIPS)).slice(0, NUM_CLIPS);
  const [first, last] = [started[0]!, started.at(-1)!];

  const rounds = started.slice(1).map(({ start }, i) => (start - started[i]!.start) / started[i]!.duration);
  for (const count of rounds) expect(Math.abs(count - Math.round(count)) * first.duration).toBeLessThan(1 / SAMPLE_RATE);
  for (const [i, { stop }] of started.slice(0, -1).entries()) expect(stop).toBeCloseTo(started[i + 1]!.start + JOIN_S, 6);
  for (const { numSamples } of started) expect(numSamples).toBe(5.12 * SAMPLE_RATE);

  const end = last.start + last.duration;
  const mix = await jam.tapped("mix", first.start, end);
  const expected = await expectedMix(jam, started, first.start, mix.samples.length);
  expect(largestDifference(mix.samples, expected)).toBeLessThan(ROUNDING);

  const heard = await jam.tapped("heard", first.start, end);
  expect(quietestDb(heard.samples, SAMPLE_RATE, 1)).toBeGreaterThan(-45);
  expect(heard.samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0)).toBeLessThanOrEqual(1);
  const loudnesses = started.map(({ start, duration }) => {
    const from = Math.round((start - first.start) * SAMPLE_RATE);
    return loudnessLufs(heard.samples.subarray(from, from + Math.round(duration * SAMPLE_RATE)), SAMPLE_RATE);
  });
  for (const [i, loudness] of loudnesses.slice(1).entries()) {
    expect(Math.abs(loudness - loudnesses[i]!)).toBeLessThan(LOUDNESS_STEP_DB);
  }

  const drawn = await jam.page.evaluate(() => window.probe.drawn);
  const errors = drawn
    .filter(({ heardNow }) => heardNow > first.start)
    .map(({ start, playhead, heardNow }) => (playhead - start - (heardNow - first.start)) / first.duration)
    .map((rounds) => Math.abs(rounds - Math.round(rounds)) * first.duration);
  expect(errors.length).toBeGreaterThan(20);
  errors.sort((a, b) => a - b);
  expect(errors[Math.floor(0.99 * errors.length)]).toBeLessThan(PLAYHEAD_S);
  expect(errors.at(-1)).toBeLessThan(STUTTER_S);
  expect(jam.complaints).toEqual([]);
});

it("is silent while paused, and resumes at the same position", async () => {
  const proxy = await Proxy.open(inject("gateway"), inject("shortClips"));
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=organ&seed=1&${QUICK}`);
  await jam.play();
  const [clip] = await jam.untilStarted(1);
  await jam.untilTime(clip!.start + 1.5);
  await jam.page.keyboard.press("Space");
  await jam.page.getByRole("button", { name: "Play", exact: true }).waitFor();
  const paused = await jam.untilSuspended();
  await jam.page.waitForTimeout(400);
  expect(await jam.now()).toBe(paused);
  expect(await jam.status()).toBe("Paused");
  await jam.page.keyboard.press("Space");
  await jam.untilTime(paused + 1.5);
  const after = await jam.tapped("heard", paused + 0.3, paused + 1.3);
  expect(levelDb(after.samples)).toBeGreaterThan(-40);
  expect((await jam.started())[0]!.start).toBe(clip!.start);
  const before = await jam.tapped("heard", paused - FADED_S, paused); // faded out before the clock stopped
  expect(levelDb(before.samples)).toBeLessThan(SILENCE_DB);
});

it("reports when the browser blocks audio, and resumes as soon as the browser allows it", async () => {
  const proxy = await Proxy.open(inject("gateway"), inject("shortClips"));
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=organ&seed=1&${QUICK}`);
  await jam.play();
  await jam.untilStarted(1);
  const stopAudio = (isForGood: boolean): Promise<void> => jam.page.evaluate((isForGood) => {
    const { context } = window.probe;
    if (isForGood) context!.resume = () => new Promise(() => undefined);
    return context!.suspend();
  }, isForGood);
  const pause = jam.page.getByRole("button", { name: "Pause" });

  await stopAudio(false);
  await jam.untilTime((await jam.now()) + 0.5); // the page resumes it
  await pause.waitFor();

  await stopAudio(true);
  await jam.untilStatus(/browser has stopped the audio/);
  await jam.page.getByRole("button", { name: "Play", exact: true }).waitFor();
  const stopped = await jam.now();
  await jam.page.evaluate(() => {
    delete (window.probe.context as Partial<AudioContext>).resume;
    document.dispatchEvent(new Event("visibilitychange")); // the user returns to the page
  });
  await pause.waitFor();
  await jam.untilTime(stopped + 1);

  await stopAudio(true);
  const play = jam.page.getByRole("button", { name: "Play", exact: true });
  await play.waitFor();
  await jam.page.evaluate(() => delete (window.probe.context as Partial<AudioContext>).resume);
  await play.click();
  await jam.untilTime(stopped + 2);
  await pause.waitFor();
  expect(jam.complaints).toEqual([]);
});

/** The expected samples before the compressor, computed from the start times and the samples of the clips. */
async function expectedMix(
  jam: Jam,
  started: readonly { index: number; start: number; stop: number | null }[],
  from: number,
  length: number,
): Promise<Float32Array> {
  const sum = new Float32Array(length);
  const fade = JOIN_S * SAMPLE_RATE;
  for (const { index, start, stop } of started) {
    const clip = await jam.audio(index);
    const begin = Math.round((start - from) * SAMPLE_RATE);
    const end = stop === null ? length : (stop - from) * SAMPLE_RATE;
    for (let i = begin; i < Math.min(end, length); i++) {
      const rise = Math.min(1, (i - begin) / fade);
      const fall = stop === null ? 1 : Math.min(1, (end - i) / fade);
      sum[i] = (sum[i] ?? 0) + Math.sin((Math.PI / 2) * rise) * Math.sin((Math.PI / 2) * fall) * (clip[(i - begin) % clip.length] ?? 0);
    }
  }
  return sum;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (b[i] ?? 0))), 0);
}
