/** A clip that the server has made. */

import type { Settings } from "../settings/settings";
import type { Seconds } from "../units";
import type { Stop, Walk } from "../walk/walk";

/** Duration of the clips of the published checkpoint. */
export const USUAL_DURATION: Seconds = 5.12;

/** Playable audio; in the app an `AudioBuffer`. */
export interface ClipAudio {
  readonly duration: Seconds;
}

export interface Clip<S extends ClipAudio> {
  readonly id: number;
  readonly stop: Stop;
  /** The walk after this clip. */
  readonly walk: Walk;
  readonly settings: Settings;
  readonly numSteps: number;
  readonly audio: S;
  /** Its spectrogram image from the server, with the parameters in its EXIF data. */
  readonly image: Blob;
  /** Whether the user repainted a part of it. A link cannot restore such a clip. */
  readonly isRepainted: boolean;
}

/** The walk just before a clip. Its next step gives the same clip again. */
export function walkBefore<S extends ClipAudio>(clip: Clip<S>): Walk {
  const { start, end, alpha } = clip.stop;
  return { ...clip.walk, current: start, target: end, alpha };
}

/** The prompt that a clip is nearer to. */
export function nearestPrompt(stop: Stop): string {
  return stop.alpha < 0.5 ? stop.start.prompt : stop.end.prompt;
}

const MAX_NAME_CHARACTERS = 80;

/** A file name without extension, made from prompts and seeds: `church-bells-7_jazz-trio-8_0.25`. */
export function fileName(stop: Stop): string {
  const { start, end, alpha } = stop;
  if (alpha === 0) return `${slug(start.prompt)}-${start.seed}`;
  const share = Number(alpha.toFixed(3));
  const from = `${slug(start.prompt)}-${start.seed}`;
  const to = start.prompt === end.prompt ? String(end.seed) : `${slug(end.prompt)}-${end.seed}`;
  return `${from}_${to}_${share}`;
}

function slug(prompt: string): string {
  const words = prompt.normalize("NFKD").toLowerCase().replace(/[^\p{Letter}\p{Number}]+/gu, "-");
  return words.replace(/^-+|-+$/g, "").slice(0, MAX_NAME_CHARACTERS).replace(/-+$/, "") || "clip";
}
