/** Replaces the recording of a request by its spectrogram image, as a server does. */

import type { InferenceInput } from "../api/messages";
import { readWav } from "../audio/wav_reader";
import { fullScale } from "../audio/pcm";
import { blobFromUrl, dataUrlFromBlob } from "../data_url";
import type { MelImage } from "../engine/analysis/mel_image";
import type { MelRequest } from "../engine/analysis/mel_worker";
import type { SpectrogramParams } from "../engine/spectrogram_params";
import { pngOf } from "./png_image";

export type WithImage = (request: InferenceInput) => Promise<InferenceInput>;

/**
 * @param fetchParams the checkpoint's parameters
 * @returns a function that throws an Error, with a message for the user, if the recording cannot be read
 */
export function recordingReplacer(fetchParams: () => Promise<SpectrogramParams>): WithImage {
  return async (request) => {
    const { init_audio: audio, ...others } = request;
    if (audio === undefined) return request;
    const params = await fetchParams();
    const image = await imageOf(await samplesOf(audio, params), params);
    return { ...others, init_image: await dataUrlFromBlob(await pngOf(image, params)) };
  };
}

/** The samples of a WAV file as the page makes it: mono, at the rate of its audio clock. */
async function samplesOf(dataUrl: string, params: SpectrogramParams): Promise<Float32Array<ArrayBuffer>> {
  const pcm = readWav(await (await blobFromUrl(dataUrl)).arrayBuffer());
  const [samples] = pcm?.channels ?? [];
  if (!pcm || !samples || samples.length === 0) throw new Error("init_audio is no WAV file of 16 to 32 bits; choose another file");
  const { sampleRate } = pcm.format;
  if (sampleRate !== params.sample_rate) {
    throw new Error(`init_audio has ${sampleRate} Hz and must have ${params.sample_rate} Hz without a server; convert it first`);
  }
  const scale = fullScale(pcm.format);
  return Float32Array.from(samples, (sample) => sample / scale);
}

async function imageOf(samples: Float32Array<ArrayBuffer>, params: SpectrogramParams): Promise<MelImage> {
  const worker = new Worker(new URL("../engine/analysis/mel_worker.ts", import.meta.url), { type: "module" });
  try {
    return await new Promise<MelImage>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<MelImage>) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message || "the recording cannot be analysed; reload the page"));
      const request: MelRequest = { samples, params };
      worker.postMessage(request, [samples.buffer]);
    });
  } finally {
    worker.terminate();
  }
}
