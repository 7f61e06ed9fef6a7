/** Saves FLAC files. A worker encodes them, so that the page stays smooth. */

import type { FileTags } from "./file_tags";
import type { FlacAnswer, FlacRequest } from "./flac_messages";
import type { PcmFormat, PcmSamples } from "./pcm";
import { FRAMES_PER_PART } from "./wav";

/**
 * A FLAC file of samples that are read part by part.
 *
 * @param read returns the samples from `start` to `stop`, one array per channel, in the format's own type
 * @param tags comments and pictures of the file
 * @throws Error if the format has no FLAC, or the encoder can't be loaded
 */
export async function flacOf(
  format: PcmFormat, numFrames: number, read: (start: number, stop: number) => readonly PcmSamples[], tags: FileTags = [],
): Promise<Blob> {
  const worker = new Worker(new URL("./flac_worker.ts", import.meta.url), { type: "module" });
  try {
    await ask(worker, { kind: "begin", format, numFrames, tags });
    for (let start = 0; start < numFrames; start += FRAMES_PER_PART) {
      const channels = read(start, Math.min(numFrames, start + FRAMES_PER_PART));
      await ask(worker, { kind: "samples", channels });
    }
    const answer = await ask(worker, { kind: "end" });
    if (answer.kind !== "file") throw new Error("the encoder returned no file");
    return answer.file;
  } finally {
    worker.terminate();
  }
}

function ask(worker: Worker, request: FlacRequest): Promise<FlacAnswer> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<FlacAnswer>) => (data.kind === "problem" ? reject(new Error(data.message)) : resolve(data));
    worker.onerror = ({ message }) => reject(new Error(message || "the encoder cannot be loaded"));
    const buffers = request.kind === "samples" ? request.channels.map(({ buffer }) => buffer) : [];
    worker.postMessage(request, buffers);
  });
}
