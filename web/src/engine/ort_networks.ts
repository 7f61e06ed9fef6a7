/** A checkpoint's networks as onnxruntime's sessions. Names and shapes of inputs and outputs are those of exported folders. */

import type { InferenceSession, Tensor, TypedTensor } from "onnxruntime-web/wasm";
import { type Floats, concatenated } from "./arrays";
import type { CheckpointShape, Networks, Posterior, UNetInput } from "./networks";

/** What is used of onnxruntime-web; its builds for WebAssembly and for WebGPU have the same names. */
export interface Runtime {
  readonly InferenceSession: { create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession> };
  readonly Tensor: {
    new (type: "float32", data: Float32Array, dims: readonly number[]): TypedTensor<"float32">;
    new (type: "int64", data: BigInt64Array, dims: readonly number[]): TypedTensor<"int64">;
  };
}

export type PartName = "text_encoder" | "unet" | "vae_encoder" | "vae_decoder";
export type Sessions = Readonly<Partial<Record<PartName, InferenceSession>>>;

export class OrtNetworks implements Networks {
  /** @param sessions of the parts that are used */
  constructor(
    private readonly runtime: Runtime,
    private readonly sessions: Sessions,
    readonly shape: CheckpointShape,
  ) {}

  async embed(ids: readonly number[]): Promise<Floats> {
    const { tokens } = this.shape;
    const numbers = BigInt64Array.from(ids, BigInt);
    const input_ids = new this.runtime.Tensor("int64", numbers, [ids.length / tokens, tokens]);
    return output(await this.session("text_encoder").run({ input_ids }), "embeddings");
  }

  async predict({ rows, latents, height, width, timestep, embeddings, guidance }: UNetInput): Promise<Floats> {
    const { latent_channels: channels, text_width: textWidth, guidance_width: guidanceWidth } = this.shape;
    const tokens = embeddings.length / rows / textWidth;
    const feeds: Record<string, Tensor> = {
      sample: this.floats(concatenated(Array<Floats>(rows).fill(latents)), [rows, channels, height, width]),
      timestep: this.floats(new Float32Array(rows).fill(timestep), [rows]),
      encoder_hidden_states: this.floats(embeddings, [rows, tokens, textWidth]),
      encoder_attention_mask: this.floats(new Float32Array(rows * tokens).fill(1), [rows, tokens]),
    };
    if (guidanceWidth !== null) {
      feeds["timestep_cond"] = this.floats(guidance ?? new Float32Array(rows * guidanceWidth), [rows, guidanceWidth]);
    }
    return output(await this.session("unet").run(feeds), "prediction");
  }

  async encode(pixels: Floats, height: number, width: number): Promise<Posterior> {
    const found = await this.session("vae_encoder").run({ pixels: this.floats(pixels, [1, 3, height, width]) });
    const mean = output(found, "latents");
    if (!mean.every(Number.isFinite)) throw new Error("the latents of the init image are not finite");
    return { mean, deviation: "deviation" in found ? output(found, "deviation") : null };
  }

  async decode(latents: Floats, height: number, width: number): Promise<Floats> {
    const channels = this.shape.latent_channels;
    return output(await this.session("vae_decoder").run({ latents: this.floats(latents, [1, channels, height, width]) }), "pixels");
  }

  private session(part: PartName): InferenceSession {
    const session = this.sessions[part];
    if (!session) throw new Error(`the network ${part} is not open`);
    return session;
  }

  private floats(data: Floats, dims: readonly number[]): TypedTensor<"float32"> {
    return new this.runtime.Tensor("float32", data, dims);
  }
}

function output(outputs: InferenceSession.ReturnType, name: string): Floats {
  const tensor = outputs[name];
  if (!(tensor?.data instanceof Float32Array)) throw new Error(`the network has no output ${name} of float32`);
  return tensor.data as Floats;
}
