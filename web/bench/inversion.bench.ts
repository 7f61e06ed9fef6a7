/**
 * Inverts the images that `benchmarks/browser_inversion.py` writes, and writes samples and processor seconds
 * beside them. One thread, in Node.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ImageInverter } from "../src/engine/inversion";
import type { SpectrogramParams } from "../src/engine/spectrogram_params";

interface Job {
  readonly params: SpectrogramParams;
  readonly repeats: number;
  /** Files of RGB bytes, `NAME.rgb`. */
  readonly images: readonly { readonly name: string; readonly width: number; readonly height: number }[];
}

const folder = process.env["INVERSION_FOLDER"];

/** Processor seconds of this process until now. */
function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

test("images become audio", async () => {
  if (!folder) throw new Error("INVERSION_FOLDER is not set; run python -m benchmarks.browser_inversion");
  const { params, repeats, images } = JSON.parse(readFileSync(join(folder, "job.json"), "utf8")) as Job;
  const inverter = new ImageInverter(params);
  const bytes = new Set<number>();
  const seconds: Record<string, { inversion: number; whole: number }[]> = {};
  for (const { name, width, height } of images) {
    const rgb = new Uint8Array(readFileSync(join(folder, `${name}.rgb`)));
    const measured = async (normalize: boolean): Promise<number> => {
      await new Promise((resolve) => setTimeout(resolve, 0)); // the test runner wants to hear from its worker
      const started = processorSeconds();
      const samples = inverter.invert(rgb, width, height, { normalize });
      const elapsed = processorSeconds() - started;
      if (!normalize) writeFileSync(join(folder, `${name}.f32`), samples);
      return elapsed;
    };
    seconds[name] = [];
    for (let i = 0; i < repeats; i++) seconds[name].push({ inversion: await measured(false), whole: await measured(true) });
    bytes.add(inverter.memoryBytes);
  }
  expect(bytes.size).toBe(1);
  writeFileSync(join(folder, "result.json"), JSON.stringify({ seconds, memoryBytes: [...bytes][0] }));
});
