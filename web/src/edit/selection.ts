/** The marked part of a recording: a section of time, or a band of pitch in it. */

import { frequencyAt, heightOf } from "../timeline/pitch";
import type { Hertz, Seconds, Share } from "../units";

export interface Band {
  readonly low: Hertz;
  readonly high: Hertz;
}

export interface Selection {
  readonly start: Seconds;
  readonly stop: Seconds;
  /** null for all pitches. */
  readonly band: Band | null;
}

/** A point of the view: a time, and a height from 0 at the bottom to 1. */
export interface Point {
  readonly time: Seconds;
  readonly height: Share;
}

/**
 * What a drag moves.
 *
 * time: marks a new section; rectangle: a new section and a band of it; band: a band of the section;
 * the others: an edge of what is marked
 */
export type Grip = "time" | "rectangle" | "band" | "start" | "stop" | "low" | "high";

/** The server refuses shorter sections. */
export const MIN_SECTION: Seconds = 0.05;
/** The lowest band, as a share of the height of the view. */
const MIN_BAND: Share = 0.02;

/** The grid that edges snap to: beats in ascending order, and both ends of the recording. Null: no snapping. */
export type Grid = readonly Seconds[] | null;

/** The place on the grid that is nearest to `time`. */
export function snapped(time: Seconds, grid: Grid, total: Seconds): Seconds {
  const inside = Math.min(total, Math.max(0, time));
  if (grid === null) return inside;
  const places = [0, ...around(inside, grid), total];
  return places.reduce((best, place) => (Math.abs(place - inside) < Math.abs(best - inside) ? place : best), 0);
}

/** The next place on the grid before (`-1`) or after (`1`) a time; without a grid, `otherwise` seconds away. */
export function nextPlace(time: Seconds, direction: -1 | 1, grid: Grid, total: Seconds, otherwise: Seconds): Seconds {
  const limit = direction < 0 ? 0 : total;
  if (grid === null || grid.length === 0) return direction < 0 ? Math.max(0, time - otherwise) : Math.min(total, time + otherwise);
  const margin = 1e-4;
  const beyond = direction < 0 ? grid.findLast((place) => place < time - margin) : grid.find((place) => place > time + margin);
  return beyond ?? limit;
}

/** What a drag that begins at `at` moves. `reach` is how far from an edge one may be, in time and in height. */
export function gripAt(at: Point, selection: Selection | null, reach: Point): Grip {
  if (selection === null) return "time";
  const { start, stop, band } = selection;
  const near = (edge: number, value: number, most: number): boolean => Math.abs(edge - value) <= most;
  const edge = Math.min(reach.time, (stop - start) / 4); // the inside of a short section can be reached, too
  if (near(stop, at.time, edge) || (at.time > stop && at.time - stop <= reach.time)) return "stop";
  if (near(start, at.time, edge) || (at.time < start && start - at.time <= reach.time)) return "start";
  if (at.time < start || at.time > stop) return "time";
  if (band && near(heightOf(band.high), at.height, reach.height)) return "high";
  if (band && near(heightOf(band.low), at.height, reach.height)) return "low";
  return "band";
}

/**
 * What is marked after a drag from `from` to `to`; null if that is too short.
 *
 * @param before what was marked before
 */
export function dragged(grip: Grip, from: Point, to: Point, before: Selection | null, grid: Grid, total: Seconds): Selection | null {
  const time = snapped(to.time, grid, total);
  if (grip === "time" || grip === "rectangle") {
    const section = ordered(snapped(from.time, grid, total), time);
    const band = grip === "rectangle" ? bandOf(from.height, to.height) : null;
    return section && { ...section, band };
  }
  if (before === null) return null;
  if (grip === "start" || grip === "stop") {
    const section = ordered(grip === "start" ? before.stop : before.start, time);
    return section ? { ...section, band: before.band } : before;
  }
  if (grip === "band") return { ...before, band: bandOf(from.height, to.height) };
  const fixed = heightOf((grip === "low" ? before.band?.high : before.band?.low) ?? 0);
  return { ...before, band: bandOf(fixed, to.height) ?? before.band };
}

/** A section between two times in any order; null if it is too short. */
export function ordered(a: Seconds, b: Seconds): { readonly start: Seconds; readonly stop: Seconds } | null {
  const [start, stop] = [Math.min(a, b), Math.max(a, b)];
  return stop - start < MIN_SECTION ? null : { start, stop };
}

/** A band between two heights in any order; null if it is too low, or everything. */
export function bandOf(a: Share, b: Share): Band | null {
  const [low, high] = [Math.max(0, Math.min(a, b)), Math.min(1, Math.max(a, b))];
  if (high - low < MIN_BAND || high - low > 1 - MIN_BAND) return null;
  return { low: Math.round(frequencyAt(low)), high: Math.round(frequencyAt(high)) };
}

/** The number of beats in a section, to the nearest whole one; null if there is no grid. */
export function beatsIn({ start, stop }: Selection, grid: Grid): number | null {
  if (grid === null || grid.length < 2) return null;
  const inside = grid.filter((beat) => beat > start && beat < stop).length;
  const period = ((grid.at(-1) ?? 0) - (grid[0] ?? 0)) / (grid.length - 1);
  const first = grid.find((beat) => beat >= start) ?? stop;
  const last = grid.findLast((beat) => beat <= stop) ?? start;
  return inside === 0 ? Math.max(1, Math.round((stop - start) / period)) : Math.max(1, Math.round(grid.indexOf(last) - grid.indexOf(first) + (first - start + stop - last) / period));
}

/** The two beats around a time. */
function around(time: Seconds, grid: readonly Seconds[]): readonly Seconds[] {
  let [low, high] = [0, grid.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((grid[middle] ?? Infinity) < time) low = middle + 1;
    else high = middle;
  }
  return grid.slice(Math.max(0, low - 1), low + 1);
}
