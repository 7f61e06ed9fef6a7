/** The worker's answers: order, cancellation and failures, with the embedded checkpoint's networks replaced. */

import { webcrypto } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { InferenceInput } from "../../src/api/messages";
import { CheckpointError } from "../../src/engine/checkpoint";
import type { Runtime } from "../../src/engine/ort_networks";
import type { EngineEvent } from "../../src/engine/protocol";
import { EngineService, type Surroundings } from "../../src/engine/service";
import { pngOf } from "../../src/backend/png_image";
import type { SpectrogramParams } from "../../src/engine/spectrogram_params";
import { golden } from "./golden";
import { BASE_URL, fetchData } from "./node_engine";
import { decodePng } from "./png";

// Node 18 does not have it by itself.
globalThis.crypto ??= webcrypto as Crypto;

const REQUEST: InferenceInput = {
  start: { prompt: "church bells", seed: 1, denoising: 0.75, guidance: 7 },
  preset: "instant", audio_format: "flac", image_format: "png",
};
const LOAD = { kind: "load", baseUrl: BASE_URL, threads: 1, provider: "wasm" } as const;

class FakeTensor {
  constructor(readonly type: string, readonly data: Float32Array | BigInt64Array, readonly dims: readonly number[]) {}
}

/** Networks that return zeros of the right sizes. */
const FAKE_RUNTIME = {
  Tensor: FakeTensor,
  InferenceSession: {
    create: () =>
      Promise.resolve({
        run: ({ input_ids: ids, sample, pixels, latents }: Record<string, FakeTensor>) => {
          const zeros = (length: number): FakeTensor => new FakeTensor("float32", new Float32Array(length), []);
          if (ids) return Promise.resolve({ embeddings: zeros(ids.data.length * 128) });
          if (sample) return Promise.resolve({ prediction: zeros(sample.data.length) });
          if (pixels) return Promise.resolve({ latents: zeros((pixels.data.length / 3 / 256) * 16) });
          return Promise.resolve({ pixels: zeros((latents!.data.length / 16) * 256 * 3) });
        },
      }),
  },
} as unknown as Runtime;

/** A service, what it posted, and a way to wait for an event. */
function started(changed: Partial<Surroundings> = {}): {
  service: EngineService;
  events: EngineEvent[];
  until: (count: number, ...kinds: EngineEvent["kind"][]) => Promise<void>;
} {
  const events: EngineEvent[] = [];
  let check = (): void => undefined;
  const service = new EngineService({
    openRuntime: () => Promise.resolve(FAKE_RUNTIME),
    decodeImage: decodePng,
    invert: (_, width) => new Float32Array(width * 441),
    post: (event) => {
      events.push(event);
      check();
    },
    openFiles: filesFrom(fetchData),
    ...changed,
  });
  const until = (count: number, ...kinds: EngineEvent["kind"][]): Promise<void> =>
    new Promise((resolve) => {
      check = () => {
        if (events.filter(({ kind }) => kinds.includes(kind)).length >= count) resolve();
      };
      check();
    });
  return { service, events, until };
}

describe("loading", () => {
  test("tells the progress of the download, then what the checkpoint can do", async () => {
    const { service, events, until } = started({
      openFiles: (_, onProgress) => {
        onProgress(1, 2);
        return Promise.resolve({ fetch: fetchData, whyNotKept: "the disk is full" });
      },
    });
    service.receive(LOAD);
    await until(1, "loaded");
    expect(events[0]).toEqual({ kind: "download", receivedBytes: 1, totalBytes: 2 });
    expect(events.at(-1)).toMatchObject({
      kind: "loaded", provider: "wasm", params: { num_frequencies: 512 }, distillation: { maxSteps: 8, guidance: [2, 9] },
      whyNotKept: "the disk is full",
    });
  });

  test.each<[string, Partial<Surroundings>, RegExp]>([
    ["a browser that cannot run it", { openRuntime: () => Promise.reject(new CheckpointError("no SIMD; update the browser")) }, /no SIMD; update the browser/],
    ["a missing file", { openFiles: filesFrom(without("unet.onnx")) }, /unet\.onnx cannot be fetched \(status 404\)/],
    ["no connection", { openFiles: filesFrom(() => Promise.reject(new TypeError("failed"))) }, /manifest\.json cannot be fetched; check the connection/],
    ["a changed file", { openFiles: filesFrom(changed("vae/diffusion_pytorch_model.safetensors", (data) => data.map((byte, index) => (index === 1000 ? byte ^ 1 : byte)))) }, /SHA-256/],
    ["a file that breaks off", { openFiles: filesFrom(changed("unet.onnx", (data) => data.slice(0, 99))) }, /unet\.onnx has 99 of 196092 bytes; reload the page/],
    ["a manifest of another kind", { openFiles: filesFrom(changed("manifest.json", () => new TextEncoder().encode('{"format": 99}'))) }, /format 99/],
    ["a damaged tokenizer", { openFiles: filesFrom(changed("tokenizer.json", (data) => data.slice(0, 50))) }, /tokenizer\.json/],
    ["a damaged manifest", { openFiles: filesFrom(changed("manifest.json", (data) => data.slice(0, 50))) }, /manifest\.json is damaged/],
  ])("%s: unloadable, and requests fail", async (_, surroundings, message) => {
    const { service, events, until } = started(surroundings);
    service.receive(LOAD);
    service.receive({ kind: "generate", id: 1, request: REQUEST });
    await until(1, "failed");
    expect(events.find(({ kind }) => kind === "unloadable")).toMatchObject({ message: expect.stringMatching(message) as string });
    expect(events.at(-1)).toMatchObject({ kind: "failed", id: 1, failure: { kind: "forbidden", message: expect.stringMatching(message) as string } });
  });
});

describe("requests", () => {
  test("run one after another, with all their steps", async () => {
    const { service, events, until } = started();
    service.receive(LOAD);
    for (const id of [1, 2]) service.receive({ kind: "generate", id, request: REQUEST });
    await until(2, "result");
    const made = events.filter((event) => event.kind === "step" || event.kind === "result");
    expect(made.map((event) => (event.kind === "step" ? [event.id, event.step, event.steps] : [event.id, "result"]))).toEqual(
      [1, 2].flatMap((id) => [[id, 0, 3], [id, 1, 3], [id, 2, 3], [id, 3, 3], [id, "result"]]), // 0.75 of 4 steps
    );
    expect(events.at(-1)).toMatchObject({ width: 512, height: 512, sampleRate: 44_100, duration: 5.12 });
  });

  test("are cancelled between two steps, and the next one is made", async () => {
    const { service, events, until } = started();
    service.receive(LOAD);
    for (const id of [1, 2]) service.receive({ kind: "generate", id, request: REQUEST });
    await until(2, "step");
    service.receive({ kind: "cancel", id: 1 });
    await until(1, "result");
    const failed = events.findIndex(({ kind }) => kind === "failed");
    expect(events[failed]).toMatchObject({ id: 1, failure: { kind: "cancelled" } });
    expect(events.slice(0, failed).filter((event) => event.kind === "step")).toHaveLength(2);
    expect(events.at(-1)).toMatchObject({ kind: "result", id: 2 });
  });

  test("that were cancelled before they began make nothing", async () => {
    const { service, events, until } = started();
    service.receive(LOAD);
    service.receive({ kind: "generate", id: 1, request: REQUEST });
    service.receive({ kind: "cancel", id: 1 });
    await until(1, "failed");
    expect(events.some(({ kind }) => kind === "step")).toBe(false);
  });

  test("that cannot be done are refused, and others are made", async () => {
    const { service, events, until } = started();
    service.receive(LOAD);
    service.receive({ kind: "generate", id: 1, request: { ...REQUEST, num_inference_steps: 9 } });
    service.receive({ kind: "generate", id: 2, request: { ...REQUEST, seed_image_id: "none" } });
    service.receive({ kind: "generate", id: 3, request: REQUEST });
    await until(1, "result");
    expect(events.filter((event) => event.kind === "failed").map(({ failure }) => failure)).toMatchObject([
      { kind: "refused", message: expect.stringContaining("num_inference_steps: 9 must be at most 8") as string },
      { kind: "refused", message: expect.stringContaining("seed_image_id: 'none' is not in the library") as string },
    ]);
  });

  test("that hear an image use what it was made with, and clips that start from it are as those of the checkpoint", async () => {
    const heard: unknown[] = [];
    const { service, events, until } = started({
      invert: (rgb, width, height, { sample_rate, max_frequency, stereo }, options) => {
        heard.push([rgb.length, width, height, sample_rate, max_frequency, stereo, options]);
        return new Float32Array(8);
      },
    });
    const image = golden<{ format: string; file: string }[]>("images").find(({ format }) => format === "png")!;
    const init_image = `data:image/png;base64,${image.file}`;
    service.receive(LOAD);
    service.receive({ kind: "generate", id: 1, request: { ...REQUEST, init_image, mode: "image_to_audio" } });
    service.receive({ kind: "generate", id: 2, request: { ...REQUEST, init_image, mask_image_id: "mask_top_third_75" } });
    await until(2, "result");
    expect(heard).toEqual([
      [4 * 512 * 3, 4, 512, 22_050, 8000, false, { circular: false, maxValue: 1e6 }], // its two channels are mixed
      [8 * 512 * 3, 8, 512, 44_100, 10_000, false, { circular: true }], // columns of 20 ms have become columns of 10 ms
    ]);
    expect(events.find(({ kind }) => kind === "result")).toMatchObject({ sampleRate: 22_050, params: { max_frequency: 8000, stereo: false }, duration: 8 / 22_050 });
    expect(events.at(-1)).toMatchObject({ id: 2, width: 8, height: 512, params: { max_frequency: 10_000, power_for_image: 0.25 } });
  });

  test("are refused if what an image says of itself is impossible, or too much", async () => {
    const { service, events, until } = started();
    service.receive(LOAD);
    const params = { ...golden<{ params: SpectrogramParams }[]>("conversions")[1]!.params, stereo: false };
    const dataUrls = [{ ...params, num_frequencies: 9000 }, { ...params, step_size_ms: 900, window_duration_ms: 1000, padded_duration_ms: 1000 }, { ...params, padded_duration_ms: 9000, num_frequencies: 64 }]
      .map(async (params) => `data:image/png;base64,${Buffer.from(await (await pngOf({ width: 300, height: 1, data: new Uint8Array(900) }, params)).arrayBuffer()).toString("base64")}`);
    for (const [id, init_image] of (await Promise.all(dataUrls)).entries()) service.receive({ kind: "generate", id, request: { ...REQUEST, init_image } });
    await until(3, "failed");
    expect(events.filter((event) => event.kind === "failed").map(({ failure }) => failure)).toEqual([
      { kind: "refused", message: "init_image: its EXIF data says num_frequencies=9000 must be from 1 to 8192" },
      { kind: "refused", message: "init_image: 300 columns are 270 s of audio; at most 60 s are allowed" },
      { kind: "refused", message: "init_image: 300 columns of padded_duration_ms=9000 at sample_rate=44100 are too large a spectrogram; lower one of them" },
    ]);
  });

  test("are refused when an image's own parameters cannot be heard here", async () => {
    const { service, events, until } = started({ invert: () => Promise.reject(new RangeError("stereo=true must be false here")) });
    const [image] = golden<{ file: string }[]>("images").slice(1);
    service.receive(LOAD);
    service.receive({ kind: "generate", id: 1, request: { ...REQUEST, init_image: `data:image/png;base64,${image!.file}`, mode: "image_to_audio" } });
    await until(1, "failed");
    expect(events.at(-1)).toMatchObject({ failure: { kind: "refused", message: "init_image: its EXIF data says stereo=true must be false here" } });
  });

  test("fail with a remedy when a network or the inversion does", async () => {
    const { service, events, until } = started({ invert: () => Promise.reject(new Error("out of memory")) });
    service.receive(LOAD);
    service.receive({ kind: "generate", id: 1, request: REQUEST });
    await until(1, "failed");
    expect(events.at(-1)).toMatchObject({ failure: { kind: "away", message: expect.stringContaining("out of memory") as string } });
  });

  test("before load are refused", async () => {
    const { service, events, until } = started();
    service.receive({ kind: "generate", id: 1, request: REQUEST });
    await until(1, "failed");
    expect(events.at(-1)).toMatchObject({ failure: { kind: "refused" } });
  });
});

function filesFrom(fetcher: typeof fetch): Surroundings["openFiles"] {
  return () => Promise.resolve({ fetch: fetcher, whyNotKept: null });
}

function without(path: string): typeof fetch {
  return ((url: string) => (url.endsWith(path) ? Promise.resolve(new Response(null, { status: 404 })) : fetchData(url))) as typeof fetch;
}

function changed(path: string, change: (data: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>): typeof fetch {
  return (async (url: string) => {
    const response = await fetchData(url);
    return url.endsWith(path) ? new Response(change(new Uint8Array(await response.arrayBuffer()))) : response;
  }) as typeof fetch;
}
