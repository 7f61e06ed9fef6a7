/** Brushes for painting spectrograms: the position on the canvas is time and pitch, and ink is loudness. */

import { frequencyAt, heightOf } from "../timeline/pitch";
import type { Share } from "../units";

export type BrushKind = "tone" | "hit" | "spray" | "eraser";

/** A soft spot of ink, in fractions of the canvas: x from the left, y from the bottom. */
export interface Dab {
  readonly x: Share;
  readonly y: Share;
  readonly radiusX: Share;
  readonly radiusY: Share;
  /** From 0, silent, to 1, the loudest. */
  readonly ink: Share;
}

const NUM_OVERTONES = 8;
/** Exponent of the fall in ink. Ink is the fourth root of amplitude, so 0.5 means 12 dB per octave. */
const OVERTONE_FALL = 0.5;
const HIT_HEIGHT = 0.16;
const SPRAY_DABS = 6;

/**
 * The dabs of a brush at one position of the canvas.
 *
 * @param size from 0, fine, to 1, broad
 * @param random returns a number in [0, 1)
 */
export function dabs(kind: BrushKind, x: Share, y: Share, size: Share, ink: Share, random: () => number): Dab[] {
  switch (kind) {
    case "tone":
      return toneDabs(x, y, size, ink);
    case "hit":
      return [{ x, y, radiusX: 0.006 + 0.012 * size, radiusY: HIT_HEIGHT * (0.5 + size), ink }];
    case "spray":
      return Array.from({ length: SPRAY_DABS }, () => ({
        x: x + (random() - 0.5) * (0.04 + 0.1 * size),
        y: y + (random() - 0.5) * (0.06 + 0.2 * size),
        radiusX: 0.006,
        radiusY: 0.008,
        ink: 0.7 * ink,
      }));
    case "eraser":
      return [{ x, y, radiusX: 0.01 + 0.05 * size, radiusY: 0.015 + 0.06 * size, ink: 1 }];
  }
}

/** A tone and its overtones at integer multiples of its frequency, each quieter than the one below. */
function toneDabs(x: Share, y: Share, size: Share, ink: Share): Dab[] {
  const frequency = frequencyAt(y);
  const radiusY = 0.004 + 0.012 * size;
  return Array.from({ length: NUM_OVERTONES }, (_, i) => i + 1)
    .map((multiple) => ({
      x,
      y: heightOf(multiple * frequency),
      radiusX: 0.008,
      radiusY,
      ink: ink * multiple ** -OVERTONE_FALL,
    }))
    .filter((dab) => dab.y <= 1);
}

/** Points of a stroke between two positions, at most `spacing` apart, without the first and with the last position. */
export function strokePoints(
  from: readonly [number, number],
  to: readonly [number, number],
  spacing: number,
): [number, number][] {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const count = Math.max(1, Math.ceil(length / spacing));
  return Array.from({ length: count }, (_, i) => {
    const share = (i + 1) / count;
    return [from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])];
  });
}
