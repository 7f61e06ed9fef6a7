/** The discrete Fourier transform of real signals, by the radix-2 algorithm of Cooley and Tukey (1965). */

/** Transforms of one size. */
export class Fft {
  private readonly cos: Float64Array;
  private readonly sin: Float64Array;
  private readonly order: Uint32Array;
  private readonly real: Float64Array;
  private readonly imaginary: Float64Array;

  /** @param size a power of two */
  constructor(readonly size: number) {
    this.cos = Float64Array.from({ length: size / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sin = Float64Array.from({ length: size / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / size));
    const bits = Math.round(Math.log2(size));
    this.order = Uint32Array.from({ length: size }, (_, i) => {
      let reversed = 0;
      for (let bit = 0; bit < bits; bit++) reversed |= ((i >> bit) & 1) << (bits - 1 - bit);
      return reversed;
    });
    this.real = new Float64Array(size);
    this.imaginary = new Float64Array(size);
  }

  /**
   * The magnitudes of the frequencies 0 to half of the sample rate.
   *
   * @param input `size` samples, which are multiplied by `window`
   * @param output `size / 2 + 1` magnitudes
   */
  magnitudes(input: Float32Array, window: Float64Array, output: Float64Array): void {
    const { real, imaginary, order, size } = this;
    for (let i = 0; i < size; i++) {
      const from = order[i]!;
      real[i] = input[from]! * window[from]!;
    }
    imaginary.fill(0);
    for (let half = 1; half < size; half *= 2) this.combine(half);
    for (let i = 0; i <= size / 2; i++) output[i] = Math.hypot(real[i]!, imaginary[i]!);
  }

  /** Combines pairs of transforms of `half` values each. */
  private combine(half: number): void {
    const { real, imaginary, cos, sin, size } = this;
    const stride = size / (2 * half);
    for (let start = 0; start < size; start += 2 * half) {
      for (let i = start, k = 0; i < start + half; i++, k += stride) {
        const j = i + half;
        const re = real[j]! * cos[k]! - imaginary[j]! * sin[k]!;
        const im = real[j]! * sin[k]! + imaginary[j]! * cos[k]!;
        real[j] = real[i]! - re;
        imaginary[j] = imaginary[i]! - im;
        real[i] = real[i]! + re;
        imaginary[i] = imaginary[i]! + im;
      }
    }
  }
}
