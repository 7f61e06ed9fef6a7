/** Equal-power crossfades: the gains are sine and cosine, and sin² + cos² = 1. */

import type { Seconds } from "../units";

/** Length of the crossfade between two clips: long enough to avoid a click, too short to be heard as a fade. */
export const JOIN_FADE: Seconds = 0.008;

/** Gain of the incoming audio at position `x` of the fade, from 0 to 1. */
export function gainIn(x: number): number {
  return Math.sin((Math.PI / 2) * Math.min(1, Math.max(0, x)));
}

/** Gain of the outgoing audio at position `x` of the fade, from 0 to 1. */
export function gainOut(x: number): number {
  return gainIn(1 - x);
}

/** Samples `gain` from 0 to 1, for `AudioParam.setValueCurveAtTime`. */
export function curve(gain: (x: number) => number, numPoints = 64): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: numPoints }, (_, i) => gain(i / (numPoints - 1)));
}
