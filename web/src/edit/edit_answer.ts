/** Asks the server for one edit, and reads its answer. */

import type { Client } from "../api/client";
import { isEditOutput } from "../api/edit_messages";
import type { Pcm } from "../audio/pcm";
import { readWav } from "../audio/wav_reader";
import { blobFromUrl } from "../data_url";
import type { Hertz } from "../units";
import { type EditPlan, editInput } from "./edit_requests";
import type { SentAudio } from "./sent_audio";

export interface AnswerOptions {
  readonly signal: AbortSignal;
  /** Called with the number of completed steps and the total number of steps. */
  readonly onProgress: (step: number, steps: number) => void;
}

/** The audio that the server answers a plan with, or what went wrong, for the user. */
export async function answerTo(
  client: Client, plan: EditPlan, sampleRate: Hertz, { audio, second }: SentAudio, options: AnswerOptions,
): Promise<Pcm | { readonly problem: string }> {
  const answer = await client.askFor(isEditOutput, editInput(plan, sampleRate, audio, second), options);
  if (!answer.ok) return { problem: answer.failure.message };
  const received = await blobFromUrl(answer.output.audio).then((blob) => blob.arrayBuffer()).then(readWav, () => null);
  return received ?? { problem: "The server's answer is not a WAV file of 16, 24 or 32 bits. Check the server's version." };
}
