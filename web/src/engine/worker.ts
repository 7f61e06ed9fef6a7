/** The engine's worker: loads a checkpoint and makes clips beside the page. `protocol.ts` has the messages. */

import { decodeImage } from "./decode_image";
import { EngineService } from "./service";
import { openRuntime } from "./runtime";

const service = new EngineService({
  openRuntime,
  decodeImage,
  invert: (_rgb, width, _height, params) => new Float32Array((width * params.sample_rate * params.step_size_ms) / 1000),
  post: (event) => self.postMessage(event, { transfer: event.kind === "result" ? [event.rgb.buffer, event.samples.buffer] : [] }),
});

self.addEventListener("message", ({ data }: MessageEvent) => service.receive(data));
