/** A jam in a real browser, opened for one test and closed after it. */

import { type Browser, type BrowserContextOptions, type Page, chromium } from "playwright-core";
import { onTestFinished } from "vitest";
import type { Seconds } from "../src/units";
import { type Started, type Tapped, installProbe } from "./probe";

const DESKTOP = { viewport: { width: 800, height: 520 } };
export const BROWSER_FLAGS = [
  "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
  "--autoplay-policy=no-user-gesture-required", "--no-sandbox", "--disable-background-networking",
];

export interface JamOptions {
  /** Browser options: viewport, touch and so on. */
  readonly device?: BrowserContextOptions;
  /** See `installProbe`. */
  readonly speed?: number;
  readonly patience?: number;
}

export async function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", args: BROWSER_FLAGS });
}

export class Jam {
  /** Errors and warnings of the page. */
  readonly complaints: string[] = [];

  private constructor(readonly page: Page) {
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.complaints.push(message.text());
    });
  }

  static async open(browser: Browser, url: string, { device = {}, speed = 1, patience = 1 }: JamOptions = {}): Promise<Jam> {
    const context = await browser.newContext({ ...DESKTOP, permissions: ["clipboard-read", "clipboard-write"], ...device });
    onTestFinished(() => context.close());
    const page = await context.newPage();
    await page.addInitScript(installProbe, { speed, patience });
    const jam = new Jam(page);
    await page.goto(url);
    return jam;
  }

  async play(): Promise<void> {
    await this.page.getByRole("button", { name: "Play", exact: true }).click();
  }

  /** The status line of the page. */
  status(): Promise<string> {
    return this.page.locator(".status").innerText();
  }

  /** The prompt in large type. */
  nowPlaying(): Promise<string> {
    return this.page.locator(".now").innerText();
  }

  now(): Promise<Seconds> {
    return this.page.evaluate(() => window.probe.now);
  }

  /** Audio buffers that were started, in order. */
  started(): Promise<readonly Started[]> {
    return this.page.evaluate(() => window.probe.started);
  }

  async untilStarted(count: number): Promise<readonly Started[]> {
    await this.page.waitForFunction((count) => window.probe.started.length >= count, count, { timeout: 100_000 });
    return this.started();
  }

  /** Waits until the status matches. */
  async untilStatus(pattern: RegExp, timeout: Seconds = 100): Promise<string> {
    await this.page.locator(".status", { hasText: pattern }).waitFor({ timeout: 1000 * timeout });
    return this.status();
  }

  /** Waits until the audio clock has reached `time`. */
  async untilTime(time: Seconds): Promise<void> {
    await this.page.waitForFunction((time) => window.probe.now > time, time, { timeout: 100_000 });
  }

  /** Waits until the audio clock stands still, after the fade of a pause or the end of a preview. */
  async untilSuspended(): Promise<Seconds> {
    await this.page.waitForFunction(() => window.probe.context?.state === "suspended", null, { timeout: 100_000 });
    return this.now();
  }

  /** The samples of a started audio buffer. */
  async audio(index: number): Promise<Float32Array> {
    return floats(await this.page.evaluate((index) => window.probe.audio(index), index), 32767);
  }

  /** The samples at a tap from `from` to `to`. */
  async tapped(place: "mix" | "heard", from: Seconds, to: Seconds): Promise<Tapped> {
    const isThere = ([place, to]: readonly ["mix" | "heard", number]): boolean => window.probe.tappedUntil(place) >= to;
    if (!(await this.page.evaluate((place) => window.probe.isTapped(place), place))) {
      throw new Error(`no tap at "${place}": no audio goes there, or the clocks of the page are accelerated`);
    }
    await this.page.waitForFunction(isThere, [place, to] as const, { timeout: 100_000 });
    const { time, sampleRate, halved } = await this.page.evaluate(
      ([place, from]) => window.probe.tapped(place, from),
      [place, from] as const,
    );
    if (from < time) throw new Error(`the loopRecording of "${place}" begins at ${time} s, after ${from} s`);
    const first = Math.round((from - time) * sampleRate);
    const samples = floats(halved, 16384).subarray(first, first + Math.round((to - from) * sampleRate));
    return { time: time + first / sampleRate, sampleRate, samples };
  }
}

function floats(base64: string, scale: number): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(base64, "base64"));
  return Float32Array.from(new Int16Array(bytes.buffer), (value) => value / scale);
}
