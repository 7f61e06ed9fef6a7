/** Downloads of the static page, with servers that break off, and caches that are full. */

import { createHash, webcrypto } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { PageFile } from "../src/offline/file_list";
import { type Caches, DownloadError, FileStore } from "../src/offline/file_store";

// Node 18 does not have it by itself.
globalThis.crypto ??= webcrypto as Crypto;

const BASE = "https://host/page/";
const CONTENT = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 256);
const FILE = fileOf("weights.bin", CONTENT);
const CHUNK = 100;

function fileOf(path: string, content: Uint8Array): PageFile {
  return { path, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex"), group: "engine" };
}

/** A cache in memory; `full` refuses what is put into it. */
class MemoryCaches implements Caches {
  readonly kept = new Map<string, Response>();
  isFull = false;

  async open(): ReturnType<Caches["open"]> {
    return {
      match: async (key) => this.kept.get(String(key))?.clone(),
      put: async (key, response) => {
        if (this.isFull) throw new DOMException("no room", "QuotaExceededError");
        this.kept.set(String(key), response);
      },
      delete: async (key) => this.kept.delete(key instanceof Request ? key.url : String(key)),
      keys: async () => [...this.kept.keys()].map((url) => new Request(url)),
    } as Awaited<ReturnType<Caches["open"]>>;
  }
}

interface Server {
  /** Bytes after which each answer breaks off, in turn; null for whole answers. */
  readonly breaks: (number | null)[];
  readonly hasRanges: boolean;
  readonly content?: Uint8Array;
  readonly status?: number;
}

/** A fetch that records the first byte that each request asked for. */
function server({ breaks, hasRanges, content = CONTENT, status = 200 }: Server): { fetcher: typeof fetch; requested: number[] } {
  const requested: number[] = [];
  const fetcher = async (_: unknown, init?: RequestInit): Promise<Response> => {
    const range = /bytes=(\d+)-/.exec(new Headers(init?.headers).get("range") ?? "");
    const first = Number(range?.[1] ?? 0);
    requested.push(first);
    const from = hasRanges ? first : 0;
    const stop = breaks.shift() ?? null;
    let position = from;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (stop !== null && position >= stop) return controller.error(new TypeError("network error"));
        if (position >= content.length) return controller.close();
        controller.enqueue(content.slice(position, position + CHUNK));
        position += CHUNK;
      },
    }, { highWaterMark: 0 });
    return new Response(body, { status: status !== 200 ? status : hasRanges && first > 0 ? 206 : 200 });
  };
  return { fetcher: fetcher as typeof fetch, requested };
}

function storeOf(fetcher: typeof fetch, caches: Caches | null): FileStore {
  return new FileStore({ baseUrl: BASE, caches, fetcher, wait: async () => undefined });
}

describe("a download", () => {
  it("is kept under its hash, and not made again", async () => {
    const caches = new MemoryCaches();
    const { fetcher, requested } = server({ breaks: [], hasRanges: true });
    const counts: number[] = [];
    const store = storeOf(fetcher, caches);
    const { bytes, whyNotKept } = await store.get(FILE, (count) => counts.push(count));
    expect([bytes, whyNotKept]).toEqual([CONTENT, null]);
    expect(counts).toEqual(Array(10).fill(CHUNK));
    expect([...caches.kept.keys()]).toEqual([`${BASE}kept/${FILE.sha256}`]);
    expect((await store.get(FILE)).bytes).toEqual(CONTENT);
    expect(requested).toEqual([0]);
  });

  it.each([[true, [0, 300, 700]], [false, [0, 300, 700]]])("is resumed where it broke off (server has ranges: %s)", async (hasRanges, asked) => {
    const caches = new MemoryCaches();
    const { fetcher, requested } = server({ breaks: [300, 700, null], hasRanges });
    let received = 0;
    const { bytes } = await storeOf(fetcher, caches).get(FILE, (count) => (received += count));
    expect(bytes).toEqual(CONTENT);
    expect(received).toBe(CONTENT.length);
    expect(requested).toEqual(asked);
  });

  it("that keeps breaking off says where, and leaves nothing", async () => {
    const caches = new MemoryCaches();
    const { fetcher, requested } = server({ breaks: [300, 300, 300, 300], hasRanges: true });
    await expect(storeOf(fetcher, caches).get(FILE)).rejects.toThrow(/weights\.bin broke off after 0\.0 of 0\.0 MB/);
    expect(requested.length).toBe(4);
    expect(caches.kept.size).toBe(0);
  });

  it.each([
    ["damaged", CONTENT.map((byte, i) => (i === 500 ? byte ^ 1 : byte)), /not the file that belongs to this page/],
    ["too long", Uint8Array.from({ length: 1200 }), /not the file that belongs to this page/],
    ["too short", CONTENT.slice(0, 900), /ended after/],
  ])("that is %s is not used", async (_, content, message) => {
    const caches = new MemoryCaches();
    let received = 0;
    const get = storeOf(server({ breaks: [], hasRanges: false, content }).fetcher, caches).get(FILE, (count) => (received += count));
    await expect(get).rejects.toThrow(message);
    expect(caches.kept.size).toBe(0);
    expect(received).toBeLessThanOrEqual(CONTENT.length);
  });

  it("names the status of a server that lacks the file", async () => {
    const get = storeOf(server({ breaks: [], hasRanges: true, status: 404 }).fetcher, new MemoryCaches()).get(FILE);
    await expect(get).rejects.toBeInstanceOf(DownloadError);
    await expect(get).rejects.toThrow(/status 404/);
  });
});

describe("a file that cannot be kept", () => {
  it("is used all the same, and the message says what to do", async () => {
    const caches = new MemoryCaches();
    caches.isFull = true;
    const { bytes, whyNotKept } = await storeOf(server({ breaks: [], hasRanges: true }).fetcher, caches).get(FILE);
    expect(bytes).toEqual(CONTENT);
    expect(whyNotKept).toMatch(/no room.*Free some space/);
    const none = await storeOf(server({ breaks: [], hasRanges: true }).fetcher, null).get(FILE);
    expect(none.whyNotKept).toMatch(/https/);
  });
});

describe("a new version", () => {
  it("keeps the files that it shares with the old one, and removes the others", async () => {
    const caches = new MemoryCaches();
    const store = storeOf(server({ breaks: [], hasRanges: true }).fetcher, caches);
    await store.get(FILE);
    caches.kept.set(`${BASE}kept/old`, new Response("old"));
    await store.keepOnly([{ ...FILE, path: "renamed.bin" }]);
    expect([...caches.kept.keys()]).toEqual([`${BASE}kept/${FILE.sha256}`]);
  });
});
