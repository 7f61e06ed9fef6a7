/** The engine's worker: loads a checkpoint and makes clips beside the page. `protocol.ts` has the messages. */

import { FileStore } from "../offline/file_store";
import { keptFetch } from "../offline/kept_fetch";
import { decodeImage } from "./decode_image";
import { invertImage } from "./inversion";
import { EngineService } from "./service";
import { openRuntime } from "./runtime";

const service = new EngineService({
  openRuntime,
  decodeImage,
  invert: invertImage,
  openFiles: (baseUrl, onProgress) => keptFetch(baseUrl, new FileStore({ baseUrl, caches: globalThis.caches ?? null }), onProgress),
  post: (event) => self.postMessage(event, { transfer: event.kind === "result" ? [event.rgb.buffer, event.samples.buffer] : [] }),
});

self.addEventListener("message", ({ data }: MessageEvent) => service.receive(data));
