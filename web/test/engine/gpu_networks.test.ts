/** The GPU is used only where it computes the same and is faster. */

import { describe, expect, test } from "vitest";
import { fasterOnGpu } from "../../src/engine/gpu_networks";
import type { CheckpointShape, Networks } from "../../src/engine/networks";

const SHAPE: CheckpointShape = {
  tokens: 8, start_token: 1, end_token: 2, padding_token: 2, text_width: 4, latent_channels: 4, pixels_per_latent: 8, size_multiple: 64,
  guidance_width: null,
};

/** Networks that multiply; each call takes so long. */
function networks(factor: number, delayMs: number): Networks {
  const scaled = async (values: Float32Array): Promise<Float32Array<ArrayBuffer>> => {
    await new Promise((done) => setTimeout(done, delayMs));
    return Float32Array.from(values, (value) => factor * value);
  };
  return {
    shape: SHAPE,
    embed: (ids) => Promise.resolve(Float32Array.from(ids)),
    predict: ({ latents }) => scaled(latents),
    encode: async (pixels) => ({ mean: await scaled(pixels), deviation: null }),
    decode: (latents) => scaled(latents),
  };
}

const [FAST, SLOW] = [1, 60];

describe("fasterOnGpu", () => {
  test("a right and faster GPU computes all but the embeddings", async () => {
    const processor = networks(2, SLOW);
    const found = await fasterOnGpu(() => Promise.resolve(networks(2.0001, FAST)), { ...processor, embed: () => Promise.resolve(Float32Array.of(7)) });
    expect(await found!.embed([1])).toEqual(Float32Array.of(7));
    expect((await found!.decode(Float32Array.of(1), 1, 1))[0]).toBeCloseTo(2.0001, 6);
    expect((await found!.encode(Float32Array.of(1), 1, 1)).mean[0]).toBeCloseTo(2.0001, 6);
  });

  test.each<[string, () => Promise<Networks>]>([
    ["computes other values", () => Promise.resolve(networks(2.1, FAST))],
    ["computes no numbers", () => Promise.resolve(networks(NaN, FAST))],
    ["is slower", () => Promise.resolve(networks(2, 3 * SLOW))],
    ["is missing", () => Promise.reject(new Error("no adapter"))],
    ["fails", () => Promise.resolve({ ...networks(2, FAST), predict: () => Promise.reject(new Error("device lost")) })],
  ])("one that %s is not used", async (_, open) => {
    expect(await fasterOnGpu(open, networks(2, SLOW))).toBeNull();
  });
});
