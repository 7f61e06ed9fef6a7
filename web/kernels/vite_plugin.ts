/**
 * Compiles AssemblyScript to WebAssembly with SIMD, for Vite and Vitest.
 *
 *   import base64 from "../kernels/inversion/index.ts?compiled";
 *
 * The import is the module's bytes as base64, so a worker needs no further request for them.
 */

import { readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import asc from "assemblyscript/asc";
import type { Plugin } from "vite";

const QUERY = "?compiled";
const OUTPUT = "kernels.wasm";

/** Bytes of the modules, by entry and age of the newest source beside it; the page and its workers share them. */
const compiled = new Map<string, Promise<Uint8Array>>();

export function compiledKernels(): Plugin {
  return {
    name: "compiled-kernels",
    enforce: "pre",
    async load(id) {
      if (!id.endsWith(QUERY)) return null;
      const entry = id.slice(0, -QUERY.length);
      const sources = readdirSync(dirname(entry)).map((name) => join(dirname(entry), name));
      for (const source of sources) this.addWatchFile(source);
      const key = [entry, Math.max(...sources.map((source) => statSync(source).mtimeMs))].join();
      const bytes = compiled.get(key) ?? compile(entry);
      compiled.set(key, bytes);
      return `export default ${JSON.stringify(Buffer.from(await bytes).toString("base64"))};`;
    },
  };
}

/** The bytes of a WebAssembly module that exports the entry's functions and its memory, and imports nothing. */
async function compile(entry: string): Promise<Uint8Array> {
  let binary: Uint8Array | null = null;
  const options = [
    entry, "--baseDir", dirname(entry), "--outFile", OUTPUT,
    "-O3", "--noAssert", "--enable", "simd", "--runtime", "stub", "--use", "abort=",
  ];
  const { error, stderr } = await asc.main(options, {
    writeFile: (name, contents) => {
      if (name === OUTPUT && typeof contents !== "string") binary = contents;
    },
  });
  if (error || binary === null) throw new Error(`${entry} does not compile: ${error?.message ?? ""}\n${stderr.toString()}`);
  return binary;
}
