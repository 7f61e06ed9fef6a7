/** The prompts that a jam comes to: those on their way to the ear, and those that can still be others. */

import { type End, type Walk } from "../walk/walk";
import { type Clip, type Sound, walkBefore } from "./clip";

export interface Itinerary {
  /** Clips that play, or are about to, arrive there. */
  readonly settled: readonly string[];
  /** The next one first. */
  readonly open: readonly string[];
}

/** Where a jam is: what plays, what is ready, and where it goes on after that. */
export interface Position<S extends Sound> {
  /** The last clip that was ordered to play. */
  readonly last: Clip<S> | undefined;
  readonly ready: readonly Clip<S>[];
  readonly walk: Walk;
}

/** What comes after a clip that is heard. */
export function itineraryAfter<S extends Sound>(heard: Clip<S> | undefined, { last, ready, walk }: Position<S>): Itinerary {
  const made = ready.filter(isOnTheWay);
  const next = made[0] ? walkBefore(made[0]) : walk;
  const begun = [heard, last].flatMap((clip) => (clip ? [clip.stop.start] : []));
  return {
    settled: turns([...begun, next.current]),
    open: [...turns([next.current, ...made.map(({ stop }) => stop.end), walk.target]), ...walk.queue],
  };
}

/** Prompts that a jam goes to after a clip and the end it is on its way to, the next one first. */
export function promptsAfter<S extends Sound>(clip: Clip<S>, { last, ready, walk }: Position<S>): readonly string[] {
  const unheard = [...(last && last !== clip ? [last] : []), ...ready].filter(isOnTheWay);
  return [...turns([clip.stop.end, ...unheard.map(({ stop }) => stop.end), walk.target]), ...walk.queue];
}

/** Where prompts change along ends. */
function turns(ends: readonly End[]): string[] {
  return ends.flatMap(({ prompt }, i) => (i > 0 && prompt !== ends[i - 1]?.prompt ? [prompt] : []));
}

/** A repainted clip is heard once more and leads nowhere. */
function isOnTheWay<S extends Sound>({ isRepainted }: Clip<S>): boolean {
  return !isRepainted;
}
