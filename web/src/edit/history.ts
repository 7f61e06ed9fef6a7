/**
 * The versions of a recording: a tree, as several takes may be made of one version. Undo goes to the version that
 * one was made of, redo goes back down the same way. No version is ever lost.
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

export interface History {
  readonly versions: readonly Version[];
  /** The id of the version that is shown. */
  readonly current: number;
  /** Ids of the versions that were undone, the next one to redo last. */
  readonly undone: readonly number[];
}

/** The history of a recording that nobody has edited. */
export function begun(title: string, pieces: Pieces): History {
  return { versions: [{ id: 0, parent: null, title, pieces, change: null, isLoop: false }], current: 0, undone: [] };
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

/** Adds a version that was made of `parent`, and shows it. */
export function withVersion(history: History, parent: number, version: Omit<Version, "id" | "parent">): History {
  versionOf(history, parent);
  const id = 1 + Math.max(...history.versions.map(({ id }) => id));
  return { versions: [...history.versions, { ...version, id, parent }], current: id, undone: [] };
}

export function undo(history: History): History {
  const { parent } = currentVersion(history);
  return parent === null ? history : { ...history, current: parent, undone: [...history.undone, history.current] };
}

export function redo(history: History): History {
  const next = history.undone.at(-1);
  return next === undefined ? history : { ...history, current: next, undone: history.undone.slice(0, -1) };
}

/** Shows any version. */
export function goTo(history: History, id: number): History {
  return id === history.current ? history : { ...history, current: versionOf(history, id).id, undone: [] };
}
