/** Loads onnxruntime-web: WebAssembly from files of the page's own, never from another host. */

import wasmGlue from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasmBinary from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { CheckpointError } from "./checkpoint";
import type { Runtime } from "./ort_networks";
import type { Provider } from "./protocol";

/** A function with an instruction of WebAssembly SIMD, `i8x16.popcnt`. */
const SIMD_MODULE = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
);

/**
 * @param threads that compute; only a cross-origin isolated page has more than one
 * @throws CheckpointError if the browser cannot run it
 */
export async function openRuntime(provider: Provider, threads: number): Promise<Runtime> {
  if (typeof WebAssembly === "undefined" || !WebAssembly.validate(SIMD_MODULE)) {
    throw new CheckpointError("this browser has no WebAssembly SIMD, which drawing on this device needs; update the browser");
  }
  void provider;
  const ort = await import("onnxruntime-web/wasm");
  ort.env.wasm.numThreads = self.crossOriginIsolated ? threads : 1;
  ort.env.wasm.wasmPaths = { mjs: new URL(wasmGlue, self.location.href).href, wasm: new URL(wasmBinary, self.location.href).href };
  return ort;
}
