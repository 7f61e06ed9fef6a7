/** Clips from the server, decoded. */

import type { Client, Failure } from "../api/client";
import { type InferenceInput, type InferenceOutput, clipRequest, hearRequest } from "../api/messages";
import { blobFromUrl } from "../audio/media";
import type { PictureSource, Settings } from "../settings/settings";
import type { Seconds } from "../units";
import type { Stop } from "../walk/walk";
import type { Timing } from "./pace";
import type { Outcome, Studio } from "./parts";

const UNDECODABLE: Failure = {
  kind: "away",
  message: "The server's clip cannot be played. Is it damaged on the way, or its format unknown to this browser?",
};

export class ServerStudio implements Studio<AudioBuffer> {
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
  ): Promise<Outcome<AudioBuffer>> {
    return this.run(clipRequest(stop, settings, numSteps), signal, onProgress);
  }

  /** A clip painted over another one's picture, where `mask` is white. */
  repaint(stop: Stop, settings: Settings, picture: string, mask: string, signal: AbortSignal): Promise<Outcome<AudioBuffer>> {
    const own = (dataUrl: string): PictureSource => ({ kind: "own", dataUrl, name: "" });
    const used = { ...settings, seedPicture: own(picture), mask: own(mask) };
    return this.run(clipRequest(stop, used, settings.numInferenceSteps), signal);
  }

  /** A picture or a recording, heard as it is; the answer's picture is what the server makes of it. */
  hear(source: Parameters<typeof hearRequest>[0], signal: AbortSignal): Promise<Outcome<AudioBuffer>> {
    return this.run(hearRequest(source), signal);
  }

  private async run(
    request: InferenceInput,
    signal: AbortSignal,
    onProgress?: (step: number, steps: number) => void,
  ): Promise<Outcome<AudioBuffer>> {
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

  private async decode(output: InferenceOutput): Promise<{ sound: AudioBuffer; picture: Blob } | null> {
    try {
      const audio = await (await blobFromUrl(output.audio)).arrayBuffer();
      const sound = await this.context().decodeAudioData(audio);
      return sound.length > 0 ? { sound, picture: await blobFromUrl(output.image) } : null;
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
