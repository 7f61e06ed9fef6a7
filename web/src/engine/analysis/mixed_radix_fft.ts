/**
 * The discrete Fourier transform of any length, by Cooley and Tukey (1965) with one radix per prime factor.
 *
 * A length N = p · m is p transforms of length m of every p-th value, which p-point transforms combine.
 */

export class MixedRadixFft {
  private readonly factors: readonly number[];
  private readonly cos: Float64Array;
  private readonly sin: Float64Array;
  private readonly pieceRe: Float64Array;
  private readonly pieceIm: Float64Array;

  /** @param size number of complex values; fast if its prime factors are small */
  constructor(readonly size: number) {
    this.factors = primeFactors(size);
    this.cos = Float64Array.from({ length: size }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sin = Float64Array.from({ length: size }, (_, i) => -Math.sin((2 * Math.PI * i) / size));
    const largest = Math.max(1, ...this.factors);
    this.pieceRe = new Float64Array(largest);
    this.pieceIm = new Float64Array(largest);
  }

  /** Transforms `size` complex values into two other arrays. */
  transform(re: Float64Array, im: Float64Array, toRe: Float64Array, toIm: Float64Array): void {
    this.part(re, im, toRe, toIm, 0, 0, 1, 0);
  }

  /** The transform of the values from `from` on, every `stride`-th, which is written to `to` and what follows. */
  private part(
    re: Float64Array, im: Float64Array, toRe: Float64Array, toIm: Float64Array, from: number, to: number, stride: number, level: number,
  ): void {
    const radix = this.factors[level];
    if (radix === undefined) {
      [toRe[to], toIm[to]] = [re[from]!, im[from]!];
      return;
    }
    const length = this.size / stride / radix;
    for (let i = 0; i < radix; i++) this.part(re, im, toRe, toIm, from + i * stride, to + i * length, stride * radix, level + 1);
    for (let k = 0; k < length; k++) this.combine(toRe, toIm, to + k, k, radix, length, stride);
  }

  private combine(re: Float64Array, im: Float64Array, at: number, k: number, radix: number, length: number, stride: number): void {
    const { cos, sin, pieceRe, pieceIm, size } = this;
    for (let i = 0; i < radix; i++) {
      pieceRe[i] = re[at + i * length]!;
      pieceIm[i] = im[at + i * length]!;
    }
    for (let q = 0; q < radix; q++) {
      const turn = stride * (k + q * length);
      let [sumRe, sumIm, angle] = [pieceRe[0]!, pieceIm[0]!, 0];
      for (let i = 1; i < radix; i++) {
        angle += turn;
        if (angle >= size) angle -= size;
        sumRe += pieceRe[i]! * cos[angle]! - pieceIm[i]! * sin[angle]!;
        sumIm += pieceRe[i]! * sin[angle]! + pieceIm[i]! * cos[angle]!;
      }
      re[at + q * length] = sumRe;
      im[at + q * length] = sumIm;
    }
  }
}

function primeFactors(size: number): number[] {
  const factors: number[] = [];
  for (let prime = 2, rest = size; rest > 1; prime++) {
    for (; rest % prime === 0; rest /= prime) factors.push(prime);
  }
  return factors;
}
