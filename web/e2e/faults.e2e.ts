import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { Jam, launchBrowser } from "./jam";
import { type Fault, Proxy } from "./proxy";
import { quietestDb } from "./signals";

const QUICK = "numInferenceSteps=4&prompt=strings&seed=3";
const QUIETEST_DB = -45;
/** The page's patience with a silent server, 45 s, becomes 15 s, which is three signs of life. */
const PATIENCE = 3;

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

const FAULTS: readonly { fault: Fault | "away"; says: RegExp }[] = [
  { fault: "error", says: /status 500.*Trying again.*The last clip plays on/ },
  { fault: "hang", says: /said nothing for 45 s.*Trying again.*The last clip plays on/ },
  { fault: "nonsense", says: /broke off or is no JSON.*Trying again.*The last clip plays on/ },
  { fault: "broken clip", says: /clip cannot be played.*Trying again.*The last clip plays on/ },
  { fault: "break off", says: /(broke off|out of reach).*Trying again.*The last clip plays on/ },
  { fault: "away", says: /out of reach.*Trying again.*The last clip plays on/ },
];

describe("a server that fails doesn't stop the music", () => {
  it.for(FAULTS)("$fault", async ({ fault, says }) => {
    const proxy = await Proxy.open(inject("gateway"));
    const jam = await Jam.open(browser, `${proxy.url}/?${QUICK}`, { patience: PATIENCE });
    await jam.play();
    const first = (await jam.untilStarted(1))[0]!;
    if (fault === "away") await proxy.goAway();
    else proxy.fault = fault;
    await jam.untilStatus(says);
    const failedAt = await jam.now();
    const numStarted = (await jam.started()).length;

    if (fault === "away") await proxy.start();
    else proxy.fault = null;
    await jam.untilStatus(/ahead|Playing|Falling behind|to keep up/);
    const started = await jam.untilStarted(numStarted + 1);
    expect(started.at(-1)!.start).toBeGreaterThan(failedAt);

    const until = await jam.now();
    const heard = await jam.tapped("heard", first.start + 0.1, until);
    expect(quietestDb(heard.samples, heard.sampleRate, 1)).toBeGreaterThan(QUIETEST_DB);
    for (const { start, duration } of started) {
      const rounds = (start - first.start) / duration; // whatever happened, the beat was kept
      expect(Math.abs(rounds - Math.round(rounds)) * duration).toBeLessThan(0.005);
    }
  });
});

it("a request that is refused says why, and a change of it helps", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const jam = await Jam.open(browser, `${proxy.url}/?${QUICK}`);
  proxy.fault = "refusal";
  await jam.play();
  await jam.untilStatus(/seed_image_id: no beat in it\. Change it, and the jam goes on/);
  proxy.fault = null;
  await jam.page.keyboard.press("s");
  await jam.page.getByRole("tab", { name: "Seed" }).click();
  await jam.page.getByText("vibes", { exact: true }).click();
  await jam.untilStarted(1);
  expect(proxy.exchanges.at(-1)!.input.seed_image_id).toBe("vibes");
});
