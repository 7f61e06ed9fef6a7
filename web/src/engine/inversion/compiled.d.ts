/** A module that `kernels/vite_plugin.ts` compiles: the bytes of a WebAssembly module, as base64. */
declare module "*?compiled" {
  const base64: string;
  export default base64;
}
