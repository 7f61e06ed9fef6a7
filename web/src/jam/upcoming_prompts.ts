/** The prompts that a jam comes to: those on their way to the ear, and those that can still be others. */

import type { End, Stop, Walk } from "../walk/walk";
import { type Clip, type ClipAudio, walkBefore } from "./clip";

export interface UpcomingPrompts {
  /** Clips that play, or are about to, arrive there. */
  readonly settled: readonly string[];
  /** The next one first. */
  readonly open: readonly string[];
}

/** Where a jam is: what plays, what is ready, and where it goes on after that. */
export interface Position<S extends ClipAudio> {
  /** The last clip that was ordered to play. */
  readonly last: Clip<S> | undefined;
  readonly ready: readonly Clip<S>[];
  readonly walk: Walk;
}

/** What comes after a clip that is heard. */
export function upcomingAfter<S extends ClipAudio>(heard: Clip<S> | undefined, { last, ready, walk }: Position<S>): UpcomingPrompts {
  const made = ready.filter(isOnTheWay);
  const next = made[0] ? walkBefore(made[0]) : walk;
  const begun = [heard, last].flatMap((clip) => (clip ? [clip.stop.start] : []));
  return {
    settled: turns([...begun, next.current]),
    open: [...turns([next.current, ...made.map(({ stop }) => stop.end), walk.target]), ...walk.queue],
  };
}

/** Prompts that a jam goes to after a clip and the end it is on its way to, the next one first. */
export function promptsAfter<S extends ClipAudio>(clip: Clip<S>, { last, ready, walk }: Position<S>): readonly string[] {
  const unheard = [...(last && last !== clip ? [last] : []), ...ready].filter(isOnTheWay);
  return [...turns([clip.stop.end, ...unheard.map(({ stop }) => stop.end), walk.target]), ...walk.queue];
}

/** Where prompts change along ends. */
function turns(ends: readonly End[]): string[] {
  return ends.flatMap(({ prompt }, i) => (i > 0 && prompt !== ends[i - 1]?.prompt ? [prompt] : []));
}

/** A repainted clip is heard once more and leads nowhere. */
function isOnTheWay<S extends ClipAudio>({ isRepainted }: Clip<S>): boolean {
  return !isRepainted;
}
export interface NowAndNext {
  /** The prompt that is heard, or left. */
  readonly now: string;
  /** The next other prompt; null while none is known. */
  readonly next: string | null;
  /** How far the music is on its way there, from 0 to 1; 0 if the way has not begun. */
  readonly progress: number;
}

/**
 * @param heard the stop that is heard; null in silence
 * @param ready stops of the clips to come
 * @param walk after them
 */
export function nowAndNext(heard: Stop | null, ready: readonly Stop[], walk: Walk): NowAndNext {
  const now = heard?.start.prompt ?? ready[0]?.start.prompt ?? walk.current.prompt;
  if (heard && heard.end.prompt !== now) return { now, next: heard.end.prompt, progress: heard.alpha };
  const coming = [...ready.flatMap(({ start, end }) => [start, end]), walk.current, walk.target];
  const next = coming.find(({ prompt }) => prompt !== now)?.prompt ?? walk.queue.find((prompt) => prompt !== now);
  return { now, next: next ?? null, progress: 0 };
}
