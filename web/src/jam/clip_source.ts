/** Requests clips from the backend and decodes them. */

import type { Failure } from "../api/client";
import { type InferenceInput, type InferenceOutput, clipInput, imageToAudioInput } from "../api/messages";
import type { ClipClient } from "../backend/backend";
import { blobFromUrl } from "../data_url";
import type { ImageSource, Settings } from "../settings/settings";
import type { Seconds } from "../units";
import type { Stop } from "../walk/walk";
import type { Timing } from "./server_speed";
import type { ClipResult, ClipSource } from "./types";

const UNDECODABLE: Failure = {
  kind: "away",
  message: "This browser cannot play the clip that was made. The file may be damaged or in an unsupported format.",
};

export class BackendClipSource implements ClipSource<AudioBuffer> {
  /** @param context returns the audio context; called only when there is audio to decode */
  constructor(
    private readonly client: ClipClient,
    private readonly context: () => BaseAudioContext,
  ) {}

  make(
    stop: Stop,
    settings: Settings,
    numSteps: number,
    signal: AbortSignal,
    onProgress: (step: number, steps: number) => void,
  ): Promise<ClipResult<AudioBuffer>> {
    return this.run(clipInput(stop, settings, numSteps, this.client.clipFormat), signal, onProgress);
  }

  /** Repaints the image of a clip where `mask` is white. */
  repaint(stop: Stop, settings: Settings, image: string, mask: string, signal: AbortSignal): Promise<ClipResult<AudioBuffer>> {
    const own = (dataUrl: string): ImageSource => ({ kind: "own", dataUrl, name: "" });
    const used = { ...settings, seedImage: own(image), mask: own(mask) };
    return this.run(clipInput(stop, used, settings.numInferenceSteps, this.client.clipFormat), signal);
  }

  /** Converts an image or a recording to audio without diffusion. The result also has the image of it. */
  imageToAudio(source: Parameters<typeof imageToAudioInput>[0], signal: AbortSignal): Promise<ClipResult<AudioBuffer>> {
    return this.run(imageToAudioInput(source, this.client.clipFormat), signal);
  }

  private async run(
    request: InferenceInput,
    signal: AbortSignal,
    onProgress?: (step: number, steps: number) => void,
  ): Promise<ClipResult<AudioBuffer>> {
    await this.client.untilReady?.(); // which says nothing about how long a clip takes
    const stopwatch = new Stopwatch(request.num_inference_steps ?? 1);
    const answer = await this.client.ask(request, {
      signal,
      onProgress: (step, steps) => {
        stopwatch.addStep(step, steps);
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
      return null; // decoders throw errors of many types
    }
  }
}

/** Measures the total time of a clip and the time of its diffusion steps. */
class Stopwatch {
  private readonly begin = performance.now();
  private firstStep: { time: number; step: number } | null = null;
  private diffusion: Seconds | null = null;

  constructor(private readonly numSteps: number) {}

  addStep(step: number, steps: number): void {
    const time = performance.now();
    this.firstStep ??= { time, step };
    const done = step - this.firstStep.step;
    if (done > 0) this.diffusion = ((time - this.firstStep.time) / 1000 / done) * steps;
  }

  finish(): Timing {
    return { total: (performance.now() - this.begin) / 1000, diffusion: this.diffusion, numSteps: this.numSteps };
  }
}
