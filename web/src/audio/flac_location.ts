/** Tells libFLAC's loader where its WebAssembly is. Import this before the loader, which reads it while it is loaded. */

import wasm from "libflacjs/dist/libflac.min.wasm.wasm?url";

Object.assign(globalThis, { FLAC_SCRIPT_LOCATION: { "libflac.min.wasm.wasm": wasm } });
