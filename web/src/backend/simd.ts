/** Whether this browser's WebAssembly has SIMD instructions, which the networks need. */

/**
 * A module with one function that splats an integer into a vector and drops it: `i32.const 0`, `i8x16.splat`, `drop`.
 * Browsers without SIMD refuse it. (WebAssembly core specification 2.0, 5.4.8.)
 */
const SIMD_MODULE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, // magic number and version
  1, 4, 1, 96, 0, 0, // one type: () → ()
  3, 2, 1, 0, // one function of that type
  10, 9, 1, 7, 0, 65, 0, 253, 15, 26, 11, // its code
]);

export const NO_SIMD =
  "This browser's WebAssembly has no SIMD instructions, which making music without a server needs. Use a current Chrome, Edge, Firefox, or Safari 16.4 or newer.";

/** @param assembly the browser's `WebAssembly`; undefined if it has none */
export function hasSimd(assembly: Pick<typeof WebAssembly, "validate"> | undefined = globalThis.WebAssembly): boolean {
  return assembly?.validate(SIMD_MODULE) ?? false;
}
