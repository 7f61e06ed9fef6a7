/** `fetch` for code that asks for the page's files by address: they come from the store, with resumed downloads. */

import { LIST_NAME, type PageFile, totalBytes } from "./file_list";
import { DownloadError, type FileStore } from "./file_store";

export interface KeptFetch {
  readonly fetch: typeof fetch;
  /** Why a file could not be kept, for the user; null if all were. */
  readonly whyNotKept: string | null;
}

/**
 * @param baseUrl address of the page's folder, with a slash at its end
 * @param onProgress called with the bytes of the engine's files that have arrived, and their total
 * @throws DownloadError if the list of files cannot be fetched
 */
export async function keptFetch(
  baseUrl: string, store: FileStore, onProgress: (receivedBytes: number, totalBytes: number) => void,
): Promise<KeptFetch> {
  const files = await fetchList(baseUrl);
  const byUrl = new Map(files.map((file) => [new URL(file.path, baseUrl).href, file]));
  const total = totalBytes(files.filter(({ group }) => group === "engine"));
  let [received, whyNotKept]: [number, string | null] = [0, null];
  return {
    get whyNotKept() {
      return whyNotKept;
    },
    fetch: async (input, init) => {
      const file = byUrl.get(new URL(String(input instanceof Request ? input.url : input), baseUrl).href);
      if (file === undefined) return fetch(input, init);
      const isCounted = file.group === "engine";
      const found = await store.get(file, (count) => isCounted && onProgress((received += count), total));
      whyNotKept ??= found.whyNotKept;
      return new Response(found.bytes);
    },
  };
}

async function fetchList(baseUrl: string): Promise<readonly PageFile[]> {
  const found: unknown = await fetch(`${baseUrl}${LIST_NAME}`).then((response) => response.json(), () => null).catch(() => null);
  if (!Array.isArray(found)) throw new DownloadError(`${LIST_NAME} cannot be downloaded. Check the network and reload the page.`);
  return found as PageFile[];
}
