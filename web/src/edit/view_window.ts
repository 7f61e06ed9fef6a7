/** The part of a recording that the zoomed view shows, and the mathematics of zooming. */

import type { Seconds } from "../units";

export interface ViewWindow {
  readonly from: Seconds;
  readonly span: Seconds;
}

/** The shortest part that the view shows. */
export const MIN_SPAN: Seconds = 0.5;
/** How much one step of the zoom keys changes. */
export const ZOOM_STEP = 1.5;
/** Distances between labels. */
const LABEL_STEPS: readonly Seconds[] = [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

/** The nearest window that is inside a recording of `total` seconds. */
export function fitted({ from, span }: ViewWindow, total: Seconds): ViewWindow {
  const inside = Math.min(total, Math.max(MIN_SPAN, span));
  return { from: Math.min(total - inside, Math.max(0, from)), span: inside };
}

/** Zooms in by `factor` (out, if it is below 1) around the time `at`, which stays where it is. */
export function zoomed(view: ViewWindow, total: Seconds, factor: number, at: Seconds): ViewWindow {
  const span = Math.min(total, Math.max(Math.min(MIN_SPAN, total), view.span / factor));
  const share = (at - view.from) / view.span;
  return fitted({ from: at - share * span, span }, total);
}

export function panned(view: ViewWindow, total: Seconds, by: Seconds): ViewWindow {
  return fitted({ from: view.from + by, span: view.span }, total);
}

/** The window moved as little as possible, so that it shows `from` to `to`, and wider only if it must be. */
export function including(view: ViewWindow, total: Seconds, from: Seconds, to: Seconds): ViewWindow {
  if (to - from > view.span) return fitted({ from: from - 0.1 * (to - from), span: 1.2 * (to - from) }, total);
  const least = to - view.span;
  return fitted({ from: Math.min(from, Math.max(least, view.from)), span: view.span }, total);
}

/** The window that shows `time` after playback has left it: it turns like a page. */
export function following(view: ViewWindow, total: Seconds, time: Seconds): ViewWindow {
  if (time >= view.from && time <= view.from + view.span) return view;
  return fitted({ from: time - 0.05 * view.span, span: view.span }, total);
}

/** The horizontal position of a time in a view that is `width` wide. */
export function xOf(view: ViewWindow, width: number, time: Seconds): number {
  return ((time - view.from) / view.span) * width;
}

export function timeAt(view: ViewWindow, width: number, x: number): Seconds {
  return view.from + (x / width) * view.span;
}

/** The shortest round distance of labels that are at least `least` apart, in a view that is `width` wide. */
export function labelStep(view: ViewWindow, width: number, least: number): Seconds {
  const shortest = (least / width) * view.span;
  return LABEL_STEPS.find((step) => step >= shortest) ?? LABEL_STEPS.at(-1) ?? 600;
}

/** A time as `m:ss`, with as many decimals as steps of `step` need. */
export function timeText(time: Seconds, step: Seconds): string {
  const digits = step >= 1 ? 0 : step >= 0.1 && step !== 0.25 ? 1 : 2;
  const rounded = Number(time.toFixed(digits));
  const minutes = Math.floor(rounded / 60);
  const seconds = (rounded - 60 * minutes).toFixed(digits);
  return `${minutes}:${seconds.padStart(digits > 0 ? 3 + digits : 2, "0")}`;
}
