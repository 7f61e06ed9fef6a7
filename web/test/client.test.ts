import { describe, expect, it } from "vitest";
import { Client, SILENCE_TIMEOUT } from "../src/api/client";
import { LineSplitter } from "../src/api/lines";
import { clipInput, imageToAudioInput, isInferenceOutput } from "../src/api/messages";
import { retryDelay } from "../src/api/retry";
import { DEFAULT_SETTINGS } from "../src/settings/settings";

const CLIP = { image: "data:image/png;base64,YQ==", audio: "data:audio/flac;base64,YQ==", duration_s: 5.12 };
const STOP = { start: { prompt: "bells", seed: 1n }, end: { prompt: "jazz", seed: 2n }, alpha: 0.25 };
const REQUEST = clipInput(STOP, DEFAULT_SETTINGS, 20);

function clientTo(
  answer: (request: Request, signal: AbortSignal) => Response | Promise<Response>,
  timeout = 5,
): Client {
  const fetcher = async (url: RequestInfo | URL, options: RequestInit = {}): Promise<Response> => {
    const { signal, ...rest } = options; // in Node, a Request's signal may be garbage-collected
    return answer(new Request(url, rest), signal ?? new AbortController().signal);
  };
  return new Client("http://server/run_inference/", timeout, fetcher);
}

function json(value: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return Response.json(value, { status, headers });
}

/** A stream of chunks; never ends if the last one is null. */
function stream(...chunks: (string | null)[]): Response {
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) if (chunk !== null) controller.enqueue(encoder.encode(chunk));
      if (chunks.at(-1) !== null) controller.close();
    },
  });
  return new Response(body, { headers: { "content-type": "application/x-ndjson; charset=utf-8" } });
}

/** A stream with a pause before each chunk. */
function slowStream(chunks: readonly string[], pause: number): Response {
  const encoder = new TextEncoder();
  const left = [...chunks];
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      await new Promise((done) => setTimeout(done, 1000 * pause));
      const chunk = left.shift();
      if (chunk === undefined) controller.close();
      else controller.enqueue(encoder.encode(chunk));
    },
  });
  return new Response(body, { headers: { "content-type": "application/x-ndjson" } });
}

/** A server that never responds. */
function hang(_: Request, signal: AbortSignal): Promise<Response> {
  return new Promise((_, reject) => {
    const leave = (): void => reject(signal.reason);
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave);
  });
}

describe("requests", () => {
  it("have the fields of the HTTP interface", () => {
    expect(REQUEST).toEqual({
      start: { prompt: "bells", seed: 1n, denoising: 0.75, guidance: 7 },
      end: { prompt: "jazz", seed: 2n, denoising: 0.75, guidance: 7 },
      alpha: 0.25, num_inference_steps: 20, seed_image_id: "og_beat", scheduler: "dpmsolver++",
      guidance_interval: [0, 0.5], audio_format: "flac", image_format: "png",
    });
  });

  it("send an image or an id, never both", () => {
    const own = { kind: "own", dataUrl: "data:image/png;base64,YQ==", name: "drawing" } as const;
    const settings = { ...DEFAULT_SETTINGS, seedImage: own, mask: { kind: "id", id: "m" } as const, scheduler: null, negativePrompt: "drums" };
    const request = clipInput(STOP, settings, 8);
    expect(request).toMatchObject({ init_image: own.dataUrl, mask_image_id: "m" });
    expect(request.start.negative_prompt).toBe("drums");
    for (const field of ["seed_image_id", "mask_image", "scheduler"]) expect(request).not.toHaveProperty(field);
    expect(imageToAudioInput({ kind: "audio", dataUrl: "data:audio/wav;base64,YQ==" })).toMatchObject({ mode: "image_to_audio", init_audio: "data:audio/wav;base64,YQ==" });
  });
});

describe("the client", () => {
  it("sends a seed with all its digits", async () => {
    let sent = "";
    const client = clientTo(async (request) => {
      sent = await request.text();
      return json(CLIP);
    });
    const far = { ...STOP, start: { prompt: 'a "quote" \u2028', seed: 2n ** 63n - 1n } };
    await client.ask(clipInput(far, DEFAULT_SETTINGS, 20));
    expect(sent).toContain('"seed":9223372036854775807,');
    expect(JSON.parse(sent)).toMatchObject({ start: { prompt: far.start.prompt }, end: { seed: 2 } });
  });

  it("requests a stream with JSON and reports its progress", async () => {
    let asked: unknown;
    const client = clientTo(async (request) => {
      asked = [request.method, request.headers.get("content-type"), await request.json()];
      return stream('{"event":"progress","step":1,"steps":2}\n{"event":"prog', 'ress","step":2,"steps":2}\n', JSON.stringify({ event: "result", ...CLIP }));
    });
    const progress: number[][] = [];
    const answer = await client.ask(REQUEST, { onProgress: (...steps) => progress.push(steps) });
    expect(answer).toMatchObject({ ok: true, output: CLIP });
    expect(progress).toEqual([[1, 2], [2, 2]]);
    expect(asked).toEqual(["POST", "application/json", {
      ...REQUEST, start: { ...REQUEST.start, seed: 1 }, end: { ...REQUEST.end, seed: 2 }, stream: true,
    }]);
  });

  it("accepts plain JSON from a server that does not stream", async () => {
    expect(await clientTo(() => json(CLIP)).ask(REQUEST)).toEqual({ ok: true, output: CLIP });
  });

  it.each([
    ["a refusal", () => json({ error: "alpha: too large" }, 400), "refused", "alpha: too large"],
    ["a page that may not use the server", () => json({ error: "origin=https://x.example is not allowed" }, 403), "forbidden", "not allowed"],
    ["a proxy that forbids it", () => new Response("<html>", { status: 403 }), "forbidden", "403"],
    ["a missing API key", () => json({ error: "no key" }, 401), "forbidden", "no key"],
    ["a busy server", () => json({ error: "busy" }, 503, { "retry-after": "7" }), "busy", "busy"],
    ["a broken server", () => json({ error: "oops" }, 500), "away", "oops"],
    ["a proxy's page", () => new Response("<html>", { status: 502 }), "away", "502"],
    ["another page", () => new Response("<html>", { status: 200 }), "away", "not JSON"],
    ["other JSON", () => json({ hello: "world" }), "away", "not a clip"],
    ["a clip without audio", () => json({ ...CLIP, audio: "" }), "away", "not a clip"],
    ["an error in a stream", () => stream('{"event":"error","error":"the clip failed"}\n'), "away", "the clip failed"],
    ["a stream that breaks off", () => stream('{"event":"progress","step":1,"steps":2}\n{"event":"res'), "away", "incomplete"],
    ["an empty stream", () => stream(""), "away", "not a clip"],
    ["no server", () => Promise.reject(new TypeError("failed to fetch")), "away", "cannot be reached"],
  ] as const)("returns a failure for %s", async (_, respond, kind, words) => {
    const answer = await clientTo(respond).ask(REQUEST);
    expect(answer.ok).toBe(false);
    if (answer.ok) return;
    expect(answer.failure.kind).toBe(kind);
    expect(answer.failure.message).toContain(words);
    expect(answer.failure.retryAfter).toBe(kind === "busy" ? 7 : undefined);
  });

  it("times out when the server sends nothing", async () => {
    const answer = await clientTo(hang, 0.05).ask(REQUEST);
    expect(answer).toMatchObject({ ok: false, failure: { kind: "away", message: "The server has not responded for 0.05 s." } });
  });

  it("waits while progress arrives, and reports each step once", async () => {
    const line = (step: number): string => `${JSON.stringify({ event: "progress", step, steps: 2 })}\n`;
    const told = [line(0), line(0), line(0), line(1), line(1), line(2), line(2), JSON.stringify({ event: "result", ...CLIP })];
    const progress: number[][] = [];
    const answer = await clientTo(() => slowStream(told, 0.04), 0.1).ask(REQUEST, { onProgress: (...steps) => progress.push(steps) });
    expect(answer).toMatchObject({ ok: true, output: CLIP });
    expect(progress).toEqual([[1, 2], [2, 2]]);
  });

  it("has a longer timeout than the gateway has for an unreachable endpoint, but at most a minute", () => {
    expect(SILENCE_TIMEOUT).toBeGreaterThan(30);
    expect(SILENCE_TIMEOUT).toBeLessThanOrEqual(60);
  });

  it("can be cancelled", async () => {
    const abort = new AbortController();
    const asking = clientTo(hang).ask(REQUEST, { signal: abort.signal });
    abort.abort();
    expect(await asking).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
  });
});

describe("lines", () => {
  it("are complete wherever chunks end", () => {
    const text = '{"a":"ä"}\n\n{"b":"音"}\r\nrest';
    const bytes = new TextEncoder().encode(text);
    for (let size = 1; size <= bytes.length; size++) {
      const splitter = new LineSplitter();
      const lines: string[] = [];
      for (let i = 0; i < bytes.length; i += size) lines.push(...splitter.push(bytes.subarray(i, i + size)));
      lines.push(...splitter.end());
      expect(lines).toEqual(['{"a":"ä"}', '{"b":"音"}', "rest"]);
    }
  });
});

describe("retries", () => {
  it("have growing delays up to half a minute", () => {
    const latest = [1, 2, 3, 4, 5, 6, 20].map((failures) => retryDelay(failures, () => 1));
    expect(latest).toEqual([1, 2, 4, 8, 16, 30, 30]);
    expect(retryDelay(3, () => 0)).toBe(2);
  });

  it("respect Retry-After up to a limit", () => {
    expect(retryDelay(1, () => 0, 40)).toBe(40.5);
    expect(retryDelay(1, () => 0, 1e9)).toBe(120.5);
  });
});

it.each([null, 1, "x", [], {}, { ...CLIP, duration_s: "5" }, { ...CLIP, duration_s: 0 }, { ...CLIP, image: "http://x" }])(
  "%j is not a clip",
  (answer) => expect(isInferenceOutput(answer)).toBe(false),
);
