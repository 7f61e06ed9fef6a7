/** Pixels → mel amplitudes: Python's `spectrogram/image.py`. Loud is dark, and low frequencies are at the bottom. */

/** Amplitude of black in 16-bit sample steps, for images without a recorded maximum. */
const MAX_VALUE = 30e6;
const FULL_SCALE = 32_768;

const f32 = Math.fround;

/** Three bytes per pixel, rows from the top. */
export type Pixels = Uint8Array | Uint8ClampedArray;

/**
 * Mel amplitudes of an image's red plane, for waveforms in [-1, 1].
 *
 * @param power exponent from relative amplitude to darkness
 * @param maxValue amplitude of black, in 16-bit sample steps
 * @returns frame by frame, `height` amplitudes of each from the lowest band on
 */
export function amplitudesFromPixels(
  rgb: Pixels, width: number, height: number, power: number, maxValue = MAX_VALUE,
): Float32Array {
  const ofPixel = Float32Array.from({ length: 256 }, (_, pixel) =>
    f32(f32(f32((255 - pixel) / 255) ** f32(1 / power)) * f32(maxValue)) / FULL_SCALE);
  const amplitudes = new Float32Array(width * height);
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at += 3) {
      amplitudes[column * height + height - 1 - row] = ofPixel[rgb[at]!]!;
    }
  }
  return amplitudes;
}
