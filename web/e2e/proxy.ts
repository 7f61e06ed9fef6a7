/**
 * A proxy between the page and the gateway. It records requests, can fail, and can send recorded clips.
 *
 *     page ──▶ Proxy ──▶ gateway ──▶ Truss server
 *
 * Only requests to `/run_inference/` can fail. Everything else is forwarded unchanged; `/info` can be late.
 */

import { type IncomingMessage, type Server, type ServerResponse, createServer, request as send } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { onTestFinished } from "vitest";
import type { InferenceInput } from "../src/api/messages";
import type { Milliseconds } from "../src/units";

/**
 * error: status 500
 * refusal: status 400, with a reason
 * hang: never a response
 * nonsense: status 200, but not JSON
 * broken clip: a clip whose audio cannot be decoded
 * break off: the response ends in the middle
 */
export type Fault = "error" | "refusal" | "hang" | "nonsense" | "broken clip" | "break off";

/** A request for a clip and its response. */
export interface Exchange {
  readonly input: InferenceInput;
  readonly fault: Fault | null;
  /** Body of the response, once it is complete. */
  answer: Buffer | null;
}

const PATH = "/run_inference/";
const INFO = "/info";
const NDJSON = { "content-type": "application/x-ndjson" };
const BROKEN_CLIP = {
  image: "data:image/png;base64,bm90aGluZw==",
  audio: "data:audio/flac;base64,bm90aGluZw==",
  duration_s: 5.12,
};

export class Proxy {
  fault: Fault | null = null;
  /** Number of requests for clips that succeed before `fault` takes effect. */
  faultAfter = 0;
  /** Results that answer requests for clips of the walk, in turn; other requests go to the gateway. */
  recordedClips: readonly string[] = [];
  /** Time between two progress lines before a recorded clip. */
  progressInterval: Milliseconds = 0;
  /** How late the gateway says what its checkpoint can do. */
  infoDelay: Milliseconds = 0;
  /** Whether it has said it. */
  isInfoSent = false;
  readonly exchanges: Exchange[] = [];
  private readonly sockets = new Set<Socket>();
  private server: Server | null = null;
  private port = 0;
  private numReplayed = 0;

  /** @param gateway address of the gateway */
  constructor(private readonly gateway: string) {}

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** A proxy for one test, closed after it. */
  static async open(gateway: string, recordedClips: readonly string[] = []): Promise<Proxy> {
    const proxy = await new Proxy(gateway).start();
    proxy.recordedClips = recordedClips;
    onTestFinished(() => proxy.goAway());
    return proxy;
  }

  /** Starts to listen, at the same address as before if it was closed. */
  async start(): Promise<this> {
    const server = createServer((request, response) => void this.answer(request, response));
    server.keepAliveTimeout = 0; // never: a browser on a busy machine could ask again just when an idle connection is closed
    server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
    });
    await new Promise<void>((done) => server.listen(this.port, "127.0.0.1", done));
    this.port = (server.address() as AddressInfo).port;
    this.server = server;
    return this;
  }

  /** Closes all connections and stops listening. */
  async goAway(): Promise<void> {
    const { server } = this;
    if (server === null) return;
    this.server = null;
    const closed = new Promise((done) => server.close(done));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await read(request);
    if (request.url === INFO) {
      await new Promise((done) => setTimeout(done, this.infoDelay));
      this.pass(request, response, body, () => (this.isInfoSent = true));
      return;
    }
    if (request.url !== PATH) {
      this.pass(request, response, body, () => undefined);
      return;
    }
    const input = JSON.parse(String(body)) as InferenceInput;
    const fault = this.exchanges.length >= this.faultAfter ? this.fault : null;
    const exchange: Exchange = { input, fault, answer: null };
    this.exchanges.push(exchange);
    const isClipOfWalk = input.mode === undefined && input.mask_image === undefined;
    const recorded = isClipOfWalk ? this.recordedClips[this.numReplayed++ % Math.max(1, this.recordedClips.length)] : undefined;
    if (fault) this.fail(fault, response, recorded ?? "");
    else if (recorded) exchange.answer = await this.replay(recorded, input.num_inference_steps ?? 1, response);
    else this.pass(request, response, body, (answer) => (exchange.answer = answer));
  }

  /** Sends progress lines and a recorded result, and returns what was sent. */
  private async replay(result: string, numSteps: number, response: ServerResponse): Promise<Buffer> {
    response.writeHead(200, NDJSON);
    const progress = Array.from({ length: numSteps }, (_, i) => `${JSON.stringify({ event: "progress", step: i + 1, steps: numSteps })}\n`);
    for (const line of progress) {
      response.write(line);
      if (this.progressInterval > 0) await new Promise((done) => setTimeout(done, this.progressInterval));
    }
    response.end(`${result}\n`);
    return Buffer.from(progress.join("") + result);
  }

  private fail(fault: Fault, response: ServerResponse, recorded: string): void {
    switch (fault) {
      case "error":
        response.writeHead(500, { "content-type": "text/plain" }).end("out of order");
        break;
      case "refusal":
        response.writeHead(400, { "content-type": "application/json" }).end('{"error": "seed_image_id: no beat in it"}');
        break;
      case "hang":
        break;
      case "nonsense":
        response.writeHead(200, { "content-type": "application/json" }).end("<html>It works!</html>");
        break;
      case "broken clip":
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(BROKEN_CLIP));
        break;
      case "break off":
        response.writeHead(200, NDJSON).write(recorded.slice(0, recorded.length / 2), () => response.destroy());
        break;
    }
  }

  private pass(
    { method, url, headers }: IncomingMessage,
    response: ServerResponse,
    body: Buffer,
    onAnswer: (answer: Buffer) => void,
  ): void {
    const upstream = send(`${this.gateway}${url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        response.write(chunk);
      });
      answer.on("end", () => {
        onAnswer(Buffer.concat(chunks));
        response.end();
      });
      answer.on("error", () => response.destroy());
    });
    upstream.on("error", () => response.destroy());
    response.on("close", () => upstream.destroy());
    upstream.end(body);
  }
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
