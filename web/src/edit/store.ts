/**
 * Keeps edited recordings in the browser's IndexedDB, so that a reload keeps all versions.
 *
 * The samples of a source are written once; the rest of a project is small and is written after each change.
 */

import type { PcmSamples } from "../audio/pcm";
import type { Project } from "./project";

const NAME = "riffusion-edit";
const PROJECTS = "projects";
const SOURCES = "sources";
/** Number of recordings that are kept. The others are removed, the oldest first. */
const MAX_PROJECTS = 3;

/** What earlier versions of this page did not store. */
const OLDER = { fileType: "wav", isOwnType: false, tags: [] } as const;
const OLDER_HISTORY = { takes: null };

interface StoredProject extends Omit<Project, "sources"> {
  readonly sourceIds: readonly number[];
  /** When it was last changed, in milliseconds since 1970. */
  readonly changed: number;
}

export class EditStore {
  private readonly database: Promise<IDBDatabase>;
  private readonly written = new Map<string, Set<number>>();
  private last: Promise<unknown> = Promise.resolve();

  constructor() {
    this.database = new Promise((resolve, reject) => {
      const opening = indexedDB.open(NAME, 1);
      opening.onupgradeneeded = () => {
        opening.result.createObjectStore(PROJECTS, { keyPath: "id" });
        opening.result.createObjectStore(SOURCES);
      };
      opening.onsuccess = () => resolve(opening.result);
      opening.onerror = () => reject(opening.error ?? new Error("IndexedDB is not available"));
    });
    this.database.catch(() => undefined); // reported by the first call that needs it
  }

  /** Writes a project. Resolves to false if the browser has no room for it, or keeps nothing. */
  save(project: Project): Promise<boolean> {
    const result = this.last.then(() => this.write(project)).then(() => true, () => false);
    this.last = result;
    return result;
  }

  /** The project that was changed last; null if there is none or it cannot be read. */
  async latest(): Promise<Project | null> {
    try {
      const [latest] = await this.stored();
      if (latest === undefined) return null;
      const { sourceIds, changed: _, ...project } = latest;
      const store = (await this.database).transaction(SOURCES).objectStore(SOURCES);
      const channels = await Promise.all(sourceIds.map((id) => resultOf<readonly PcmSamples[]>(store.get(keyOf(project.id, id)))));
      if (channels.some((samples) => samples === undefined)) return null;
      this.written.set(project.id, new Set(sourceIds));
      return { ...OLDER, ...project, history: { ...OLDER_HISTORY, ...project.history }, sources: new Map(sourceIds.map((id, i) => [id, channels[i] ?? []])) };
    } catch {
      return null;
    }
  }

  private async write(project: Project): Promise<void> {
    const { sources, ...rest } = project;
    const written = this.written.get(project.id) ?? new Set();
    const transaction = (await this.database).transaction([PROJECTS, SOURCES], "readwrite");
    const ids = [...sources.keys()];
    for (const id of ids.filter((id) => !written.has(id))) {
      transaction.objectStore(SOURCES).put(sources.get(id), keyOf(project.id, id));
    }
    for (const id of written) if (!sources.has(id)) transaction.objectStore(SOURCES).delete(keyOf(project.id, id));
    const stored: StoredProject = { ...rest, sourceIds: ids, changed: Date.now() };
    transaction.objectStore(PROJECTS).put(stored);
    await doneOf(transaction);
    this.written.set(project.id, new Set(ids));
    await this.removeOld();
  }

  private async removeOld(): Promise<void> {
    const old = (await this.stored()).slice(MAX_PROJECTS);
    if (old.length === 0) return;
    const transaction = (await this.database).transaction([PROJECTS, SOURCES], "readwrite");
    for (const { id, sourceIds } of old) {
      transaction.objectStore(PROJECTS).delete(id);
      for (const source of sourceIds) transaction.objectStore(SOURCES).delete(keyOf(id, source));
      this.written.delete(id);
    }
    await doneOf(transaction);
  }

  /** All projects, the latest first. */
  private async stored(): Promise<StoredProject[]> {
    const all = await resultOf<StoredProject[]>((await this.database).transaction(PROJECTS).objectStore(PROJECTS).getAll());
    return all.sort((a, b) => b.changed - a.changed);
  }
}

function keyOf(project: string, source: number): string {
  return `${project}/${source}`;
}

function resultOf<T>(request: IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB cannot be read"));
  });
}

function doneOf(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error("IndexedDB cannot be written"));
  });
}
