/** Coordinates of the timeline: x is time, z is pitch, y is loudness. */

import type { Seconds } from "../units";

/** Length of one second on the x axis. */
export const UNITS_PER_SECOND = 2.2;
/** Length of the pitch axis: low pitches are at +DEPTH/2, near the camera, high pitches at -DEPTH/2. */
export const DEPTH = 7;
/** Height of the loudest point. */
export const HEIGHT = 1.5;
/** Time span that is drawn before and after the middle of the view. */
export const PAST: Seconds = 14;
export const FUTURE: Seconds = 24;

/** The x coordinate of a time, if `middle` is at x = 0. */
export function xOf(time: Seconds, middle: Seconds): number {
  return (time - middle) * UNITS_PER_SECOND;
}

/** The z coordinate of a fraction of the spectrogram's height. */
export function zOf(height: number): number {
  return (0.5 - height) * DEPTH;
}

/** Formats a time as `m:ss`. */
export function clockText(time: Seconds): string {
  const whole = Math.max(0, Math.round(time));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Times of axis marks from `from` to `to`: multiples of `every` after `origin`, none before it. */
export function timeMarks(from: Seconds, to: Seconds, origin: Seconds, every: Seconds): Seconds[] {
  const marks: Seconds[] = [];
  for (let i = Math.max(0, Math.ceil((from - origin) / every)); origin + i * every <= to; i++) {
    marks.push(origin + i * every);
  }
  return marks;
}

/** For each position, whether it is at least `least` away from the last position that was kept. The first one is kept. */
export function spacedApart(places: readonly number[], least: number): boolean[] {
  let last = NaN;
  return places.map((place) => {
    if (Math.abs(place - last) < least) return false;
    last = place;
    return true;
  });
}
