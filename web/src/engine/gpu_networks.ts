/**
 * The large networks on a GPU, where it computes the same as WebAssembly and is faster.
 *
 * GPUs and their drivers differ, and a wrong one draws noise, not an error. So both compute the same values once, and the
 * GPU is used only if its values agree and it took less time.
 */

import type { Seconds } from "../units";
import type { Floats } from "./arrays";
import type { CheckpointShape, Networks, UNetInput } from "./networks";
import { NormalNumbers } from "./normal_numbers";
import type { PartName } from "./ort_networks";

/** The text encoder is small, and has numbers of double precision, which GPUs lack. */
export const GPU_PARTS: readonly PartName[] = ["unet", "vae_encoder", "vae_decoder"];
/** Largest difference, relative to the largest value; single precision in another order of operations has about 1e-4. */
const TOLERANCE = 5e-3;
/** Latents of the comparison, in each direction: a quarter of a clip. */
const SIDE = 16;
const NOISY_TIMESTEP = 900;

/**
 * @param openOnGpu opens the parts `GPU_PARTS`; rejects where there is no GPU
 * @param onProcessor the networks in WebAssembly; their text encoder is used in any case
 * @returns null if WebAssembly is the better choice
 */
export async function fasterOnGpu(openOnGpu: () => Promise<Networks>, onProcessor: Networks): Promise<Networks | null> {
  try {
    const onGpu = await openOnGpu();
    const embeddings = await onProcessor.embed(emptyPrompt(onProcessor.shape));
    const processor = await sample(onProcessor, embeddings);
    const gpu = await sample(onGpu, embeddings);
    const isRight = relativeDifference(gpu.prediction, processor.prediction) < TOLERANCE && relativeDifference(gpu.pixels, processor.pixels) < TOLERANCE;
    if (!isRight || gpu.time >= processor.time) return null;
    return {
      shape: onProcessor.shape,
      embed: (ids) => onProcessor.embed(ids),
      predict: (input) => onGpu.predict(input),
      encode: (pixels, height, width) => onGpu.encode(pixels, height, width),
      decode: (latents, height, width) => onGpu.decode(latents, height, width),
    };
  } catch {
    return null; // no GPU, a lost one, too little memory, an operation that it lacks
  }
}

interface Sample {
  readonly prediction: Floats;
  readonly pixels: Floats;
  readonly time: Seconds;
}

/** A step and a decoding. The first run compiles, so the second one is timed. */
async function sample(networks: Networks, embeddings: Floats): Promise<Sample> {
  const latents = new NormalNumbers(0n).normal(networks.shape.latent_channels * SIDE * SIDE);
  const input: UNetInput = { rows: 1, latents, height: SIDE, width: SIDE, timestep: NOISY_TIMESTEP, embeddings, guidance: null };
  const pixels = await networks.decode(latents, SIDE, SIDE);
  const prediction = await networks.predict(input);
  const begin = performance.now();
  await networks.predict(input);
  await networks.decode(latents, SIDE, SIDE);
  return { prediction, pixels, time: (performance.now() - begin) / 1000 };
}

function emptyPrompt({ tokens, start_token: start, end_token: end, padding_token: padding }: CheckpointShape): number[] {
  return [start, end, ...Array<number>(tokens - 3).fill(padding), end];
}

function relativeDifference(found: Floats, expected: Floats): number {
  let [difference, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(found[i]! - expected[i]!));
    largest = Math.max(largest, Math.abs(expected[i]!));
  }
  return Number.isNaN(difference) || found.length !== expected.length ? Infinity : difference / largest;
}
