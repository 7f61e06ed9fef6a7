/** Requests to edit a recording, and responses. The field names are the server's. */

import type { Bpm, Hertz, Seconds } from "../units";
import type { PromptInput } from "./messages";

export interface EditInput {
  readonly mode: "repaint" | "extend" | "loop" | "between";
  /** Absent for a loop, which nothing is drawn for; without strength and guidance for `between`. */
  readonly start?: Pick<PromptInput, "prompt" | "seed"> & Partial<PromptInput>;
  /** A WAV file as a data URL. */
  readonly init_audio: string;
  /** Where a piece of mode=between leads to: any audio file, as a data URL. */
  readonly init_audio_b?: string;
  readonly num_clips?: number;
  readonly region?: {
    readonly from_s: Seconds;
    readonly to_s: Seconds;
    readonly low_hz?: Hertz;
    readonly high_hz?: Hertz;
  };
  readonly after_s?: Seconds;
  readonly before_s?: Seconds;
  readonly beats?: number;
  readonly from_s?: Seconds;
  readonly tempo_bpm?: Bpm;
  readonly from_tempo_bpm?: Bpm;
  readonly audio_format: "wav";
  readonly preset?: "fast";
}

/** An edited recording in a response. */
export interface EditOutput {
  /** A data URL. */
  readonly audio: string;
}

/** Whether a parsed response is an edited recording. */
export function isEditOutput(answer: unknown): answer is EditOutput {
  const audio = (answer as Record<string, unknown> | null)?.["audio"];
  return typeof audio === "string" && audio.startsWith("data:audio/");
}
