/** Whole clips, drawn by the same networks as in a browser, against Python's images of the same requests. */

import { beforeAll, describe, expect, test } from "vitest";
import type { InferenceInput, PromptInput } from "../../src/api/messages";
import type { ClipGenerator, MadeClip } from "../../src/engine/generator";
import { bytes, golden, psnr } from "./golden";
import { nodeGenerator } from "./node_engine";

interface GoldenClip {
  readonly name: string;
  readonly request: InferenceInput;
  readonly pixels: string;
}

/** Rounding differs; unrelated clips have 15 dB. */
const MIN_PSNR = 60;
/** Of which rows and columns the golden files have the pixels. */
const [ROWS, COLUMNS] = [4, 8];

let generator: ClipGenerator;

beforeAll(async () => {
  generator = await nodeGenerator((_, width) => new Float32Array(width * 441));
});

describe("clips of the embedded checkpoint", () => {
  for (const { name, request: stored, pixels } of golden<GoldenClip[]>("clips")) {
    const request = { ...stored, start: withSeed(stored.start), ...(stored.end ? { end: withSeed(stored.end) } : {}) };
    test(`${name}: the image is Python's`, async () => {
      const steps: number[] = [];
      const clip = await generator.generate(request, { onStep: (step) => steps.push(step) });
      const found = psnr(sampledPixels(clip), bytes(pixels));
      expect(found).toBeGreaterThan(MIN_PSNR);
      expect(steps).toEqual(steps.map((_, index) => index));
    });
  }
});

/** The file has a seed of many digits as a text. */
function withSeed(end: PromptInput): PromptInput {
  return { ...end, seed: BigInt(end.seed) };
}

function sampledPixels({ rgb, width, height }: MadeClip): number[] {
  const found: number[] = [];
  for (let row = 0; row < height; row += ROWS) {
    for (let column = 0; column < width; column += COLUMNS) found.push(rgb[3 * (row * width + column)]!);
  }
  return found;
}
