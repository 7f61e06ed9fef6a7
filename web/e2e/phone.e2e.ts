import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { Jam, launchBrowser } from "./jam";
import { Proxy } from "./proxy";
import { levelDb } from "./signals";

const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const SMALL_PHONE = { ...PHONE, viewport: { width: 320, height: 568 } };
const FINGER_PX = 34;

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

const LINK = "?seed=4&numInferenceSteps=4&prompt=a+slow+and+dreamy+ambient+pad+with+church+bells+and+strings+far+away";

it("fits a small phone, with every panel", async () => {
  const jam = await Jam.open(browser, `${inject("gateway")}/${LINK}&next=${"a+very+long+prompt+".repeat(60)}`, { device: SMALL_PHONE });
  expect(await outside(jam.page)).toEqual([]);
  await jam.page.getByRole("button", { name: "Settings", exact: true }).tap();
  for (const tab of await jam.page.getByRole("tab").all()) {
    await tab.tap();
    expect(await outside(jam.page)).toEqual([]);
    expect(await tooWide(jam.page)).toEqual([]);
  }
});

it("fits a phone and plays after a tap", async () => {
  const proxy = await Proxy.open(inject("gateway"), inject("shortClips"));
  const jam = await Jam.open(browser, `${proxy.url}/${LINK}`, { device: PHONE });
  expect(await outside(jam.page)).toEqual([]);
  await jam.page.getByRole("button", { name: "Play", exact: true }).tap();
  const clip = (await jam.untilStarted(1))[0]!;
  const heard = await jam.tapped("heard", clip.start + 0.2, clip.start + 1.2);
  expect(levelDb(heard.samples)).toBeGreaterThan(-45);
  expect(await outside(jam.page)).toEqual([]);

  await jam.page.getByRole("button", { name: "Settings", exact: true }).tap();
  for (const tab of await jam.page.getByRole("tab").all()) {
    await tab.tap();
    expect(await outside(jam.page)).toEqual([]);
  }
  await jam.page.getByRole("button", { name: "Close settings" }).tap();
  await jam.page.getByRole("button", { name: "Pause" }).tap();
  expect(jam.complaints).toEqual([]);
});

/** Texts that are wider than their element. */
function tooWide(page: Page): Promise<string[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>(".tabs button, .panel:not([hidden]) *")]
      .filter((element) => !element.matches("input")) // its text scrolls
      .filter((element) => element.clientWidth > 1 && getComputedStyle(element).display !== "inline")
      .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
      .map(({ className, textContent, scrollWidth, clientWidth }) => `${className} ${textContent}: ${scrollWidth} in ${clientWidth} px`),
  );
}

/** Controls that are partly outside the page, too small for a finger, or covered by another element. */
function outside(page: Page): Promise<string[]> {
  return page.evaluate((finger) => {
    const problems: string[] = [];
    if (document.documentElement.scrollWidth > innerWidth) problems.push(`page of ${document.documentElement.scrollWidth} px`);
    for (const control of document.querySelectorAll<HTMLElement>("button, a, input:not([type=radio], [type=file], [type=checkbox]), select, h1, .status")) {
      if (!control.checkVisibility() || control.closest(".samples") || control.getBoundingClientRect().width === 0) continue;
      const { left, right, top, bottom, width, height } = control.getBoundingClientRect();
      const name = control.getAttribute("aria-label") ?? control.textContent ?? control.tagName;
      if (left < 0 || right > innerWidth + 0.5) problems.push(`${name}: from ${left} to ${right}`);
      const scrolls = control.closest(".panel") !== null;
      if (!scrolls && (top < 0 || bottom > innerHeight + 0.5)) problems.push(`${name}: down to ${bottom}`);
      if (control.matches("button") && Math.min(width, height) < finger) problems.push(`${name}: ${width} × ${height}`);
      if (scrolls || !control.matches("button")) continue;
      const onTop = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
      if (onTop && !control.contains(onTop)) problems.push(`${name}: covered by ${onTop.className || onTop.tagName}`);
    }
    return problems;
  }, FINGER_PX);
}
