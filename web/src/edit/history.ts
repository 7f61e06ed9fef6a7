/**
 * The versions of a recording: a tree, as several takes may be made of one version. Undo goes to the version that
 * one was made of, redo goes back down the same way. An edit that makes several takes keeps all of them until the
 * next edit, which removes those that were not chosen. No other version is ever lost.
 */

import type { Pieces } from "./pieces";

/** What changed, in samples of the version. */
export interface Change {
  readonly start: number;
  readonly stop: number;
}

export interface Version {
  readonly id: number;
  /** The version that it was made of; null for the recording itself. */
  readonly parent: number | null;
  /** For the list of versions, such as “Replace: church bells”. */
  readonly title: string;
  readonly pieces: Pieces;
  readonly change: Change | null;
  /** Whether it repeats without a seam. */
  readonly isLoop: boolean;
}

/** What one edit made, of which the user chooses one. */
export interface Takes {
  /** Ids of the versions, in the order in which they were made. */
  readonly ids: readonly number[];
  /** The one that was shown last. */
  readonly chosen: number;
}

export interface History {
  readonly versions: readonly Version[];
  /** The id of the version that is shown. */
  readonly current: number;
  /** Ids of the versions that were undone, the next one to redo last. */
  readonly undone: readonly number[];
  /** What the last edit made; null if there was none. */
  readonly takes: Takes | null;
}

/** The history of a recording that nobody has edited. */
export function begun(title: string, pieces: Pieces): History {
  return { versions: [{ id: 0, parent: null, title, pieces, change: null, isLoop: false }], current: 0, undone: [], takes: null };
}

/** @throws RangeError if there is no such version */
export function versionOf(history: History, id: number): Version {
  const version = history.versions.find((version) => version.id === id);
  if (version === undefined) throw new RangeError(`there is no version ${id}`);
  return version;
}

export function currentVersion(history: History): Version {
  return versionOf(history, history.current);
}

/** The version that the current one was made of; null for the recording itself. */
export function versionBefore(history: History): Version | null {
  const { parent } = currentVersion(history);
  return parent === null ? null : versionOf(history, parent);
}

/** `title`, with a number if other versions have it: `Replace: church bells (2)`. */
export function numbered({ versions }: History, title: string): string {
  const taken = new Set(versions.map((version) => version.title));
  let unique = title;
  for (let take = 2; taken.has(unique); take++) unique = `${title} (${take})`;
  return unique;
}

/** Adds a version that was made of `parent`, and shows it. Takes of the edit before that were not chosen are removed. */
export function withVersion(history: History, parent: number, version: NewVersion): History {
  const { versions, id } = added(history, parent, version);
  const { ids, chosen } = history.takes ?? { ids: [], chosen: id };
  const isNeeded = (take: number): boolean => take === chosen || versions.some((other) => other.parent === take);
  return {
    versions: versions.filter((version) => !ids.includes(version.id) || isNeeded(version.id)),
    current: id, undone: [], takes: { ids: [id], chosen: id },
  };
}

/** Adds another take of what the last edit made, and still shows what is shown. */
export function withTake(history: History, parent: number, version: NewVersion): History {
  const { versions, id } = added(history, parent, version);
  const takes = history.takes && { ...history.takes, ids: [...history.takes.ids, id] };
  return { ...history, versions, takes };
}

type NewVersion = Omit<Version, "id" | "parent">;

function added(history: History, parent: number, version: NewVersion): { readonly versions: readonly Version[]; readonly id: number } {
  versionOf(history, parent);
  const id = 1 + Math.max(...history.versions.map(({ id }) => id));
  return { versions: [...history.versions, { ...version, id, parent }], id };
}

export function undo(history: History): History {
  const { parent } = currentVersion(history);
  return parent === null ? history : showing(history, parent, [...history.undone, history.current]);
}

export function redo(history: History): History {
  const next = history.undone.at(-1);
  return next === undefined ? history : showing(history, next, history.undone.slice(0, -1));
}

/** Shows any version. */
export function goTo(history: History, id: number): History {
  return id === history.current ? history : showing(history, versionOf(history, id).id, []);
}

/** A take that is shown is the chosen one. */
function showing(history: History, current: number, undone: readonly number[]): History {
  const { takes } = history;
  return { ...history, current, undone, takes: takes?.ids.includes(current) ? { ...takes, chosen: current } : takes };
}
