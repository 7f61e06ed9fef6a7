/** Loads onnxruntime-web: its WebAssembly comes from files of the page's own, never from another host. */

import gpuGlue from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs?url";
import gpuBinary from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?gzipped";
import wasmGlue from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasmBinary from "onnxruntime-web/ort-wasm-simd-threaded.wasm?gzipped";
import type { Env } from "onnxruntime-web/wasm";
import { CheckpointError } from "./checkpoint";
import type { Runtime } from "./ort_networks";
import type { Provider } from "./protocol";
import { hasSimd } from "./simd";

const GZIP_MAGIC = [0x1f, 0x8b];

/**
 * The runtime for a provider.
 *
 * @param threads that compute; only a cross-origin isolated page has more than one
 * @param fetcher fetches the page's files
 * @throws CheckpointError if the browser cannot run it
 */
export async function openRuntime(provider: Provider, threads: number, fetcher: typeof fetch): Promise<Runtime> {
  if (!hasSimd()) throw new CheckpointError("this browser has no WebAssembly SIMD, which drawing on this device needs; update the browser");
  if (provider === "webgpu") {
    await checkAdapter();
    const ort = await import("onnxruntime-web/webgpu");
    await prepare(ort.env.wasm, 1, gpuGlue, gpuBinary, fetcher);
    return ort;
  }
  const ort = await import("onnxruntime-web/wasm");
  await prepare(ort.env.wasm, self.crossOriginIsolated ? threads : 1, wasmGlue, wasmBinary, fetcher);
  return ort;
}

async function prepare(flags: Env.WebAssemblyFlags, threads: number, glue: string, binary: string, fetcher: typeof fetch): Promise<void> {
  flags.numThreads = threads;
  flags.wasmPaths = { mjs: new URL(glue, self.location.href).href };
  flags.wasmBinary = await unpacked(await fetcher(new URL(binary, self.location.href)));
}

async function unpacked(response: Response): Promise<ArrayBuffer> {
  const bytes = await response.arrayBuffer();
  const [first, second] = new Uint8Array(bytes, 0, GZIP_MAGIC.length);
  if (first !== GZIP_MAGIC[0] || second !== GZIP_MAGIC[1]) return bytes;
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** The part of WebGPU that is used here; the DOM's types do not have it. */
interface Gpu {
  requestAdapter(): Promise<{ readonly isFallbackAdapter?: boolean; readonly info?: { readonly isFallbackAdapter?: boolean } } | null>;
}

/** Rejects where there is no GPU, or only a program that acts as one and is slower than WebAssembly. */
async function checkAdapter(): Promise<void> {
  const adapter = await (navigator as { readonly gpu?: Gpu }).gpu?.requestAdapter();
  if (!adapter) throw new CheckpointError("this browser offers no GPU to web pages");
  if (adapter.isFallbackAdapter || adapter.info?.isFallbackAdapter) throw new CheckpointError("this device has no GPU for web pages, only an emulated one");
}
