/** Clips from the server, decoded. */

import type { Client, Failure } from "../api/client";
import { type InferenceInput, type InferenceOutput, clipInput, imageToAudioInput } from "../api/messages";
import { blobFromUrl } from "../data_url";
import type { ImageSource, Settings } from "../settings/settings";
import type { Seconds } from "../units";
import type { Stop } from "../walk/walk";
import type { Timing } from "./server_speed";
import type { ClipResult, ClipSource } from "./types";

const UNDECODABLE: Failure = {
  kind: "away",
  message: "The server's clip cannot be played. Is it damaged on the way, or its format unknown to this browser?",
};

export class ServerClipSource implements ClipSource<AudioBuffer> {
  /** @param context called when there is something to decode */
  constructor(
    private readonly client: Client,
    private readonly context: () => BaseAudioContext,
  ) {}

  make(
    stop: Stop,
    settings: Settings,
    numSteps: number,
    signal: AbortSignal,
    onProgress: (step: number, steps: number) => void,
  ): Promise<ClipResult<AudioBuffer>> {
    return this.run(clipInput(stop, settings, numSteps), signal, onProgress);
  }

  /** A clip painted over another one's image, where `mask` is white. */
  repaint(stop: Stop, settings: Settings, image: string, mask: string, signal: AbortSignal): Promise<ClipResult<AudioBuffer>> {
    const own = (dataUrl: string): ImageSource => ({ kind: "own", dataUrl, name: "" });
    const used = { ...settings, seedImage: own(image), mask: own(mask) };
    return this.run(clipInput(stop, used, settings.numInferenceSteps), signal);
  }

  /** A picture or a recording, heard as it is; the answer's picture is what the server makes of it. */
  imageToAudio(source: Parameters<typeof imageToAudioInput>[0], signal: AbortSignal): Promise<ClipResult<AudioBuffer>> {
    return this.run(imageToAudioInput(source), signal);
  }

  private async run(
    request: InferenceInput,
    signal: AbortSignal,
    onProgress?: (step: number, steps: number) => void,
  ): Promise<ClipResult<AudioBuffer>> {
    const stopwatch = new Stopwatch(request.num_inference_steps ?? 1);
    const answer = await this.client.ask(request, {
      signal,
      onProgress: (step, steps) => {
        stopwatch.note(step, steps);
        onProgress?.(step, steps);
      },
    });
    if (!answer.ok) return { failure: answer.failure };
    const timing = stopwatch.finish();
    const decoded = await this.decode(answer.output);
    return decoded ? { made: { ...decoded, timing } } : { failure: UNDECODABLE };
  }

  private async decode(output: InferenceOutput): Promise<{ audio: AudioBuffer; image: Blob } | null> {
    try {
      const encoded = await (await blobFromUrl(output.audio)).arrayBuffer();
      const audio = await this.context().decodeAudioData(encoded);
      return audio.length > 0 ? { audio, image: await blobFromUrl(output.image) } : null;
    } catch {
      return null; // decoders fail with whatever they like
    }
  }
}

/** Measures a clip: all of it, and its steps apart from the rest. */
class Stopwatch {
  private readonly begin = performance.now();
  private firstStep: { time: number; step: number } | null = null;
  private drawing: Seconds | null = null;

  constructor(private readonly numSteps: number) {}

  note(step: number, steps: number): void {
    const time = performance.now();
    this.firstStep ??= { time, step };
    const done = step - this.firstStep.step;
    if (done > 0) this.drawing = ((time - this.firstStep.time) / 1000 / done) * steps;
  }

  finish(): Timing {
    return { total: (performance.now() - this.begin) / 1000, drawing: this.drawing, numSteps: this.numSteps };
  }
}
