/** Plain file servers for the static page: Python's, and one that fails on demand. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

export const FOLDER = join(dirname(fileURLToPath(import.meta.url)), "../static-dist");
const TYPES: Record<string, string> = {
  ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml",
  ".png": "image/png", ".webp": "image/webp", ".wasm": "application/wasm",
};

/** `python3 -m http.server` in the page's folder, for one test. */
export class PythonServer {
  private constructor(private readonly process: ChildProcess, readonly url: string) {}

  static async open(): Promise<PythonServer> {
    if (!existsSync(join(FOLDER, "index.html"))) throw new Error("web/static-dist is missing; run `make web-static` first");
    const child = spawn("python3", ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", FOLDER], { stdio: ["ignore", "pipe", "ignore"] });
    const url = await new Promise<string>((resolve, reject) => {
      child.on("error", reject);
      child.stdout.on("data", (text) => {
        const address = /\((http:[^)]*)\)/.exec(String(text))?.[1];
        if (address) resolve(address);
      });
    });
    const server = new PythonServer(child, url);
    onTestFinished(() => server.stop());
    return server;
  }

  /** From now on there is no network for the page. */
  stop(): void {
    this.process.kill("SIGKILL");
  }
}

/** A server without ranges that can break off. */
export class FaultyServer {
  /** Paths end after so many bytes, as if the connection were lost. */
  breakAfter = Infinity;
  /** Paths that were requested. */
  readonly requested: string[] = [];
  private readonly sockets = new Set<Socket>();
  private readonly server: Server = createServer((request, response) => this.answer(request, response));

  static async open(): Promise<FaultyServer> {
    const faulty = new FaultyServer();
    const { server, sockets } = faulty;
    server.on("connection", (socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    onTestFinished(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return faulty;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const path = new URL(request.url ?? "/", this.url).pathname.replace(/\/$/, "/index.html");
    this.requested.push(path);
    const file = join(FOLDER, path);
    if (!existsSync(file) || !statSync(file).isFile()) return void response.writeHead(404).end();
    const content = readFileSync(file);
    response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream", "Content-Length": content.length });
    if (content.length <= this.breakAfter) return void response.end(content);
    response.write(content.subarray(0, this.breakAfter), () => setTimeout(() => response.destroy(), 50));
  }
}
