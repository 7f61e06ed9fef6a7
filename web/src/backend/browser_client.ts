/** Makes clips on this device, with the interface of the client of a server. */

import type { Answer, AskOptions, Failure } from "../api/client";
import type { InferenceInput } from "../api/messages";
import { flacOf } from "../audio/flac_file";
import { wavBlob } from "../audio/wav";
import { dataUrlFromBlob } from "../data_url";
import type { ResultEvent } from "../engine/protocol";
import type { ClipClient } from "./backend";
import type { EngineHost } from "./engine_host";
import { pngOf } from "./png_image";
import type { WithImage } from "./recording_image";

export class BrowserClient implements ClipClient {
  readonly clipFormat = "wav";

  /**
   * @param problem why clips can never be made here, for the user; null if they can
   * @param untilSettled requests wait for this
   * @param withImage replaces a request's recording by its spectrogram image
   */
  constructor(
    private readonly host: EngineHost,
    private readonly problem: string | null,
    private readonly untilSettled: () => Promise<unknown>,
    private readonly withImage: WithImage,
  ) {}

  untilReady(): Promise<void> {
    return this.problem === null ? this.host.untilLoaded() : Promise.resolve();
  }

  async ask(request: InferenceInput, options: AskOptions = {}): Promise<Answer> {
    if (this.problem !== null) return refusal("forbidden", this.problem);
    if (request.audio_format === "mp3") return refusal("refused", "audio_format=mp3 is not made without a server; save FLAC or WAV");
    await this.untilSettled();
    try {
      const generated = await this.host.generate(await this.withImage(request), options);
      if (!generated.ok) return generated;
      return { ok: true, output: await outputOf(generated.result, request.audio_format) };
    } catch (error) {
      return refusal("refused", error instanceof Error ? error.message : String(error));
    }
  }
}

async function outputOf({ rgb, width, height, samples, sampleRate, duration, params }: ResultEvent, format: "flac" | "wav"): Promise<{
  image: string; audio: string; duration_s: number;
}> {
  const audio = format === "wav" ? wavBlob([samples], sampleRate) : await flacBlob(samples, sampleRate);
  const image = await pngOf({ width, height, data: rgb }, params);
  return { image: await dataUrlFromBlob(image), audio: await dataUrlFromBlob(audio), duration_s: duration };
}

function flacBlob(samples: Float32Array, sampleRate: number): Promise<Blob> {
  const integers = Int16Array.from(samples, (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32768))));
  const format = { sampleRate, numChannels: 1, bits: 16, isFloat: false } as const;
  return flacOf(format, integers.length, (start, stop) => [integers.slice(start, stop)]);
}

function refusal(kind: Failure["kind"], message: string): Answer {
  return { ok: false, failure: { kind, message } };
}
