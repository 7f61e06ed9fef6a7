/** Images as bytes: transparency, luminance and resizing, as Pillow computes them. */

/** Three or four bytes per pixel, rows from the top. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** Bits behind the point of Pillow's integer weights. */
const PRECISION = 32 - 8 - 2;

/** A kernel of resizing: its weight at a distance, and the distance from which on it is 0. */
interface Kernel {
  readonly support: number;
  readonly weight: (x: number) => number;
}

const BICUBIC: Kernel = { support: 2, weight: bicubic };
const LANCZOS: Kernel = { support: 3, weight: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) };

/** RGBA pixels before a background of one grey. */
export function rgbFromRgba({ width, height, data }: Pixels, background: 0 | 255): Pixels {
  const rgb = new Uint8Array(width * height * 3);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const alpha = data[4 * pixel + 3]!;
    for (let channel = 0; channel < 3; channel++) {
      rgb[3 * pixel + channel] = Math.round((data[4 * pixel + channel]! * alpha + background * (255 - alpha)) / 255);
    }
  }
  return { width, height, data: rgb };
}

/** One byte of luminance per pixel (ITU-R BT.601). */
export function luminance({ width, height, data }: Pixels): Uint8Array {
  return Uint8Array.from({ length: width * height }, (_, pixel) => {
    const [red, green, blue] = [data[3 * pixel]!, data[3 * pixel + 1]!, data[3 * pixel + 2]!];
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  });
}

/** A grey image in another size, by bicubic interpolation: rows first, each axis rounded to bytes. */
export function resizedGrey(grey: Uint8Array, width: number, height: number, toWidth: number, toHeight: number): Uint8Array {
  const wide = width === toWidth ? grey : resizedRows(grey, width, toWidth, height, 1, BICUBIC);
  return height === toHeight ? wide : resizedRows(wide, height, toHeight, 1, toWidth, BICUBIC);
}

/** An RGB image in another height, by Lanczos interpolation. */
export function withHeight({ width, height, data }: Pixels, toHeight: number): Pixels {
  if (height === toHeight) return { width, height, data };
  return { width, height: toHeight, data: resizedRows(Uint8Array.from(data), height, toHeight, 1, 3 * width, LANCZOS) };
}

/**
 * Resizes one axis of bytes (outer, length, inner) → (outer, toLength, inner).
 *
 * The kernel is widened when the axis shrinks, so no pixel is passed over. As in Pillow, weights are integers of 22 bits,
 * and each axis is rounded to bytes.
 */
function resizedRows(bytes: Uint8Array, length: number, toLength: number, outer: number, inner: number, kernel: Kernel): Uint8Array {
  const result = new Uint8Array(outer * toLength * inner);
  const scale = length / toLength;
  const widening = Math.max(scale, 1);
  const support = kernel.support * widening;
  for (let to = 0; to < toLength; to++) {
    const center = (to + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(length, Math.trunc(center + support + 0.5));
    const weights = Array.from({ length: end - first }, (_, i) => kernel.weight((i + first - center + 0.5) / widening));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    const integers = weights.map((weight) => {
      const scaled = (weight / sum) * 2 ** PRECISION;
      return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    });
    for (let block = 0; block < outer; block++) {
      for (let column = 0; column < inner; column++) {
        let value = 2 ** (PRECISION - 1);
        for (let i = 0; i < integers.length; i++) value += bytes[(block * length + first + i) * inner + column]! * integers[i]!;
        result[(block * toLength + to) * inner + column] = Math.min(255, Math.max(0, Math.floor(value / 2 ** PRECISION)));
      }
    }
  }
  return result;
}

/** Keys 1981, with a = -0.5. */
function bicubic(x: number): number {
  const distance = Math.abs(x);
  if (distance < 1) return (1.5 * distance - 2.5) * distance * distance + 1;
  return distance < 2 ? (((distance - 5) * distance + 8) * distance - 4) * -0.5 : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}
