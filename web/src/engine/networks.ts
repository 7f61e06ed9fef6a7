/** What making a clip needs of a checkpoint's networks, whatever computes them. All numbers are single precision. */

import type { Floats } from "./arrays";

/** Numbers of an exported folder's manifest that programs need (`shape`). */
export interface CheckpointShape {
  /** Tokens that the text encoder reads at a time. */
  readonly tokens: number;
  readonly start_token: number;
  readonly end_token: number;
  readonly padding_token: number;
  /** Width of an embedding. */
  readonly text_width: number;
  readonly latent_channels: number;
  /** In each direction. */
  readonly pixels_per_latent: number;
  /** An image's sides are padded to multiples of so many pixels. */
  readonly size_multiple: number;
  /** Width of what a distilled UNet is told about guidance; null for others. */
  readonly guidance_width: number | null;
}

/** Inputs of one UNet call, for one image size. */
export interface UNetInput {
  readonly rows: number;
  /** (channels, height, width); each row gets the same. */
  readonly latents: Floats;
  readonly height: number;
  readonly width: number;
  readonly timestep: number;
  /** (rows, tokens, width). */
  readonly embeddings: Floats;
  /** (rows, width); null for zeros, which ordinary rows are. */
  readonly guidance: Floats | null;
}

/** Latents as the autoencoder sees an image, (channels, height, width): the most likely ones and their deviation. */
export interface Posterior {
  readonly mean: Floats;
  /** null if it is zero everywhere. */
  readonly deviation: Floats | null;
}

export interface Networks {
  readonly shape: CheckpointShape;
  /** Token ids (chunks, tokens) → embeddings (chunks, tokens, width). */
  embed(ids: readonly number[]): Promise<Floats>;
  /** The UNet's output, (rows, channels, height, width). */
  predict(input: UNetInput): Promise<Floats>;
  /** Pixels (3, height, width) in [-1, 1] → latents. */
  encode(pixels: Floats, height: number, width: number): Promise<Posterior>;
  /** Latents (channels, height, width) → pixels (3, height, width) about in [-1, 1], height and width those of the latents. */
  decode(latents: Floats, height: number, width: number): Promise<Floats>;
}
