/** Crossfades that keep the power: sin² + cos² = 1. */

import type { Seconds } from "../units";

/** Of a join: long enough against a click, too short to be heard as a fade. */
export const JOIN_FADE: Seconds = 0.008;

/** Gain of the sound that comes, at a share `x` of the fade. */
export function gainIn(x: number): number {
  return Math.sin((Math.PI / 2) * Math.min(1, Math.max(0, x)));
}

/** Gain of the sound that goes. */
export function gainOut(x: number): number {
  return gainIn(1 - x);
}

/** `gain` from 0 to 1 as a curve for the audio clock. */
export function curve(gain: (x: number) => number, numPoints = 64): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: numPoints }, (_, i) => gain(i / (numPoints - 1)));
}
