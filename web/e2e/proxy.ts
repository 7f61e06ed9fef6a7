/**
 * Stands between the page and the gateway: notes what is asked, and fails on demand.
 *
 *     page ──▶ Proxy ──▶ gateway ──▶ Truss server
 *
 * Only `/run_inference/` ever fails; as long as no fault is set, everything is passed on as it is.
 */

import { type IncomingMessage, type Server, type ServerResponse, createServer, request as send } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { onTestFinished } from "vitest";
import type { InferenceInput } from "../src/api/messages";

/**
 * error: status 500
 * refusal: status 400, with a reason
 * hang: no answer ever
 * nonsense: status 200, and no JSON
 * broken clip: a clip whose sound is none
 * break off: the answer ends in its middle
 */
export type Fault = "error" | "refusal" | "hang" | "nonsense" | "broken clip" | "break off";

/** A request for a clip that left the page, and what came back. */
export interface Exchange {
  readonly input: InferenceInput;
  readonly fault: Fault | null;
  /** The answer's body, once it is complete. */
  answer: Buffer | null;
}

const PATH = "/run_inference/";
const BROKEN_CLIP = {
  image: "data:image/png;base64,bm90aGluZw==",
  audio: "data:audio/flac;base64,bm90aGluZw==",
  duration_s: 5.12,
};

export class Proxy {
  fault: Fault | null = null;
  /** Answers in place of the gateway's, one after the other and again from the first. */
  replays: readonly Buffer[] = [];
  readonly exchanges: Exchange[] = [];
  private readonly sockets = new Set<Socket>();
  private server: Server | null = null;
  private port = 0;
  private numReplayed = 0;

  /** @param gateway its address */
  constructor(private readonly gateway: string) {}

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** A proxy for one test, gone after it. */
  static async open(gateway: string): Promise<Proxy> {
    const proxy = await new Proxy(gateway).start();
    onTestFinished(() => proxy.goAway());
    return proxy;
  }

  /** Listens, at the same address as before if it had one. */
  async start(): Promise<this> {
    const server = createServer((request, response) => void this.answer(request, response));
    server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
    });
    await new Promise<void>((done) => server.listen(this.port, "127.0.0.1", done));
    this.port = (server.address() as AddressInfo).port;
    this.server = server;
    return this;
  }

  /** Breaks all connections off and listens no more. */
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
    if (request.url !== PATH) {
      this.pass(request, response, body, () => undefined);
      return;
    }
    const exchange: Exchange = { input: JSON.parse(String(body)) as InferenceInput, fault: this.fault, answer: null };
    this.exchanges.push(exchange);
    const replay = this.replays[this.numReplayed++ % Math.max(1, this.replays.length)];
    if (this.fault) this.fail(this.fault, request, response, body);
    else if (replay) response.writeHead(200, { "content-type": "application/x-ndjson" }).end(replay);
    else this.pass(request, response, body, (answer) => (exchange.answer = answer));
  }

  private fail(fault: Fault, request: IncomingMessage, response: ServerResponse, body: Buffer): void {
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
        this.pass(request, response, body, () => undefined, true);
        break;
    }
  }

  /** @param breaksOff whether the connection ends with the first piece of the answer */
  private pass(
    { method, url, headers }: IncomingMessage,
    response: ServerResponse,
    body: Buffer,
    onAnswer: (answer: Buffer) => void,
    breaksOff = false,
  ): void {
    const upstream = send(`${this.gateway}${url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        response.write(chunk);
        if (breaksOff) response.destroy();
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
