/**
 * Converts a jam to and from a link. The first line has the parameters of the public Riffusion web app.
 *
 *     prompt, seed, denoising, seedImageId, maskImageId, guidance, numInferenceSteps, alphaVelocity
 *     negativePrompt, scheduler, next (once for each queued prompt)
 *     endPrompt, endSeed, alpha: the position of the audible clip between two ends
 *
 * Default values are left out. Values that cannot be read are ignored and reported, so that an old or damaged
 * link still plays. The user's own images and sounds don't fit into a link.
 */

import type { Library, LibraryImage } from "../api/library";
import { shortened } from "../shorten";
import {
  DEFAULT_SETTINGS, MAX_PROMPT_CHARACTERS, RANGES, SCHEDULERS, type ImageSource, type Range,
  type Settings, clamped, isScheduler,
} from "../settings/settings";
import { SEED_LIMIT, type Walk, startWalk } from "../walk/walk";

export interface LinkedJam {
  readonly settings: Settings;
  readonly walk: Walk;
  /** Messages for the user about parameters that were ignored or changed. */
  readonly problems: readonly string[];
}

/** Digits of alpha in a link. Further digits are rounding errors of sums. */
const ALPHA_DIGITS = 9;
/** Values that mean no image: the public app writes them for no mask and for the default seed image. */
const NO_IMAGE = ["", "none"];

/**
 * Reads a jam from the query of a link.
 *
 * @param query with or without the leading question mark
 * @param randomPrompt called if the link has no prompt
 * @param randomSeed called if the link has no seed
 * @param defaults the server's defaults
 */
export function jamFromQuery(
  query: string, randomPrompt: () => string, randomSeed: () => bigint, defaults: Settings = DEFAULT_SETTINGS,
): LinkedJam {
  const reader = new Reader(new URLSearchParams(query));
  const settings: Settings = {
    negativePrompt: reader.prompt("negativePrompt") ?? defaults.negativePrompt,
    denoising: reader.number("denoising", RANGES.denoising) ?? defaults.denoising,
    guidance: reader.number("guidance", RANGES.guidance) ?? defaults.guidance,
    numInferenceSteps: Math.round(
      reader.number("numInferenceSteps", RANGES.numInferenceSteps) ?? defaults.numInferenceSteps,
    ),
    scheduler: reader.scheduler(defaults.scheduler),
    seedImage: reader.image("seedImageId") ?? defaults.seedImage,
    mask: reader.image("maskImageId"),
    alphaStep: reader.number("alphaVelocity", RANGES.alphaStep) ?? defaults.alphaStep,
  };
  return { settings, walk: reader.walk(randomPrompt, randomSeed), problems: reader.problems };
}

/** Replaces images that the server does not have by the defaults, with a message about each of them. */
export function withKnownImages(settings: Settings, library: Library): { settings: Settings; problems: readonly string[] } {
  const problems: string[] = [];
  const known = <P extends ImageSource | null>(image: P, name: string, all: readonly LibraryImage[], otherwise: P): P => {
    const ids = all.map(({ id }) => id);
    if (image?.kind !== "id" || ids.length === 0 || ids.includes(image.id)) return image; // no ids: the server does not list its images
    problems.push(`${name}=${shortened(image.id)} is not one of ${ids.join(", ")}`);
    return otherwise;
  };
  const seedImage = known(settings.seedImage, "seedImageId", library.seedImages, DEFAULT_SETTINGS.seedImage);
  const mask = known(settings.mask, "maskImageId", library.masks, DEFAULT_SETTINGS.mask);
  return { settings: problems.length > 0 ? { ...settings, seedImage, mask } : settings, problems };
}

/**
 * The query of a link that restores `settings` and `walk`, with a leading question mark.
 *
 * @param defaults the server's defaults, which are left out
 */
export function queryFromJam(settings: Settings, walk: Walk, defaults: Settings = DEFAULT_SETTINGS): string {
  const query = new URLSearchParams();
  query.set("prompt", walk.current.prompt);
  query.set("seed", String(walk.current.seed));
  const plain = startWalk(walk.current.prompt, walk.current.seed, [], walk.seedLimit);
  if (walk.target.prompt !== plain.target.prompt) query.set("endPrompt", walk.target.prompt);
  if (walk.target.seed !== plain.target.seed) query.set("endSeed", String(walk.target.seed));
  if (walk.alpha > 0) query.set("alpha", String(Number(walk.alpha.toFixed(ALPHA_DIGITS))));
  for (const prompt of walk.queue) query.append("next", prompt);
  const { seedImage, mask } = settings;
  const values: [string, string | number, string | number][] = [
    ["negativePrompt", settings.negativePrompt, defaults.negativePrompt],
    ["denoising", settings.denoising, defaults.denoising],
    ["guidance", settings.guidance, defaults.guidance],
    ["numInferenceSteps", settings.numInferenceSteps, defaults.numInferenceSteps],
    ["scheduler", settings.scheduler ?? "default", defaults.scheduler ?? "default"],
    ["alphaVelocity", settings.alphaStep, defaults.alphaStep],
  ];
  for (const [name, value, byDefault] of values) {
    if (value !== byDefault) query.set(name, String(value));
  }
  if (seedImage.kind === "id") query.set("seedImageId", seedImage.id);
  if (mask?.kind === "id") query.set("maskImageId", mask.id);
  return `?${query}`;
}

class Reader {
  readonly problems: string[] = [];

  constructor(private readonly query: URLSearchParams) {}

  prompt(name: string): string | null {
    const text = this.query.get(name)?.trim();
    if (!text) return null;
    if (text.length <= MAX_PROMPT_CHARACTERS) return text;
    this.problems.push(`${name} was shortened to ${MAX_PROMPT_CHARACTERS} characters`);
    return text.slice(0, MAX_PROMPT_CHARACTERS);
  }

  number(name: string, range: Range): number | null {
    const text = this.query.get(name)?.trim();
    if (!text) return null;
    const value = Number(text);
    if (!Number.isFinite(value)) {
      this.problems.push(`${name}=${shortened(text)} is not a number`);
      return null;
    }
    const inside = clamped(value, range);
    if (inside !== value) this.problems.push(`${name}=${shortened(text)} was changed to ${inside}`);
    return inside;
  }

  seed(name: string): bigint | null {
    const text = this.query.get(name)?.trim();
    if (!text) return null;
    const value = wholeNumber(text);
    if (value !== null && value < SEED_LIMIT) return value;
    this.problems.push(`${name}=${shortened(text)} is not a whole number from 0 to ${SEED_LIMIT - 1n}`);
    return null;
  }

  image(name: string): ImageSource | null {
    const id = this.query.get(name)?.trim() ?? "";
    return NO_IMAGE.includes(id) ? null : { kind: "id", id: id.slice(0, 100) };
  }

  scheduler(byDefault: Settings["scheduler"]): Settings["scheduler"] {
    const name = this.query.get("scheduler")?.trim();
    if (!name) return byDefault;
    if (name === "default") return null;
    if (isScheduler(name)) return name;
    this.problems.push(`scheduler=${shortened(name)} is not one of ${SCHEDULERS.join(", ")}`);
    return byDefault;
  }

  walk(randomPrompt: () => string, randomSeed: () => bigint): Walk {
    const prompt = this.prompt("prompt") ?? randomPrompt();
    const seed = this.seed("seed") ?? randomSeed();
    const queue = this.query.getAll("next").map((text) => text.trim().slice(0, MAX_PROMPT_CHARACTERS));
    const plain = startWalk(prompt, seed, queue.filter(Boolean));
    const target = {
      prompt: this.prompt("endPrompt") ?? plain.target.prompt,
      seed: this.seed("endSeed") ?? plain.target.seed,
    };
    const alpha = this.number("alpha", { min: 0, max: 1, step: 0 }) ?? 0;
    return { ...plain, target, alpha: alpha < 1 ? alpha : 0 };
  }
}

/** A whole number of any size: digits, or what a number of JavaScript holds exactly, such as 1e3; otherwise null. */
function wholeNumber(text: string): bigint | null {
  if (/^\d+$/.test(text)) return BigInt(text);
  const value = Number(text);
  return Number.isSafeInteger(value) && value >= 0 ? BigInt(value) : null;
}
