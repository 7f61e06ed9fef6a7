/**
 * The path of a jam through prompts and seeds.
 *
 * A walk goes from one end, which is a prompt and a seed, to the next end. Each clip is at the fraction `alpha`
 * between two ends, and the next clip is one step further. When a step reaches or passes the target end, the walk
 * arrives: this end becomes the start of the next stretch, and the remainder of the step is carried over.
 * The next target has the first queued prompt, or the same prompt if the queue is empty; its seed is one higher.
 *
 *     church bells, 7 ──0.25──0.5──0.75── church bells, 8 ──0.25── … ── jazz trio, 9
 *
 * A walk is immutable: a step returns a new one, so the app can return to any earlier walk. The command line's
 * `riffusion jam` follows the same rules, in packages/riffusion/generation/walk.py. Both are tested with
 * tests/generation/walk_cases.json.
 */

import type { Share } from "../units";

/** One end of an interpolation: the same prompt and seed always give the same clip. */
export interface End {
  readonly prompt: string;
  readonly seed: bigint;
}

/** The position of one clip: what is requested from the server. */
export interface Stop {
  readonly start: End;
  readonly end: End;
  readonly alpha: Share;
}

export interface Walk {
  readonly current: End;
  readonly target: End;
  /** Position of the next clip between `current` and `target`, in [0, 1). */
  readonly alpha: Share;
  /** Queued prompts, the next one first. */
  readonly queue: readonly string[];
  /** Seeds are below this number. After the highest seed follows 0. */
  readonly seedLimit: bigint;
}

/** Seeds are below this number, as those of Python. A number of JavaScript holds whole numbers exactly only up to 2^53. */
export const SEED_LIMIT = 2n ** 63n;
/** Tolerance for sums of steps: ten steps of 0.1 do not add up to exactly 1. */
const TOLERANCE = 1e-9;

/** A walk before its first clip. */
export function startWalk(
  prompt: string,
  seed: bigint,
  queue: readonly string[] = [],
  seedLimit: bigint = SEED_LIMIT,
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
  const here = applyQueue(walk);
  const stop = { start: here.current, end: here.target, alpha: here.alpha };
  const alpha = here.alpha + alphaStep;
  if (alpha < 1 - TOLERANCE) return { stop, walk: { ...here, alpha } };
  const left = alpha - 1;
  return { stop, walk: arrive({ ...here, alpha: left > TOLERANCE ? left : 0 }) };
}

/** The same walk with another queue. */
export function withQueue(walk: Walk, queue: readonly string[]): Walk {
  return { ...walk, queue };
}

/** The same walk with other prompts, including the prompt of its target if that differs from the current prompt. */
export function redirect(walk: Walk, prompts: readonly string[]): Walk {
  if (walk.target.prompt === walk.current.prompt) return withQueue(walk, prompts);
  const [prompt = walk.current.prompt, ...queue] = prompts;
  return { ...walk, target: { ...walk.target, prompt }, queue };
}

/** Makes `prompt` the very next clip, without a transition. */
export function jump(walk: Walk, prompt: string): Walk {
  const current = { prompt, seed: walk.target.seed };
  return { ...walk, current, target: nextEnd(current, prompt, walk.seedLimit), alpha: 0 };
}

/** Whether the walk goes from seed to seed of one prompt and the queue is empty. */
export function isWandering({ current, target, queue }: Walk): boolean {
  return current.prompt === target.prompt && queue.length === 0;
}

/** Makes the first queued prompt the target if the stretch to the next seed of the same prompt has not begun. */
function applyQueue(walk: Walk): Walk {
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

function nextEnd(from: End, prompt: string, seedLimit: bigint): End {
  return { prompt, seed: from.seed + 1n < seedLimit ? from.seed + 1n : 0n };
}
