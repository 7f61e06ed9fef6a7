/** What the gateway offers: seed images and masks, what its checkpoint can do, and whether clips may cost money. */

import type { Distillation } from "../settings/distilled";

/** An image on the server: its id and its URL. */
export interface LibraryImage {
  readonly id: string;
  readonly url: string;
}

export interface Library {
  readonly seedImages: readonly LibraryImage[];
  readonly masks: readonly LibraryImage[];
}

/** Seed images that every server has, used if the server does not list its own. */
const KNOWN_SEED_IMAGES = ["og_beat", "agile", "marim", "motorway", "vibes"];

/** Fetches the lists of seed images and masks. If the gateway does not answer, it lists those that every server has. */
export async function fetchLibrary(baseUrl: string): Promise<Library> {
  const [seedImages, masks] = await Promise.all([
    fetchIds(`${baseUrl}seed_images`, "seed_images"),
    fetchIds(`${baseUrl}masks`, "masks"),
  ]);
  return libraryOf(baseUrl, seedImages ?? KNOWN_SEED_IMAGES, masks ?? []);
}

/** The images with these ids, where every page has them. */
export function libraryOf(baseUrl: string, seedImages: readonly string[], masks: readonly string[]): Library {
  const images = (folder: string, ids: readonly string[]): LibraryImage[] =>
    ids.map((id) => ({ id, url: `${baseUrl}${folder}/${encodeURIComponent(id)}.png` }));
  return { seedImages: images("seed_images", seedImages), masks: images("masks", masks) };
}

/** Whether clips are made on another machine, where they may cost money. */
export async function isEndpointRemote(baseUrl: string): Promise<boolean> {
  const health = await fetchJson(`${baseUrl}health`);
  const endpoint = (health as Record<string, unknown> | null)?.["endpoint"];
  if (typeof endpoint !== "string" || !URL.canParse(endpoint)) return false;
  return !["localhost", "127.0.0.1", "[::1]"].includes(new URL(endpoint).hostname);
}

/** What the checkpoint can do if it is distilled. Null if it is not, or if the gateway does not know. */
export async function fetchDistillation(baseUrl: string): Promise<Distillation | null> {
  const info = (await fetchJson(`${baseUrl}info`)) as Record<string, unknown> | null;
  return distillationFrom(info?.["distillation"]);
}

/** What a checkpoint's `distillation.json` says; null if it is something else. */
export function distillationFrom(found: unknown): Distillation | null {
  if (typeof found !== "object" || found === null) return null;
  const { max_steps: maxSteps, guidance, guided_sampling: isGuidedSampling } = found as Record<string, unknown>;
  if (typeof maxSteps !== "number" || typeof isGuidedSampling !== "boolean" || !Array.isArray(guidance)) return null;
  const [lowest, highest] = guidance as unknown[];
  if (typeof lowest !== "number" || typeof highest !== "number") return null;
  return { maxSteps, guidance: [lowest, highest], isGuidedSampling };
}

async function fetchIds(url: string, field: string): Promise<string[] | null> {
  const ids = ((await fetchJson(url)) as Record<string, unknown> | null)?.[field];
  return Array.isArray(ids) && ids.every((id) => typeof id === "string") ? ids : null;
}

async function fetchJson(url: string): Promise<unknown> {
  try {
    return await (await fetch(url)).json();
  } catch {
    return null;
  }
}
