/** Starts one server for all tests: `riffusion serve` with the embedded checkpoint and the built app. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";
import { recordShortClips } from "./recorded_clips";

declare module "vitest" {
  export interface ProvidedContext {
    /** Address of the gateway, without a trailing slash. */
    gateway: string;
    /** Results of the gateway that a proxy can send again; see recorded_clips.ts. */
    shortClips: readonly string[];
  }
}

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const APP = join(ROOT, "web/dist");
const START_TIMEOUT_MS = 600_000;
const STOP_TIMEOUT_MS = 15_000;
const LAST_LINES = 30;

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (!existsSync(join(APP, "index.html"))) throw new Error("web/dist is missing; run `make web` first");
  const [port, gatewayPort] = [await freePort(), await freePort()];
  const server = startServer(["serve", "--port", `${port}`, "--gateway-port", `${gatewayPort}`, "--app-dir", APP]);
  const gateway = `http://127.0.0.1:${gatewayPort}`;
  try {
    await untilReady(`${gateway}/health`, server);
    project.provide("shortClips", await recordShortClips(gateway));
  } catch (error) {
    await stop(server.process);
    throw error;
  }
  project.provide("gateway", gateway);
  return () => stop(server.process);
}

interface Server {
  readonly process: ChildProcess;
  readonly log: string[];
}

/** Runs the command in RIFFUSION, or the one that `make setup` installs. */
function startServer(args: readonly string[]): Server {
  const command = process.env["RIFFUSION"] ?? join(ROOT, ".venv/bin/riffusion");
  const child = spawn(command, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const log: string[] = [];
  child.on("error", (error) => log.push(String(error)));
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => log.push(String(chunk)));
  return { process: child, log };
}

async function untilReady(url: string, { process: child, log }: Server): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const isUp = await fetch(url).then(({ ok }) => ok, () => false);
    if (isUp) return;
    if (child.pid === undefined || child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`riffusion serve did not start:\n${log.slice(-LAST_LINES).join("")}`);
    }
    await wait(300);
  }
}

/** Stops the server and its child processes, which form a process group. */
async function stop({ pid, exitCode, signalCode }: ChildProcess): Promise<void> {
  if (pid === undefined || exitCode !== null || signalCode !== null) return;
  process.kill(pid, "SIGTERM");
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  while (isAlive(pid) && Date.now() < deadline) await wait(100);
  if (isAlive(-pid)) process.kill(-pid, "SIGKILL");
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

function wait(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}
