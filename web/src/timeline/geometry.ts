/** Where things are in the timeline's space: x is time, z is pitch, y is loudness. */

import type { Seconds } from "../units";

/** Length of a second on the x axis. */
export const UNITS_PER_SECOND = 2.2;
/** Of the pitch axis: low pitches are at +DEPTH/2, near the camera, high ones at -DEPTH/2. */
export const DEPTH = 7;
/** Height of the loudest sound. */
export const HEIGHT = 1.5;
/** What is drawn around the moment that is looked at. */
export const PAST: Seconds = 14;
export const FUTURE: Seconds = 24;

/** The x of a time, seen from the moment in the middle. */
export function xOf(time: Seconds, middle: Seconds): number {
  return (time - middle) * UNITS_PER_SECOND;
}

/** The z of a share of the spectrogram's height. */
export function zOf(height: number): number {
  return (0.5 - height) * DEPTH;
}

/** A time of the jam as `m:ss`. */
export function clockText(time: Seconds): string {
  const whole = Math.max(0, Math.round(time));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Times of an axis between two others: every `every` seconds since `origin`, not before it. */
export function timeMarks(from: Seconds, to: Seconds, origin: Seconds, every: Seconds): Seconds[] {
  const marks: Seconds[] = [];
  for (let i = Math.max(0, Math.ceil((from - origin) / every)); origin + i * every <= to; i++) {
    marks.push(origin + i * every);
  }
  return marks;
}

/** Which places in a row are far enough from the last one that is kept; the first one is. */
export function spacedApart(places: readonly number[], least: number): boolean[] {
  let last = NaN;
  return places.map((place) => {
    if (Math.abs(place - last) < least) return false;
    last = place;
    return true;
  });
}
