/** Makes a seed image from the user's file: a recording is cut to whole beats, an image is used unchanged. */

import { wavBlob } from "../audio/wav";
import { dataUrlFromBlob } from "../data_url";
import type { Session } from "../jam/session";
import type { ImageSource } from "../settings/settings";
import type { Hertz, Seconds } from "../units";
import { cutToBeats, whyNoLoop } from "./cut_to_beats";

export type SeedOutcome =
  | { readonly source: ImageSource & { kind: "own" }; readonly audio: AudioBuffer; readonly description: string }
  | { readonly problem: string };

const MAX_FILE_BYTES = 64 * 2 ** 20;
/** The loop is searched for in the first part of a recording. */
const MAX_ANALYSED: Seconds = 60;

/** The seed image of a file and its audio. The server converts recordings to images. */
export async function seedFromFile(session: Session, file: File, signal: AbortSignal): Promise<SeedOutcome> {
  if (file.size > MAX_FILE_BYTES) {
    return { problem: `${file.name} is ${Math.round(file.size / 2 ** 20)} MB; choose a file of at most 64 MB.` };
  }
  const isImage = file.type.startsWith("image/");
  const recording = isImage ? null : await session.decode(file);
  if (!isImage && recording === null) {
    return { problem: `${file.name} contains no audio that this browser can read. Try WAV, MP3, FLAC or M4A.` };
  }
  const samples = recording ? mono(recording) : null;
  const reason = recording && samples && whyNoLoop(samples, recording.sampleRate);
  if (reason) return { problem: `${file.name} ${reason}` };
  const cut = recording && samples ? cutToBeats(samples, recording.sampleRate) : null;
  if (cut && recording) {
    return seedFromLoop(session, file.name, cut.samples, recording.sampleRate, (duration) => describeLoop(cut.beats, cut.tempo, duration), signal);
  }
  const image = { kind: "own", dataUrl: await dataUrlFromBlob(file), name: file.name } as const;
  return converted(session, image, file.name, () => "image", signal);
}

/** The seed image of a loop. @param describe returns what it is, from its duration */
export async function seedFromLoop(
  session: Session, name: string, samples: Float32Array, sampleRate: Hertz, describe: (duration: Seconds) => string, signal: AbortSignal,
): Promise<SeedOutcome> {
  const dataUrl = await dataUrlFromBlob(wavBlob([samples], sampleRate));
  return converted(session, { kind: "audio", dataUrl }, name, describe, signal);
}

async function converted(
  session: Session, from: Parameters<Session["clipSource"]["imageToAudio"]>[0], name: string, describe: (duration: Seconds) => string, signal: AbortSignal,
): Promise<SeedOutcome> {
  const outcome = await session.clipSource.imageToAudio(from, signal);
  if ("failure" in outcome) return { problem: outcome.failure.message };
  const { audio, image } = outcome.made;
  return { source: { kind: "own", dataUrl: await dataUrlFromBlob(image), name }, audio, description: describe(audio.duration) };
}

function describeLoop(beats: number | null, tempo: number | null, duration: number): string {
  if (beats === null || tempo === null) return `no beat found, so its first ${duration.toFixed(1)} s are used`;
  return `${beats} ${beats === 1 ? "beat" : "beats"} at ${tempo.toFixed(1)} BPM, ${duration.toFixed(2)} s`;
}

/** The first part of a recording, mixed down to mono. */
function mono(audio: AudioBuffer): Float32Array {
  const mixed = new Float32Array(Math.min(audio.length, MAX_ANALYSED * audio.sampleRate));
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    const samples = audio.getChannelData(channel);
    for (let i = 0; i < mixed.length; i++) mixed[i] = (mixed[i] ?? 0) + (samples[i] ?? 0) / audio.numberOfChannels;
  }
  return mixed;
}
