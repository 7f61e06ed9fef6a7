/** The files of the static page. The build writes their list into `files.json` and into the service worker. */

/** A file of the page. Its hash is its version: the same bytes are downloaded once, whatever else changes. */
export interface PageFile {
  /** Relative to the page's folder. */
  readonly path: string;
  readonly bytes: number;
  /** SHA-256, in hexadecimal digits. */
  readonly sha256: string;
  /**
   * page: what the browser shows; kept when the service worker is installed
   * engine: what makes the clips; downloaded with progress, and kept
   * extra: pages that the jam can do without; kept when all else is there
   * option: what only some devices use; kept when it is used
   */
  readonly group: "page" | "engine" | "extra" | "option";
}

/** Name of the list, beside `index.html`. */
export const LIST_NAME = "files.json";
/** Global name of the list in the service worker. */
export const LIST_GLOBAL = "PAGE_FILES";

/** The total size of files in bytes. */
export function totalBytes(files: readonly PageFile[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}
