/** Spectrogram image → audio, as Python makes it, without a server. */

import type { SpectrogramParams } from "../spectrogram_params";
import { MelInverter } from "./inverter";
import { Kernels } from "./kernels";
import { continuesAtStart, smoothJoint } from "./loop_joint";
import { normalized } from "./loudness";
import { melFrames } from "./mel_frames";
import { amplitudesFromPixels, type Pixels } from "./mel_image";

export { UnsupportedError } from "./kernels";

export interface InversionOptions {
  /** Amplitude of black in 16-bit sample steps; by default that of images without a recorded maximum. */
  readonly maxValue?: number;
  /** Whether the clip gets the loudness of a server's clips (the default), or the level that `maxValue` gives it. */
  readonly normalize?: boolean;
  /** Whether the clip will be repeated, as a loop: then its end is followed by its start without a click. */
  readonly circular?: boolean;
}

/** Turns images of one kind into audio. It keeps its memory, so use one for all clips. */
export class ImageInverter {
  private readonly kernels = new Kernels();
  private readonly inverter: MelInverter;

  /**
   * @throws UnsupportedError without WebAssembly SIMD
   * @throws RangeError for stereo images
   */
  constructor(private readonly params: SpectrogramParams) {
    if (params.stereo) throw new RangeError("stereo=true must be false here; stereo images are heard with a server");
    this.inverter = new MelInverter(this.kernels, melFrames(params));
  }

  /** Size of the memory, for measurements. */
  get memoryBytes(): number {
    return this.kernels.run.memory.buffer.byteLength;
  }

  /**
   * Audio of an image, mono at `sample_rate`, one hop per column: 512 columns of 10 ms are 5.12 s. Equal images give
   * equal audio.
   *
   * @throws RangeError for another height than `num_frequencies`, or another number of bytes
   */
  invert(rgb: Pixels, width: number, height: number, options: InversionOptions = {}): Float32Array<ArrayBuffer> {
    const { num_frequencies: numBands, power_for_image: power, sample_rate: sampleRate } = this.params;
    if (height !== numBands) {
      throw new RangeError(`height=${height} must equal num_frequencies=${numBands}; scale the image`);
    }
    if (width < 1 || rgb.length !== 3 * width * height) {
      throw new RangeError(`${rgb.length} bytes must be 3 for each of ${width} × ${height} pixels, at least one column`);
    }
    const amplitudes = amplitudesFromPixels(rgb, width, height, power, options.maxValue);
    const circular = options.circular ?? false;
    const isLoop = circular && width >= this.inverter.shortestLoop && continuesAtStart(amplitudes, numBands);
    const waveform = this.inverter.waveform(amplitudes, isLoop);
    if (circular && !isLoop) smoothJoint(waveform, sampleRate);
    if (options.normalize ?? true) return normalized(this.kernels, waveform, sampleRate, circular);
    const peak = waveform.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
    return waveform.map((value) => value / peak);
  }
}

let last: { readonly params: SpectrogramParams; readonly inverter: ImageInverter } | null = null;

/** As `ImageInverter.invert`, with the inverter of the last call if it had the same parameters. */
export function invertImage(
  rgb: Pixels, width: number, height: number, params: SpectrogramParams, options: InversionOptions = {},
): Float32Array<ArrayBuffer> {
  if (last === null || JSON.stringify(last.params) !== JSON.stringify(params)) {
    last = { params, inverter: new ImageInverter(params) };
  }
  return last.inverter.invert(rgb, width, height, options);
}
