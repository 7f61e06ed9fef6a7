/** What a jam is made with, and how it stands. */

import type { Failure } from "../api/client";
import type { Settings } from "../settings/settings";
import type { Seconds } from "../units";
import type { Stop } from "../walk/walk";
import type { Sound } from "./clip";
import type { Timing } from "./pace";

/** A clip as it was made. */
export interface Made<S extends Sound> {
  readonly sound: S;
  readonly picture: Blob;
  readonly timing: Timing;
}

/** What a request became. */
export type Outcome<S extends Sound> = { readonly made: Made<S> } | { readonly failure: Failure };

/** Makes clips. */
export interface Studio<S extends Sound> {
  make(
    stop: Stop,
    settings: Settings,
    numSteps: number,
    signal: AbortSignal,
    onProgress: (step: number, steps: number) => void,
  ): Promise<Outcome<S>>;
}

/** Plays clips. */
export interface Deck<S extends Sound> {
  readonly now: Seconds;
  /** Starts a loop, and returns exactly when. */
  play(sound: S, start: Seconds): Seconds;
}

/** A clip in the making. */
export interface Drawing {
  readonly stop: Stop;
  readonly step: number;
  readonly steps: number;
}

/** Why no clip comes at the moment. */
export interface Trouble {
  readonly failure: Failure;
  readonly numFailures: number;
}
