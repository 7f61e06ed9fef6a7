/** What the server gets of a recording for an edit: WAV files as data URLs. */

import { type Pcm, type PcmFormat, converted } from "../audio/pcm";
import { wavOf } from "../audio/wav";
import { dataUrlFromBlob } from "../data_url";
import type { EditPlan } from "./edit_requests";
import type { Pieces } from "./pieces";
import { type Project, pcmOf } from "./project";

export interface SentAudio {
  /** The format of `audio`, and so of the server's answer. */
  readonly format: PcmFormat;
  readonly audio: string;
  /** Where a piece leads to; null for other edits. */
  readonly second: string | null;
}

/** @throws Error if a file that the user chose can't be read */
export async function sentAudio(project: Project, pieces: Pieces, { start, stop, second, order }: EditPlan): Promise<SentAudio> {
  const part = (from: number, to: number): Pcm => sendable(pcmOf(project, pieces, from, to));
  const sent = part(start, stop);
  const to = order.action !== "between" ? null : (order.to ?? (second && fileOf(part(second.start, second.stop))));
  return { format: sent.format, audio: await dataUrlFromBlob(fileOf(sent)), second: to && (await dataUrlFromBlob(to)) };
}

/** Integers, as the server's answer then has the same format. */
function sendable(pcm: Pcm): Pcm {
  return pcm.format.isFloat ? converted(pcm, 24, false) : pcm;
}

function fileOf({ format, channels }: Pcm): Blob {
  return wavOf(format, channels[0]?.length ?? 0, (start, stop) => channels.map((samples) => samples.slice(start, stop)));
}
