/** What makes the clips: a server, or the device that shows the page. The rest of the page does not know which. */

import type { AnswerOf, Answer, AskOptions, Client } from "../api/client";
import type { Library } from "../api/library";
import type { InferenceInput } from "../api/messages";
import type { Distillation } from "../settings/distilled";
import type { SchedulerName } from "../settings/settings";

export type { AnswerOf };

/** Makes clips. */
export interface ClipClient {
  /** The lossless format of clips that are played: small if they come from a server, quickly made otherwise. */
  readonly clipFormat: "flac" | "wav";
  /** Waits until requests need not wait for what makes the clips, or until that has failed. Absent if they never wait for it. */
  untilReady?(): Promise<void>;
  /** Requests one clip, without retries. Never throws. */
  ask(request: InferenceInput, options?: AskOptions): Promise<Answer>;
}

/** How far what makes the clips has got. */
export interface Preparation {
  /** For the user; null if there is nothing to say. */
  readonly text: string | null;
  /** Whether clips can be made now. */
  readonly isReady: boolean;
  /** Whether something is wrong. */
  readonly isProblem: boolean;
}

/** The choice to compute with the device's GPU. */
export interface GpuChoice {
  readonly isOn: boolean;
  set(isOn: boolean): void;
}

export interface Backend {
  readonly client: ClipClient;
  /** Edits recordings; null if that needs a server and there is none. */
  readonly editClient: Client | null;
  /** The subject of sentences about speed. */
  readonly maker: "server" | "device";
  readonly schedulers: readonly SchedulerName[];
  /** Formats in which a clip can be saved by a request. */
  readonly savedFormats: readonly ("mp3" | "flac")[];
  /** null if there is no choice. */
  readonly gpu: GpuChoice | null;
  readonly preparation: Preparation;
  /** Calls `listener` after every change of `preparation`. */
  onChange(listener: () => void): void;
  fetchLibrary(): Promise<Library>;
  /** What the checkpoint can do if it is distilled; null if it is not, or if that is unknown. */
  fetchDistillation(): Promise<Distillation | null>;
  /** Whether clips may cost money. */
  mayCostMoney(): Promise<boolean>;
}
