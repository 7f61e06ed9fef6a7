/** Loads onnxruntime-web: WebAssembly from files of the page's own, never from another host. */

import wasmGlue from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasmBinary from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { CheckpointError } from "./checkpoint";
import type { Runtime } from "./ort_networks";
import type { Provider } from "./protocol";
import { hasSimd } from "./simd";

/**
 * @param threads that compute; only a cross-origin isolated page has more than one
 * @param fetcher fetches the page's files
 * @throws CheckpointError if the browser cannot run it
 */
export async function openRuntime(provider: Provider, threads: number, fetcher: typeof fetch): Promise<Runtime> {
  if (!hasSimd()) throw new CheckpointError("this browser has no WebAssembly SIMD, which drawing on this device needs; update the browser");
  void provider;
  const ort = await import("onnxruntime-web/wasm");
  ort.env.wasm.numThreads = self.crossOriginIsolated ? threads : 1;
  ort.env.wasm.wasmPaths = { mjs: new URL(wasmGlue, self.location.href).href };
  ort.env.wasm.wasmBinary = await (await fetcher(new URL(wasmBinary, self.location.href))).arrayBuffer();
  return ort;
}
