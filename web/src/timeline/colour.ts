/**
 * The colour map for loudness: from the dark background through plum and coral to sand.
 *
 * Colours are interpolated in OKLCH, whose lightness is perceptually uniform (B. Ottosson, "A perceptual color
 * space for image processing", 2020). Lightness increases monotonically, so the map is also readable in greyscale.
 */

import type { Share } from "../units";

/** Lightness 0 to 1, chroma, hue in degrees. */
type Oklch = readonly [lightness: number, chroma: number, hue: number];
/** Red, green and blue from 0 to 255. */
export type Rgb = readonly [number, number, number];

const STOPS: readonly Oklch[] = [
  [0.16, 0.02, 285],
  [0.33, 0.1, 310],
  [0.5, 0.16, 352],
  [0.68, 0.16, 30],
  [0.82, 0.12, 65],
  [0.95, 0.05, 95],
];

/** The loudness whose colour is the accent colour of the page. */
export const ACCENT_LOUDNESS: Share = 0.62;

/** The colour of a loudness from 0, silent, to 1, the loudest. */
export function colourOf(loudness: Share): Rgb {
  const position = Math.min(1, Math.max(0, loudness)) * (STOPS.length - 1);
  const index = Math.min(STOPS.length - 2, Math.floor(position));
  const from = STOPS[index] ?? [0, 0, 0];
  const to = STOPS[index + 1] ?? from;
  const share = position - index;
  const turn = ((to[2] - from[2] + 540) % 360) - 180; // the shorter way around the colour circle
  return rgbFromOklch([
    from[0] + share * (to[0] - from[0]),
    from[1] + share * (to[1] - from[1]),
    from[2] + share * turn,
  ]);
}

/** The colour map as RGBA bytes, silence first, for a texture that is one pixel high. */
export function colourTable(size: number): Uint8Array<ArrayBuffer> {
  const table = new Uint8Array(4 * size);
  for (let i = 0; i < size; i++) table.set([...colourOf(i / (size - 1)), 255], 4 * i);
  return table;
}

/** The colour in CSS syntax. */
export function cssColour([red, green, blue]: Rgb): string {
  return `rgb(${red} ${green} ${blue})`;
}

/** Converts OKLCH to sRGB. Each channel is clipped to its range. */
export function rgbFromOklch([lightness, chroma, hue]: Oklch): Rgb {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    byte(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    byte(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    byte(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

/** Converts a linear channel to an sRGB byte. */
function byte(linear: number): number {
  const value = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
  return Math.round(255 * Math.min(1, Math.max(0, value)));
}
