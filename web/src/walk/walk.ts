/**
 * The jam's way through prompts and seeds.
 *
 * A walk goes from one end, a prompt and a seed, to the next. Each clip lies `alpha` of the way
 * between them, and the next clip one step further. Where a step reaches or passes the end, the walk
 * arrives: the end becomes the start of the next stretch, and what the step had left counts there.
 * The next end is the first queued prompt, or the same prompt if there is none; its seed is one more.
 *
 *     church bells, 7 ──0.25──0.5──0.75── church bells, 8 ──0.25── … ── jazz trio, 9
 *
 * States are values: a step returns a new one, so a walk can be taken back to any of them. The
 * command line's `riffusion jam` follows the same rules, in packages/riffusion/generation/walk.py; both are
 * tested by tests/generation/walk_cases.json.
 */

import type { Share } from "../units";

/** A place that can be heard: the same prompt and seed are always the same clip. */
export interface End {
  readonly prompt: string;
  readonly seed: number;
}

/** What is asked of the server for one clip. */
export interface Stop {
  readonly start: End;
  readonly end: End;
  readonly alpha: Share;
}

export interface Walk {
  readonly current: End;
  readonly target: End;
  /** Of the next clip, in [0, 1). */
  readonly alpha: Share;
  /** Prompts to come, the next one first. */
  readonly queue: readonly string[];
  /** Seeds stay below it; the one after the last is 0. */
  readonly seedLimit: number;
}

/** Whole numbers are exact in JavaScript up to here, so the app's seeds stay below it. */
export const SEED_LIMIT = 2 ** 53;
/** Steps such as 0.1 don't add up to 1 exactly. */
const TOLERANCE = 1e-9;

/** A walk at its first clip. */
export function startWalk(
  prompt: string,
  seed: number,
  queue: readonly string[] = [],
  seedLimit: number = SEED_LIMIT,
): Walk {
  const current = { prompt, seed };
  return { current, target: nextEnd(current, prompt, seedLimit), alpha: 0, queue, seedLimit };
}

/**
 * The next clip, and the walk after it.
 *
 * @param alphaStep in (0, 1]
 */
export function step(walk: Walk, alphaStep: Share): { stop: Stop; walk: Walk } {
  const here = turnToQueue(walk);
  const stop = { start: here.current, end: here.target, alpha: here.alpha };
  const alpha = here.alpha + alphaStep;
  if (alpha < 1 - TOLERANCE) return { stop, walk: { ...here, alpha } };
  const left = alpha - 1;
  return { stop, walk: arrive({ ...here, alpha: left > TOLERANCE ? left : 0 }) };
}

/** The same walk with other prompts to come. */
export function withQueue(walk: Walk, queue: readonly string[]): Walk {
  return { ...walk, queue };
}

/** The same walk with other prompts to come, the one that it is on its way to among them. */
export function redirect(walk: Walk, prompts: readonly string[]): Walk {
  if (walk.target.prompt === walk.current.prompt) return withQueue(walk, prompts);
  const [prompt = walk.current.prompt, ...queue] = prompts;
  return { ...walk, target: { ...walk.target, prompt }, queue };
}

/** Goes to `prompt` with the very next clip, without a way there. */
export function jump(walk: Walk, prompt: string): Walk {
  const current = { prompt, seed: walk.target.seed };
  return { ...walk, current, target: nextEnd(current, prompt, walk.seedLimit), alpha: 0 };
}

/** Whether it goes from seed to seed of one prompt, and no other is to come. */
export function isWandering({ current, target, queue }: Walk): boolean {
  return current.prompt === target.prompt && queue.length === 0;
}

/** A queued prompt takes effect at once where the way to the next seed has not begun. */
function turnToQueue(walk: Walk): Walk {
  const [prompt, ...queue] = walk.queue;
  const isFree = walk.alpha === 0 && walk.target.prompt === walk.current.prompt;
  if (prompt === undefined || !isFree) return walk;
  return { ...walk, target: nextEnd(walk.current, prompt, walk.seedLimit), queue };
}

function arrive(walk: Walk): Walk {
  const [prompt, ...queue] = walk.queue;
  const target = nextEnd(walk.target, prompt ?? walk.target.prompt, walk.seedLimit);
  return { ...walk, current: walk.target, target, queue };
}

function nextEnd(from: End, prompt: string, seedLimit: number): End {
  return { prompt, seed: from.seed + 1 < seedLimit ? from.seed + 1 : 0 };
}
