/**
 * Compresses large files with gzip, for Vite. Plain file servers send files as they are, so this saves their download.
 *
 *   import url from "package/module.wasm?gzipped";
 *
 * The import is the file's address. Its ending is `.gzip`, not `.gz`: servers that know the latter may unpack it on the
 * way, and the bytes would have another hash. The development server sends the file itself.
 */

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";

const QUERY = "?gzipped";

export function gzippedFiles(): Plugin {
  let isServed = false;
  return {
    name: "gzipped-files",
    enforce: "pre",
    configResolved({ command }) {
      isServed = command === "serve";
    },
    async resolveId(source, importer) {
      if (!source.endsWith(QUERY)) return null;
      const found = await this.resolve(source.slice(0, -QUERY.length), importer, { skipSelf: true });
      return found && found.id + QUERY;
    },
    load(id) {
      if (!id.endsWith(QUERY)) return null;
      const file = id.slice(0, -QUERY.length);
      if (isServed) return `export default ${JSON.stringify(`/@fs${file}`)};`;
      const reference = this.emitFile({ type: "asset", name: `${basename(file)}.gzip`, source: gzipSync(readFileSync(file), { level: 9 }) });
      return `export default import.meta.ROLLUP_FILE_URL_${reference};`;
    },
  };
}
