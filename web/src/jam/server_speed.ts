/**
 * Measures how fast the server makes clips, and derives the number of steps to request, the number of clips to
 * keep ready, and the distance between clips.
 */

import type { Seconds, Share } from "../units";

/** Measured times of one clip. */
export interface Timing {
  readonly total: Seconds;
  /** Time of all diffusion steps; null if the server did not report steps. */
  readonly diffusion: Seconds | null;
  readonly numSteps: number;
}

export interface Speed {
  /** Expected time for a clip with `numSteps` steps; null before the first clip. */
  readonly secondsPerClip: Seconds | null;
  readonly numSteps: number;
  /** Whether `numSteps` is lower than in the settings, because the server is slow. */
  readonly isReduced: boolean;
  /** Whether making a clip takes longer than playing it, even with `numSteps`. */
  readonly isBehind: boolean;
  /** Factor for the alpha step while no other prompt is queued. */
  readonly wanderStepScale: Share;
  /** Number of clips to keep ready. */
  readonly clipsAhead: number;
}

/** With fewer steps, clips are mostly noise. */
const MIN_STEPS = 8;
/** Largest part of a clip's duration that making the next clip may take. */
const TIME_BUDGET = 0.85;
/** Weight of the newest clip in the exponential averages. */
const NEWEST_WEIGHT = 0.4;
/** Assumed share of the diffusion steps in the total time, if the server does not report steps. */
const DIFFUSION_SHARE = 0.7;
/**
 * When each clip plays several times, the change to the next clip is more noticeable. The change is
 * proportional to the alpha step, so half a step keeps it gentle.
 */
const BEHIND_WANDER_STEP_SCALE: Share = 0.5;
/** Number of recent clips whose times are kept. */
const NUM_RECENT = 6;
const MIN_CLIPS_AHEAD = 2;
const MAX_CLIPS_AHEAD = 6;

export class ServerSpeed {
  private perStep: Seconds | null = null;
  private overhead: Seconds = 0;
  private recent: Seconds[] = [];

  /** Adds the times of a finished clip. */
  add({ total, diffusion, numSteps }: Timing): void {
    const steps = Math.min(total, diffusion ?? total * DIFFUSION_SHARE);
    const perStep = steps / numSteps;
    this.perStep = this.perStep === null ? perStep : mix(this.perStep, perStep);
    this.overhead = this.recent.length === 0 ? total - steps : mix(this.overhead, total - steps);
    this.recent = [...this.recent, total].slice(-NUM_RECENT);
  }

  /**
   * The current speed and what follows from it.
   *
   * @param wantedSteps number of steps in the settings, which is never exceeded
   * @param clipDuration duration of the playing clip
   */
  speed(wantedSteps: number, clipDuration: Seconds): Speed {
    if (this.perStep === null) {
      return {
        secondsPerClip: null, numSteps: wantedSteps, isReduced: false, isBehind: false, wanderStepScale: 1, clipsAhead: MIN_CLIPS_AHEAD,
      };
    }
    const affordable = Math.floor((TIME_BUDGET * clipDuration - this.overhead) / Math.max(this.perStep, 1e-6));
    const numSteps = Math.min(wantedSteps, Math.max(MIN_STEPS, affordable));
    const secondsPerClip = this.overhead + this.perStep * numSteps;
    const isBehind = secondsPerClip > clipDuration;
    const slowest = Math.max(...this.recent, secondsPerClip);
    const clipsAhead = Math.ceil(slowest / clipDuration) + 1;
    return {
      secondsPerClip,
      numSteps,
      isReduced: numSteps < wantedSteps,
      isBehind,
      wanderStepScale: isBehind && this.wereSlow(clipDuration) ? BEHIND_WANDER_STEP_SCALE : 1,
      clipsAhead: Math.min(MAX_CLIPS_AHEAD, Math.max(MIN_CLIPS_AHEAD, clipsAhead)),
    };
  }

  /** Whether the last two clips were late. One late clip is not enough: the first clip of a server often is. */
  private wereSlow(clipDuration: Seconds): boolean {
    return this.recent.length > 1 && this.recent.slice(-2).every((total) => total > clipDuration);
  }
}

function mix(before: number, newest: number): number {
  return (1 - NEWEST_WEIGHT) * before + NEWEST_WEIGHT * newest;
}
