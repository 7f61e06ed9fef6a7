/**
 * Downloads files and keeps them in the browser, so that the page works without a network.
 *
 * A file is kept under its hash, and only when all of its bytes have arrived and have that hash. A download that breaks
 * off is resumed where it stopped if the server can do that; otherwise the file's bytes are received again and those
 * that are known already are skipped.
 */

import type { Seconds } from "../units";
import type { PageFile } from "./file_list";

/** The part of `CacheStorage` that is used here. */
export interface Caches {
  open(name: string): Promise<Pick<Cache, "match" | "put" | "delete" | "keys">>;
}

export interface StoreOptions {
  /** Address of the page's folder, with a slash at its end. */
  readonly baseUrl: string;
  /** null where there is none: pages that are neither `https:` nor on this machine have no cache. */
  readonly caches: Caches | null;
  readonly fetcher?: typeof fetch;
  /** Waits before another attempt. */
  readonly wait?: (delay: Seconds) => Promise<void>;
}

/** The bytes of a file, and why they could not be kept, for the user; null if they were. */
export interface Received {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly whyNotKept: string | null;
}

/** A download that failed; the message says what to do. */
export class DownloadError extends Error {}

const CACHE_NAME = "riffusion-files";
/** Delays before the second attempt and those after it. */
const RETRY_DELAYS: readonly Seconds[] = [0.5, 2, 5];

export class FileStore {
  private readonly baseUrl: string;
  private readonly caches: Caches | null;
  private readonly fetcher: typeof fetch;
  private readonly wait: (delay: Seconds) => Promise<void>;

  constructor({ baseUrl, caches, fetcher, wait }: StoreOptions) {
    this.baseUrl = baseUrl;
    this.caches = caches;
    this.fetcher = fetcher ?? ((...request) => fetch(...request));
    this.wait = wait ?? ((delay) => new Promise((resolve) => setTimeout(resolve, 1000 * delay)));
  }

  /** The kept response of a file; undefined if it is not kept. */
  async match(file: PageFile): Promise<Response | undefined> {
    try {
      return await (await this.caches?.open(CACHE_NAME))?.match(this.keyOf(file));
    } catch {
      return undefined; // browsers that keep nothing for this page throw
    }
  }

  /**
   * The bytes of a file, which is downloaded and kept if it was not kept before.
   *
   * @param onBytes called with the number of new bytes
   * @throws DownloadError if it cannot be downloaded, after several attempts
   */
  async get(file: PageFile, onBytes: (count: number) => void = () => undefined): Promise<Received> {
    const kept = await this.match(file);
    if (kept) {
      const bytes = new Uint8Array(await kept.arrayBuffer());
      onBytes(bytes.length);
      return { bytes, whyNotKept: null };
    }
    const download = new Download(file, new URL(file.path, this.baseUrl).href, this.fetcher, onBytes);
    for (const delay of [...RETRY_DELAYS, null]) {
      const problem = await download.attempt();
      if (problem === null) break;
      if (delay === null) throw new DownloadError(problem);
      await this.wait(delay);
    }
    return { bytes: download.bytes, whyNotKept: await this.keep(file, download) };
  }

  /** Removes kept files that are not in `files`, and those of unknown versions. */
  async keepOnly(files: readonly PageFile[]): Promise<void> {
    const cache = await this.caches?.open(CACHE_NAME);
    const keys = new Set(files.map((file) => this.keyOf(file)));
    for (const request of (await cache?.keys()) ?? []) if (!keys.has(request.url)) await cache?.delete(request);
  }

  private keyOf({ sha256 }: PageFile): string {
    return new URL(`kept/${sha256}`, this.baseUrl).href;
  }

  private async keep(file: PageFile, { bytes, type }: Download): Promise<string | null> {
    if (this.caches === null) return "Pages are kept for use without a network only at https addresses and on localhost.";
    const headers = { "Content-Type": type, "Content-Length": String(bytes.length) };
    try {
      const cache = await this.caches.open(CACHE_NAME);
      await cache.put(this.keyOf(file), new Response(bytes, { headers }));
      return null;
    } catch (error) {
      await this.forget(file);
      return whyNotKept(error);
    }
  }

  private async forget(file: PageFile): Promise<void> {
    try {
      await (await this.caches?.open(CACHE_NAME))?.delete(this.keyOf(file));
    } catch {
      return; // nothing was kept
    }
  }
}

function whyNotKept(error: unknown): string {
  const isFull = error instanceof DOMException && error.name === "QuotaExceededError";
  return isFull
    ? "This browser has no room left to keep the music maker, so it works only with a network. Free some space, or remove other sites' data in the browser's settings, and reload."
    : "This browser keeps nothing for this page (perhaps it is a private window), so it works only with a network.";
}

/** One file's download, over several attempts. */
class Download {
  bytes: Uint8Array<ArrayBuffer>;
  type = "application/octet-stream";
  private received = 0;

  constructor(
    private readonly file: PageFile,
    private readonly url: string,
    private readonly fetcher: typeof fetch,
    private readonly onBytes: (count: number) => void,
  ) {
    this.bytes = new Uint8Array(file.bytes);
  }

  /** Receives what is missing. Returns what is wrong, for the user; null if the file is complete. */
  async attempt(): Promise<string | null> {
    const { path, bytes } = this.file;
    try {
      const headers = this.received > 0 ? { Range: `bytes=${this.received}-` } : {};
      const response = await this.fetcher(this.url, { headers, cache: "no-cache" });
      if (!response.ok) return `${path} cannot be downloaded: the server answered with status ${response.status}. Is the whole folder on the server?`;
      this.type = response.headers.get("content-type") ?? this.type;
      if (!(await this.receive(response))) return this.changed();
    } catch {
      return `The download of ${path} broke off after ${megabytes(this.received)} of ${megabytes(bytes)} MB. Check the network; what has arrived is not lost.`;
    }
    if (this.received < bytes) return `The download of ${path} ended after ${megabytes(this.received)} of ${megabytes(bytes)} MB. Check the network.`;
    return (await hasHash(this.bytes, this.file.sha256)) ? null : this.changed();
  }

  /** Returns whether the response has no more bytes than the file. */
  private async receive(response: Response): Promise<boolean> {
    let position = response.status === 206 ? this.received : 0;
    const reader = response.body?.getReader();
    for (;;) {
      const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
      if (done || value === undefined) return true;
      if (position + value.length > this.bytes.length) return false;
      this.bytes.set(value, position);
      position += value.length;
      if (position <= this.received) continue; // received before
      this.onBytes(position - this.received);
      this.received = position;
    }
  }

  /** Starts from the beginning, as what has arrived is another version. */
  private changed(): string {
    this.onBytes(-this.received);
    this.received = 0;
    return `${this.file.path} is not the file that belongs to this page: it may be damaged, or from another version. Reload the page; if that does not help, upload the whole folder again.`;
  }
}

/** Whether bytes have a hash. Pages without a secure address cannot compute it, and trust the number of bytes. */
async function hasHash(bytes: Uint8Array<ArrayBuffer>, sha256: string): Promise<boolean> {
  if (globalThis.crypto?.subtle === undefined) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

/** Millions of bytes, as text. */
export function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 1e6 ? 1 : 0);
}
