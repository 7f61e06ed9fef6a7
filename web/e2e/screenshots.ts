/**
 * Takes the pictures of docs/images that show the page, while a jam plays on this machine. Not a test:
 *
 *     make web && cd web && npm run screenshots
 */

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, BrowserContextOptions } from "playwright-core";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { Jam, launchBrowser } from "./jam";

const IMAGES = join(dirname(fileURLToPath(import.meta.url)), "../../docs/images");
const LINK = "?seed=42&prompt=church+bells&next=jazz+trio&guidance=4&denoising=0.75&numInferenceSteps=6";
const QUALITY = 85;

const PICTURES: Record<string, BrowserContextOptions> = {
  "web_app.jpg": { viewport: { width: 1440, height: 900 } },
  "web_app_phone.jpg": { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
};

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

it.each(Object.keys(PICTURES))("%s", async (name) => {
  const jam = await Jam.open(browser, `${inject("gateway")}/${LINK}`, { device: PICTURES[name]! });
  await jam.play();
  const second = (await jam.untilStarted(2))[1]!;
  await jam.untilTime(second.start + 1);
  await jam.untilStatus(/ready|Playing/);
  await jam.page.screenshot({ path: join(IMAGES, name), type: "jpeg", quality: QUALITY });
  expect(jam.complaints).toEqual([]);
});

it("web_edit.jpg", async () => {
  const { page, complaints } = await Jam.open(browser, `${inject("gateway")}/#edit`, { device: PICTURES["web_app.jpg"]! });
  await page.getByLabel("Open a recording").setInputFiles(join(IMAGES, "../audio/church_bells.mp3"));
  await page.getByLabel("From, in seconds").fill("1.5");
  await page.getByLabel("From, in seconds").press("Enter");
  await page.getByLabel("To, in seconds").fill("3.5");
  await page.getByLabel("To, in seconds").press("Enter");
  await page.getByRole("textbox", { name: "What should be here?" }).fill("energetic techno beat");
  await page.getByRole("button", { name: "Make" }).click();
  await page.getByRole("button", { name: /^Replace: / }).waitFor({ timeout: 300_000 });
  await page.locator(".notice").first().waitFor({ state: "detached" });
  await page.screenshot({ path: join(IMAGES, "web_edit.jpg"), type: "jpeg", quality: QUALITY });
  expect(complaints).toEqual([]);
});
