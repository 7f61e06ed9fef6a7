/** What a jam is made with, and how it stands. */

import type { Failure } from "../api/client";
import type { Settings } from "../settings/settings";
import type { Seconds } from "../units";
import type { Stop } from "../walk/walk";
import type { ClipAudio } from "./clip";
import type { Timing } from "./server_speed";

/** A clip as it was made. */
export interface MadeClip<S extends ClipAudio> {
  readonly audio: S;
  readonly image: Blob;
  readonly timing: Timing;
}

/** What a request became. */
export type ClipResult<S extends ClipAudio> = { readonly made: MadeClip<S> } | { readonly failure: Failure };

/** Makes clips. */
export interface ClipSource<S extends ClipAudio> {
  make(
    stop: Stop,
    settings: Settings,
    numSteps: number,
    signal: AbortSignal,
    onProgress: (step: number, steps: number) => void,
  ): Promise<ClipResult<S>>;
}

/** Plays clips. */
export interface ClipPlayer<S extends ClipAudio> {
  readonly now: Seconds;
  /** Starts a loop, and returns exactly when. */
  play(audio: S, start: Seconds): Seconds;
}

/** A clip in the making. */
export interface ClipInProgress {
  readonly stop: Stop;
  readonly step: number;
  readonly steps: number;
}

/** Why no clip comes at the moment. */
export interface Trouble {
  readonly failure: Failure;
  readonly numFailures: number;
}
