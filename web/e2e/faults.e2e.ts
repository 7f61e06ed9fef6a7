import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { Jam, launchBrowser } from "./jam";
import { type Fault, Proxy } from "./proxy";
import { quietestDb } from "./signals";

const LINK = "numInferenceSteps=4&prompt=strings&seed=3";
const QUIETEST_DB = -45;
/** Shortens the page's timeout for a silent server from 45 s to 3 s. */
const PATIENCE = 15;

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

const FAULTS: readonly { fault: Fault | "away"; says: RegExp }[] = [
  { fault: "error", says: /status 500.*Trying again.*The last clip keeps playing/ },
  { fault: "hang", says: /has not responded for 45 s.*Trying again.*The last clip keeps playing/ },
  { fault: "nonsense", says: /incomplete or is not JSON.*Trying again.*The last clip keeps playing/ },
  { fault: "broken clip", says: /cannot play the clip.*Trying again.*The last clip keeps playing/ },
  { fault: "break off", says: /(incomplete|cannot be reached).*Trying again.*The last clip keeps playing/ },
  { fault: "away", says: /cannot be reached.*Trying again.*The last clip keeps playing/ },
];

describe("a server that fails doesn't stop the music", () => {
  it.for(FAULTS)("$fault", async ({ fault, says }) => {
    const proxy = await Proxy.open(inject("gateway"), inject("shortClips"));
    const jam = await Jam.open(browser, `${proxy.url}/?${LINK}`, { patience: PATIENCE });
    if (fault !== "away") Object.assign(proxy, { fault, faultAfter: 1 });
    await jam.play();
    const first = (await jam.untilStarted(1))[0]!;
    if (fault === "away") await proxy.goAway();
    await jam.untilStatus(says);
    const failedAt = await jam.now();
    const numStarted = (await jam.started()).length;

    if (fault === "away") await proxy.start();
    else proxy.fault = null;
    await jam.untilStatus(/ready|Playing|too slow|to keep up/);
    const started = await jam.untilStarted(numStarted + 1);
    const last = started.at(-1)!;
    expect(last.start).toBeGreaterThan(failedAt);

    await jam.untilTime(last.start + 0.5);
    const heard = await jam.tapped("heard", first.start + 0.1, last.start + 0.4);
    expect(quietestDb(heard.samples, heard.sampleRate, 1)).toBeGreaterThan(QUIETEST_DB);
    for (const { start, duration } of started) {
      const rounds = (start - first.start) / duration; // the beat was kept
      expect(Math.abs(rounds - Math.round(rounds)) * duration).toBeLessThan(0.005);
    }
  });
});

it("a refused request shows the reason, and another setting helps", async () => {
  const proxy = await Proxy.open(inject("gateway"), inject("shortClips"));
  const jam = await Jam.open(browser, `${proxy.url}/?${LINK}`);
  proxy.fault = "refusal";
  await jam.play();
  await jam.untilStatus(/seed_image_id: no beat in it\. Change this setting to continue/);
  proxy.fault = null;
  await jam.page.keyboard.press("s");
  await jam.page.getByRole("tab", { name: "Seed" }).click();
  await jam.page.getByText("vibes", { exact: true }).click();
  await jam.untilStarted(1);
  expect(proxy.exchanges.at(-1)!.input.seed_image_id).toBe("vibes");
});
