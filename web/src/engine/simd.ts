/** Whether this browser's WebAssembly has SIMD instructions, which the networks and the inversion need. */

/** A function with an instruction of WebAssembly SIMD, `i8x16.popcnt`. Browsers without it refuse the module. */
const SIMD_MODULE = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
);

export const NO_SIMD =
  "This browser's WebAssembly has no SIMD instructions, which making music without a server needs. Use a current Chrome, Edge, Firefox, or Safari 16.4 or newer.";

/** @param assembly the browser's `WebAssembly`; undefined if it has none */
export function hasSimd(assembly: Pick<typeof WebAssembly, "validate"> | undefined = globalThis.WebAssembly): boolean {
  return assembly?.validate(SIMD_MODULE) ?? false;
}
