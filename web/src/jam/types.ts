/** Interfaces between the parts of a jam. */

import type { Failure } from "../api/client";
import type { Settings } from "../settings/settings";
import type { Seconds } from "../units";
import type { Stop } from "../walk/walk";
import type { ClipAudio } from "./clip";
import type { Timing } from "./server_speed";

/** A clip from the server, decoded, with the time that it took. */
export interface MadeClip<S extends ClipAudio> {
  readonly audio: S;
  readonly image: Blob;
  readonly timing: Timing;
}

/** Result of a request. */
export type ClipResult<S extends ClipAudio> = { readonly made: MadeClip<S> } | { readonly failure: Failure };

/** Makes clips; in the app, the server. */
export interface ClipSource<S extends ClipAudio> {
  make(
    stop: Stop,
    settings: Settings,
    numSteps: number,
    signal: AbortSignal,
    onProgress: (step: number, steps: number) => void,
  ): Promise<ClipResult<S>>;
}

/** Plays clips on an audio clock. */
export interface ClipPlayer<S extends ClipAudio> {
  /** Current time on the audio clock. */
  readonly now: Seconds;
  /** Schedules a loop and returns its exact start time. */
  play(audio: S, start: Seconds): Seconds;
}

/** Progress of the clip that is being made. */
export interface ClipInProgress {
  readonly stop: Stop;
  readonly step: number;
  readonly steps: number;
}

/** The failure that a request is waiting to retry. */
export interface Trouble {
  readonly failure: Failure;
  /** Number of failures in a row. */
  readonly numFailures: number;
}
