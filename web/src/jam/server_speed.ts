/**
 * How fast the server is, and what follows from it: how many steps it is asked for, how many clips ahead
 * of the ear the jam should be, and how far apart clips should be.
 */

import type { Seconds, Share } from "../units";

/** How long a clip took. */
export interface Timing {
  readonly total: Seconds;
  /** From the first step to the last one; null where the server didn't report steps. */
  readonly drawing: Seconds | null;
  readonly numSteps: number;
}

export interface Speed {
  /** For a clip with as many steps as are asked for now; null before the first clip. */
  readonly secondsPerClip: Seconds | null;
  readonly numSteps: number;
  /** Whether these are fewer than wanted, since the server is slow. */
  readonly isReduced: boolean;
  /** Whether clips take longer to make than to hear, even so. */
  readonly isBehind: boolean;
  /** Of the step from clip to clip, as long as no other prompt is to come. */
  readonly wanderStepScale: Share;
  readonly clipsAhead: number;
}

/** Fewer steps are hardly a sound. */
const FEWEST_STEPS = 8;
/** The share of a clip's length that making the next one may take, at most. */
const BUDGET = 0.85;
/** Weight of the newest clip in the averages. */
const NEWEST = 0.4;
/** Without reports of steps, they are taken for this share of the time. */
const DRAWING_SHARE = 0.7;
/**
 * A clip that is heard several times is known by heart, and what changes after it stands out. How much
 * changes is proportional to the step, so half a step keeps it gentle.
 */
const BEHIND_WANDER_STEP_SCALE: Share = 0.5;
const MEMORY = 6;
const FEWEST_AHEAD = 2;
const MOST_AHEAD = 6;

export class ServerSpeed {
  private perStep: Seconds | null = null;
  private rest: Seconds = 0;
  private recent: Seconds[] = [];

  /** Notes a finished clip. */
  note({ total, drawing, numSteps }: Timing): void {
    const steps = Math.min(total, drawing ?? total * DRAWING_SHARE);
    const perStep = steps / numSteps;
    this.perStep = this.perStep === null ? perStep : mix(this.perStep, perStep);
    this.rest = this.recent.length === 0 ? total - steps : mix(this.rest, total - steps);
    this.recent = [...this.recent, total].slice(-MEMORY);
  }

  /**
   * @param wantedSteps of the settings: never exceeded
   * @param clipDuration of what is heard
   */
  speed(wantedSteps: number, clipDuration: Seconds): Speed {
    if (this.perStep === null) {
      return {
        secondsPerClip: null, numSteps: wantedSteps, isReduced: false, isBehind: false, wanderStepScale: 1, clipsAhead: FEWEST_AHEAD,
      };
    }
    const affordable = Math.floor((BUDGET * clipDuration - this.rest) / Math.max(this.perStep, 1e-6));
    const numSteps = Math.min(wantedSteps, Math.max(FEWEST_STEPS, affordable));
    const secondsPerClip = this.rest + this.perStep * numSteps;
    const isBehind = secondsPerClip > clipDuration;
    const slowest = Math.max(...this.recent, secondsPerClip);
    const clipsAhead = Math.ceil(slowest / clipDuration) + 1;
    return {
      secondsPerClip,
      numSteps,
      isReduced: numSteps < wantedSteps,
      isBehind,
      wanderStepScale: isBehind && this.wereSlow(clipDuration) ? BEHIND_WANDER_STEP_SCALE : 1,
      clipsAhead: Math.min(MOST_AHEAD, Math.max(FEWEST_AHEAD, clipsAhead)),
    };
  }

  /** Whether not only one clip was late: a server's first one is. */
  private wereSlow(clipDuration: Seconds): boolean {
    return this.recent.length > 1 && this.recent.slice(-2).every((total) => total > clipDuration);
  }
}

function mix(before: number, newest: number): number {
  return (1 - NEWEST) * before + NEWEST * newest;
}
