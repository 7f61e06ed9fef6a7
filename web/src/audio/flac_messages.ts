/** What the page and the worker that encodes FLAC send each other: one answer for each request, in order. */

import type { FileTags } from "./file_tags";
import type { PcmFormat, PcmSamples } from "./pcm";

export type FlacRequest =
  | { readonly kind: "begin"; readonly format: PcmFormat; readonly numFrames: number; readonly tags: FileTags }
  | { readonly kind: "samples"; readonly channels: readonly PcmSamples[] }
  | { readonly kind: "end" };

/** `file` answers `end`, and `problem` any request. */
export type FlacAnswer =
  | { readonly kind: "done" }
  | { readonly kind: "file"; readonly file: Blob }
  | { readonly kind: "problem"; readonly message: string };
