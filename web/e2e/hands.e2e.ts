import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import type { InferenceInput } from "../src/api/messages";
import { wavBlob } from "../src/audio/wav";
import { Jam, launchBrowser } from "./jam";
import type { Started } from "./probe";
import { Proxy } from "./proxy";
import { clickTrack, levelDb, strongestFrequency } from "./signals";

const SAMPLE_RATE = 44_100;
/** Few steps per clip: these tests compare clips and requests, not timbre. */
const QUICK = "numInferenceSteps=2";
const SILENCE_DB = -70;
/** Tolerance for two roundings to 16 bits. */
const ROUNDING = 2e-4;

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

it("moves to a typed prompt, and plays exactly what the server made", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=church+bells&seed=42&alphaVelocity=0.5&${QUICK}`);
  await jam.play();
  const line = jam.page.getByRole("textbox", { name: "Next prompt" });
  await line.fill("techno beat");
  await line.press("Enter");
  await jam.page.getByText("Up next: techno beat").waitFor();
  await jam.page.locator(".now", { hasText: "techno beat" }).waitFor({ timeout: 150_000 });

  const inputs = proxy.exchanges.map(({ input }) => input);
  const way = inputs.filter(({ end }) => end?.prompt === "techno beat").map(({ start, alpha }) => [start.prompt, alpha]);
  expect(way.slice(0, 2)).toContainEqual(["church bells", 0.5]);
  const arrived = inputs.findIndex(({ start, alpha }) => start.prompt === "techno beat" && alpha === 0);
  expect(arrived).toBeGreaterThan(0);
  expect(inputs[arrived]!.start.seed).toBeGreaterThan(42);

  const heard = (await jam.started()).at(-1)!;
  await jam.untilTime(heard.start + 1.5);
  const { samples } = await jam.tapped("mix", heard.start + 0.1, heard.start + 1.1);
  await jam.page.close(); // clips in one batch are rounded differently
  const direct = await makeDirectly({ ...inputs[arrived]!, audio_format: "wav" });
  const expected = direct.subarray(Math.round(0.1 * SAMPLE_RATE), Math.round(1.1 * SAMPLE_RATE));
  const largest = samples.reduce((most, sample, i) => Math.max(most, Math.abs(sample - (expected[i] ?? 0))), 0);
  expect(levelDb(samples)).toBeGreaterThan(-40);
  expect(largest).toBeLessThan(ROUNDING);
});

it("plays a drawn note at its pitch", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const jam = await Jam.open(browser, proxy.url);
  await jam.page.keyboard.press("s");
  await jam.page.getByRole("tab", { name: "Draw" }).click();
  const canvas = jam.page.getByRole("img", { name: /Drawing area/ }).first();
  const box = (await canvas.boundingBox())!;
  const y = box.y + box.height * (1 - melShare(440));
  await jam.page.mouse.move(box.x + 0.1 * box.width, y);
  await jam.page.mouse.down();
  await jam.page.mouse.move(box.x + 0.9 * box.width, y, { steps: 12 });
  await jam.page.mouse.up();
  expect(await jam.page.locator(".pitch-note").innerText()).toMatch(/A4$/);
  await jam.page.getByRole("button", { name: "Listen to the drawing" }).click();
  const [note] = await jam.untilStarted(1);
  const { samples, sampleRate } = await jam.tapped("mix", note!.start + 2, note!.start + 2.5);
  expect(levelDb(samples)).toBeGreaterThan(-40);
  expect(strongestFrequency(samples, sampleRate, 200, 700, 2) / 440).toBeCloseTo(1, 1.3);
  expect(proxy.exchanges[0]!.input.mode).toBe("image_to_audio");
});

it("moves the focus into the settings and back, and resets a turned landscape", async () => {
  const { page } = await Jam.open(browser, inject("gateway"));
  const focused = (): Promise<string> => page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent ?? "");
  await page.keyboard.press("s");
  expect(await focused()).toBe("Queue");
  await page.keyboard.press("Escape");
  expect(await page.getByRole("complementary").isVisible()).toBe(false);
  const back = page.getByRole("button", { name: "Back to now" });
  expect(await back.isVisible()).toBe(false);
  await page.mouse.move(400, 150);
  await page.mouse.down();
  await page.mouse.move(520, 190, { steps: 6 });
  await page.mouse.up();
  await back.click();
  await back.waitFor({ state: "hidden" });
});

it("refuses an empty drawing, and repaints the current clip", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=organ&seed=1&alphaVelocity=1&${QUICK}`);
  const { page } = jam;
  await page.keyboard.press("s");
  await page.getByRole("tab", { name: "Draw" }).click();
  for (const name of ["Listen to the drawing", "Use as seed"]) {
    await page.getByRole("button", { name }).click();
    await page.getByText("Nothing is painted yet").last().waitFor();
  }
  expect(proxy.exchanges).toEqual([]);

  await jam.play();
  const [clip] = await jam.untilStarted(1);
  await jam.untilTime(clip!.start + 0.5);
  await page.getByRole("button", { name: "Current clip" }).click();
  const under = page.locator("img.under");
  const first = await under.getAttribute("src");
  const [, next] = await jam.untilStarted(2);
  await jam.untilTime(next!.start + 1);
  expect(await under.getAttribute("src")).not.toBe(first);
  const box = (await page.locator(".mask-canvas").boundingBox())!;
  await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
  await page.getByRole("button", { name: "Repaint" }).click();
  await page.getByText("The repainted clip plays next").waitFor();
  await page.getByRole("button", { name: "Repaint" }).click(); // the mask is empty again
  await page.getByText("Nothing is painted yet").last().waitFor();
  expect(proxy.exchanges.filter(({ input }) => input.mask_image !== undefined)).toHaveLength(1);
});

it("previews a loop once while the jam is paused, and stays paused", async () => {
  const proxy = await Proxy.open(inject("gateway"), inject("shortClips"));
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=organ&seed=1&${QUICK}`);
  await jam.play();
  const [clip] = await jam.untilStarted(1);
  await jam.untilTime(clip!.start + 0.5);
  await jam.page.keyboard.press("Space");
  await jam.page.getByRole("button", { name: "Play", exact: true }).waitFor();
  await jam.page.keyboard.press("s");
  await jam.page.getByRole("tab", { name: "Seed" }).click();
  const paused = await jam.untilSuspended();
  await jam.page.getByRole("button", { name: "Listen to vibes" }).click();
  const previewed = async (): Promise<Started | undefined> => (await jam.started()).find(({ isLoop }) => !isLoop);
  await expect.poll(previewed, { timeout: 30_000 }).toBeDefined();
  const preview = (await previewed())!;
  expect(preview.start).toBeGreaterThan(paused);
  expect(preview.stop).toBeNull(); // it ends by itself
  const end = preview.start + preview.duration;
  const loud = await jam.tapped("mix", preview.start + 1, end - 1);
  expect(levelDb(loud.samples)).toBeGreaterThan(-40);
  await jam.page.locator("button[aria-busy]").waitFor({ state: "detached" });
  const still = await jam.untilSuspended();
  expect(still).toBeGreaterThan(end);
  expect(await jam.status()).toBe("Paused");
  await jam.page.waitForTimeout(400);
  expect(await jam.now()).toBe(still);

  await jam.page.getByRole("button", { name: "Play", exact: true }).click();
  await jam.untilTime(still + 1);
  for (const [from, to] of [[paused, preview.start], [end, still]] as const) {
    expect(levelDb((await jam.tapped("mix", from, to)).samples)).toBeLessThan(SILENCE_DB);
  }
});

it("cuts a dropped recording to its beats and uses it as the seed loop", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=techno+beat&seed=5&${QUICK}`);
  const recording = wavBlob([clickTrack(120, 9, SAMPLE_RATE)], SAMPLE_RATE);
  const bytes = [...new Uint8Array(await recording.arrayBuffer())];
  await jam.page.evaluate((bytes) => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(bytes)], "clicks.wav", { type: "audio/wav" }));
    for (const type of ["dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true }));
    }
  }, bytes);
  await jam.page.getByRole("button", { name: "Loop for the jam" }).click();
  await jam.page.getByText("New clips use clicks.wav as the seed loop").waitFor({ timeout: 30_000 });
  await jam.page.keyboard.press("s");
  await jam.page.getByRole("tab", { name: "Seed" }).click();
  const about = await jam.page.getByText(/clicks\.wav: /).innerText();
  const [, beats, tempo] = /(\d+) beats at ([\d.]+) BPM/.exec(about) ?? [];
  expect([Number(beats), Number(tempo)]).toEqual([8, expect.closeTo(120, 0)]);

  await jam.play();
  const clips = (await jam.untilStarted(2)).filter(({ index }) => index > 0);
  expect(clips[0]!.duration).toBeCloseTo(4, 2);
  const { input } = proxy.exchanges.at(-1)!;
  expect(input.init_image).toMatch(/^data:image\/png;base64,/);
  expect(input.seed_image_id).toBeUndefined();
});

it("restores a shared jam with exactly the same clip", async () => {
  const proxy = await Proxy.open(inject("gateway"));
  const settings = "prompt=jazz+trio&seed=77&denoising=0.9&guidance=4&maskImageId=mask_top_third_75&alphaVelocity=0.4";
  const jam = await Jam.open(browser, `${proxy.url}/?${settings}&negativePrompt=piano&next=bossa+nova&${QUICK}`);
  await jam.play();
  const second = (await jam.untilStarted(2))[1]!;
  await jam.untilTime(second.start + 0.5);
  await jam.page.keyboard.press("l");
  await jam.page.getByText("Link copied").waitFor();
  const link = await jam.page.evaluate(() => navigator.clipboard.readText());
  const shared = proxy.exchanges[1]!;

  await jam.page.close(); // clips in one batch are rounded differently
  const numBefore = proxy.exchanges.length;
  const other = await Jam.open(browser, link);
  expect(await other.nowPlaying()).toBe("jazz trio");
  await other.play();
  await other.untilStarted(1);
  const restored = proxy.exchanges.slice(numBefore).find(({ input }) => input.start.prompt === shared.input.start.prompt)!;
  expect(restored.input).toEqual(shared.input);
  expect(shared.input).toMatchObject({
    alpha: 0.4, mask_image_id: "mask_top_third_75", num_inference_steps: 2,
    start: { prompt: "jazz trio", seed: 77, denoising: 0.9, guidance: 4, negative_prompt: "piano" },
    end: { prompt: "bossa nova", seed: 78 },
  });
  expect(clipOf(restored.answer) === clipOf(shared.answer)).toBe(true);
});

it("keeps playing while settings change, and uses them", async () => {
  const proxy = await Proxy.open(inject("gateway"), inject("shortClips"));
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=piano&seed=9&${QUICK}`);
  await jam.play();
  await jam.untilStarted(1);
  await jam.page.keyboard.press("s");
  await jam.page.getByRole("tab", { name: "Sound" }).click();
  await jam.page.getByRole("slider", { name: "Guidance" }).fill("3");
  await jam.page.getByLabel("Scheduler").selectOption("ddim");
  await expect.poll(() => proxy.exchanges.at(-1)!.input, { timeout: 90_000 }).toMatchObject({
    scheduler: "ddim",
    start: { guidance: 3 },
  });
  await jam.page.getByRole("tab", { name: "Queue" }).click();
  for (const prompt of ["calm piano", "dark organ", "sad violin"]) {
    await jam.page.getByRole("button", { name: prompt, exact: true }).click();
  }
  await jam.page.getByRole("button", { name: "Earlier: sad violin" }).click();
  await jam.page.getByRole("button", { name: "Play now: sad violin" }).click();
  await jam.page.locator(".now", { hasText: "sad violin" }).waitFor({ timeout: 90_000 });
  const jumped = proxy.exchanges.find(({ input }) => input.start.prompt === "sad violin")!;
  expect(jumped.input.alpha).toBe(0);
});

it("shows a prompt that the transition has begun to, and allows another one instead", async () => {
  const proxy = await Proxy.open(inject("gateway"), inject("shortClips"));
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=piano&seed=9&alphaVelocity=0.2&${QUICK}`);
  await jam.play();
  await jam.untilStarted(1);
  await jam.page.keyboard.press("s");
  await jam.page.getByRole("button", { name: "church bells", exact: true }).last().click();
  await expect.poll(() => proxy.exchanges.at(-1)!.input.end?.prompt, { timeout: 90_000 }).toBe("church bells");
  await jam.page.getByRole("button", { name: "Pause" }).click(); // so that it does not arrive while this test types
  const next = jam.page.getByRole("textbox", { name: "Prompt 1" });
  expect(await next.inputValue()).toBe("church bells");
  expect(await jam.page.getByText("The queue is empty").isVisible()).toBe(false);
  await next.fill("dark organ");
  await next.press("Enter");
  await jam.play();
  await jam.page.locator(".now", { hasText: "dark organ" }).waitFor({ timeout: 150_000 });
  expect(proxy.exchanges.some(({ input }) => input.start.prompt === "church bells")).toBe(false);
});

it("does not move a slider that the user holds while clips arrive", async () => {
  const proxy = await Proxy.open(inject("gateway"), inject("shortClips"));
  proxy.progressInterval = 50;
  const jam = await Jam.open(browser, `${proxy.url}/?prompt=piano&seed=9&numInferenceSteps=12`);
  await jam.play();
  await jam.page.keyboard.press("s");
  await jam.page.getByRole("tab", { name: "Sound" }).click();
  const slider = jam.page.getByRole("slider", { name: "Guidance" });
  const box = (await slider.boundingBox())!;
  const at = (share: number): readonly [number, number] => [box.x + share * box.width, box.y + box.height / 2];
  await jam.page.mouse.move(...at(0.8));
  await jam.page.mouse.down();
  await jam.page.mouse.move(...at(0.15), { steps: 8 }); // a guidance that every kind of sampling can do
  const held = await slider.inputValue();
  expect(Number(held)).toBeLessThan(6);
  const numAnswered = proxy.exchanges.filter(({ answer }) => answer).length;
  await expect.poll(() => proxy.exchanges.filter(({ answer }) => answer).length, { timeout: 60_000 }).toBeGreaterThan(numAnswered);
  expect(await slider.inputValue()).toBe(held); // meanwhile a clip and the progress of its steps have arrived
  await jam.page.mouse.up();
  await expect.poll(() => proxy.exchanges.at(-1)!.input.start.guidance, { timeout: 60_000 }).toBe(Number(held));
  expect(await slider.inputValue()).toBe(held);
});

it("leaves dropped text to the input under it", async () => {
  const jam = await Jam.open(browser, inject("gateway"));
  const isTaken = (type: "text" | "file"): Promise<boolean[]> => jam.page.evaluate((type) => {
    const dataTransfer = new DataTransfer();
    if (type === "text") dataTransfer.setData("text/plain", "jazz trio");
    else dataTransfer.items.add(new File(["no audio"], "a.txt"));
    const line = document.querySelector("input[name=prompt]")!;
    return ["dragover", "drop"].map((kind) => !line.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true })));
  }, type);
  expect(await isTaken("text")).toEqual([false, false]);
  expect(await jam.page.locator("body.dropping").count()).toBe(0);
  expect(await isTaken("file")).toEqual([true, true]);
  await jam.page.getByText("a.txt contains no audio").waitFor();
});

/** The first channel of the clip for a request that is sent to the gateway without the app. */
async function makeDirectly(input: Omit<InferenceInput, "audio_format"> & { audio_format: "wav"; stream?: boolean }): Promise<Float32Array> {
  const response = await fetch(`${inject("gateway")}/run_inference/`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...input, stream: false }),
  });
  const { audio } = (await response.json()) as { audio: string };
  const bytes = Buffer.from(audio.split(",")[1] ?? "", "base64");
  const data = bytes.indexOf("data") + 8;
  const numChannels = bytes.readUInt16LE(22);
  const numFrames = (bytes.length - data) / (2 * numChannels);
  return Float32Array.from({ length: numFrames }, (_, i) => bytes.readInt16LE(data + 2 * numChannels * i) / 32767);
}

/** Image and audio in a streamed response. */
function clipOf(answer: Buffer | null): string {
  const { image, audio } = JSON.parse(String(answer).trim().split("\n").at(-1) ?? "{}") as Record<string, unknown>;
  return `${image} ${audio}`;
}

/** Height of a frequency in an image from 0 to 10 kHz on the HTK mel scale, as a fraction from the bottom. */
function melShare(frequency: number): number {
  const mel = (hertz: number): number => 2595 * Math.log10(1 + hertz / 700);
  return mel(frequency) / mel(10_000);
}
