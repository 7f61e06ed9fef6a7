/** A worker that makes the spectrogram image of one recording. */

import type { SpectrogramParams } from "../spectrogram_params";
import { type MelImage, melImage } from "./mel_image";

export interface MelRequest {
  /** Mono, in [-1, 1], at the parameters' sample rate. */
  readonly samples: Float32Array<ArrayBuffer>;
  readonly params: SpectrogramParams;
}

onmessage = ({ data }: MessageEvent<MelRequest>) => {
  const image: MelImage = melImage(data.samples, data.params);
  postMessage(image, { transfer: [image.data.buffer] });
};
