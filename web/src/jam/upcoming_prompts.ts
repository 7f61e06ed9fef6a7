/** The prompts that a jam plays next: those that are already fixed and those that can still be changed. */

import type { End, Stop, Walk } from "../walk/walk";
import { type Clip, type ClipAudio, walkBefore } from "./clip";

export interface UpcomingPrompts {
  /** Prompts that the playing or scheduled clip arrives at; they cannot be changed. */
  readonly arriving: readonly string[];
  /** Prompts that can still be changed, the next one first. */
  readonly editable: readonly string[];
}

/** Position of a jam: the clip that plays, the clips that are ready, and the walk after them. */
export interface Position<S extends ClipAudio> {
  /** The last clip that was scheduled. */
  readonly last: Clip<S> | undefined;
  readonly ready: readonly Clip<S>[];
  readonly walk: Walk;
}

/** The prompts after the audible clip. */
export function upcomingAfter<S extends ClipAudio>(heard: Clip<S> | undefined, { last, ready, walk }: Position<S>): UpcomingPrompts {
  const made = ready.filter(isPartOfWalk);
  const next = made[0] ? walkBefore(made[0]) : walk;
  const begun = [heard, last].flatMap((clip) => (clip ? [clip.stop.start] : []));
  return {
    arriving: promptChanges([...begun, next.current]),
    editable: [...promptChanges([next.current, ...made.map(({ stop }) => stop.end), walk.target]), ...walk.queue],
  };
}

/** The prompts after a clip and its target end, the next one first. */
export function promptsAfter<S extends ClipAudio>(clip: Clip<S>, { last, ready, walk }: Position<S>): readonly string[] {
  const unheard = [...(last && last !== clip ? [last] : []), ...ready].filter(isPartOfWalk);
  return [...promptChanges([clip.stop.end, ...unheard.map(({ stop }) => stop.end), walk.target]), ...walk.queue];
}

/** The prompt of each end whose prompt differs from the end before it. */
function promptChanges(ends: readonly End[]): string[] {
  return ends.flatMap(({ prompt }, i) => (i > 0 && prompt !== ends[i - 1]?.prompt ? [prompt] : []));
}

/** A repainted clip repeats a stop and is not a step of the walk. */
function isPartOfWalk<S extends ClipAudio>({ isRepainted }: Clip<S>): boolean {
  return !isRepainted;
}

/** The audible prompt and the next one. */
export interface NowAndNext {
  /** The audible prompt, or the one that the music is leaving. */
  readonly now: string;
  /** The next different prompt; null if there is none. */
  readonly next: string | null;
  /** Progress of the transition to `next`, from 0, not begun, to 1. */
  readonly progress: number;
}

/**
 * The prompt that is audible and the one that follows.
 *
 * @param heard stop of the audible clip; null in silence
 * @param ready stops of the clips that are ready
 * @param walk walk after the ready clips
 */
export function nowAndNext(heard: Stop | null, ready: readonly Stop[], walk: Walk): NowAndNext {
  const now = heard?.start.prompt ?? ready[0]?.start.prompt ?? walk.current.prompt;
  if (heard && heard.end.prompt !== now) return { now, next: heard.end.prompt, progress: heard.alpha };
  const coming = [...ready.flatMap(({ start, end }) => [start, end]), walk.current, walk.target];
  const next = coming.find(({ prompt }) => prompt !== now)?.prompt ?? walk.queue.find((prompt) => prompt !== now);
  return { now, next: next ?? null, progress: 0 };
}
