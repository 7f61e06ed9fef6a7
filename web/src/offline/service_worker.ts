/**
 * The service worker of the static page. It answers from the kept files, so the page works without a network, and adds
 * the headers that make the page cross-origin isolated: only then browsers allow threads, and plain file servers do not
 * send them.
 *
 *     page ──▶ service worker ──▶ kept files, by hash ──▶ network
 *
 * A new version of the page keeps its files first, and takes over when all pages of the old version are closed.
 */

import { type PageFile, LIST_GLOBAL } from "./file_list";
import { FileStore } from "./file_store";

/** The parts of a service worker's global scope that are used here; the DOM's types do not have them. */
interface Scope {
  readonly registration: { readonly scope: string; readonly active: unknown };
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: string, listener: (event: LifeEvent & FetchEvent) => void): void;
}
interface LifeEvent {
  waitUntil(done: Promise<unknown>): void;
}
interface FetchEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};

const scope = globalThis as unknown as Scope;
const files = (globalThis as Record<string, unknown>)[LIST_GLOBAL] as readonly PageFile[];
const baseUrl = scope.registration.scope;
const store = new FileStore({ baseUrl, caches: globalThis.caches });
const byUrl = new Map(files.map((file) => [new URL(file.path, baseUrl).href, file]));

scope.addEventListener("install", (event) => event.waitUntil(install()));
scope.addEventListener("activate", (event) => event.waitUntil(Promise.all([store.keepOnly(files), scope.clients.claim()])));
scope.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(baseUrl)) event.respondWith(answer(request));
});

/** Keeps the page's files, and on an update those that make clips, too: the old version has them, and works offline. */
async function install(): Promise<void> {
  const isUpdate = Boolean(scope.registration.active);
  const wanted = files.filter(({ group }) => group === "page" || (isUpdate && group === "engine"));
  await Promise.all(wanted.map((file) => store.get(file)));
  if (!isUpdate) await scope.skipWaiting();
}

async function answer(request: Request): Promise<Response> {
  const url = new URL(request.url);
  url.hash = url.search = "";
  if (url.href.endsWith("/")) url.pathname += "index.html";
  const file = byUrl.get(url.href);
  const kept = file && (await store.match(file));
  return isolated(kept ?? (await fetch(request)));
}

function isolated(response: Response): Response {
  if (response.type === "opaque" || response.type === "opaqueredirect" || response.type === "error" || response.status === 304) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATION)) headers.set(name, value);
  const { status, statusText, body } = response;
  return new Response(body, { status, statusText, headers });
}
