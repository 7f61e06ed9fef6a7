/** A recording that is edited: its samples, what the server made for it, and all its versions. */

import type { FileTags } from "../audio/file_tags";
import { flacOf } from "../audio/flac_file";
import { type Pcm, type PcmFormat, emptySamples, fullScale } from "../audio/pcm";
import { withStartMoved } from "../audio/time_reference";
import { wavOf } from "../audio/wav";
import type { Seconds } from "../units";
import { type History, begun } from "./history";
import { type Pieces, type Sources, cut, lengthOf, readSamples } from "./pieces";

/** The type of files that are downloaded. */
export type FileType = "wav" | "flac";

export interface Project {
  readonly id: string;
  /** The name of the file. */
  readonly name: string;
  /** What the file is, and what happens to it, for the user. */
  readonly note: string;
  readonly format: PcmFormat;
  readonly fileType: FileType;
  /** Whether the recording was such a file, too. MP3 and others are not: their downloads are WAV files. */
  readonly isOwnType: boolean;
  /** The recording's tags, for files of its own type. */
  readonly tags: FileTags;
  readonly sources: Sources;
  readonly history: History;
}

/** What the user's file contains. */
export type Opened = Pick<Project, "note" | "fileType" | "isOwnType" | "tags"> & { readonly pcm: Pcm };

export function newProject(id: string, name: string, { pcm: { format, channels }, note, fileType, isOwnType, tags }: Opened): Project {
  const pieces: Pieces = [{ source: 0, start: 0, stop: channels[0]?.length ?? 0 }];
  return { id, name, note, fileType, isOwnType, tags, format, sources: new Map([[0, channels]]), history: begun("Original", pieces) };
}

/** A source number that is not in use. Sources are removed when a later one is there, so no number comes twice. */
export function nextSource({ sources }: Project): number {
  return 1 + Math.max(...sources.keys());
}

export function durationOf({ format }: Project, pieces: Pieces): Seconds {
  return lengthOf(pieces) / format.sampleRate;
}

/** Writes one channel of a version into `target` as floats in [-1, 1], from the sample `start` on. */
export function readFloats({ format, sources }: Project, pieces: Pieces, channel: number, start: number, target: Float32Array): void {
  const samples = emptySamples(format, target.length);
  readSamples(pieces, sources, channel, start, samples);
  const scale = 1 / fullScale(format);
  for (let i = 0; i < target.length; i++) target[i] = (samples[i] ?? 0) * scale;
}

/** A project without the sources that none of its versions has any more. */
export function withoutUnused(project: Project): Project {
  const used = new Set(project.history.versions.flatMap(({ pieces }) => pieces.map(({ source }) => source)));
  return { ...project, sources: new Map([...project.sources].filter(([source]) => used.has(source))) };
}

/** The samples from `start` to `stop`, mixed down to mono, in [-1, 1]. */
export function monoOf(project: Project, pieces: Pieces, start: number, stop: number): Float32Array<ArrayBuffer> {
  const mixed = new Float32Array(stop - start);
  readFloats(project, pieces, 0, start, mixed);
  if (project.format.numChannels === 1) return mixed;
  const other = new Float32Array(stop - start);
  readFloats(project, pieces, 1, start, other);
  for (let i = 0; i < mixed.length; i++) mixed[i] = ((mixed[i] ?? 0) + (other[i] ?? 0)) / 2;
  return mixed;
}

/** The samples from `start` to `stop`, in the recording's own format. */
export function pcmOf({ format, sources }: Project, pieces: Pieces, start: number, stop: number): Pcm {
  const channels = Array.from({ length: format.numChannels }, (_, channel) => {
    const samples = emptySamples(format, stop - start);
    readSamples(pieces, sources, channel, start, samples);
    return samples;
  });
  return { format, channels };
}

/**
 * A file of the samples from `start` to `stop`, in the recording's own format and with its tags; a time of the day in
 * them is that of the file's start.
 *
 * @throws Error if it is to be FLAC, and the encoder can't be loaded or has no such format
 */
export async function fileOfVersion(project: Project, type: FileType, pieces: Pieces, start = 0, stop = lengthOf(pieces)): Promise<Blob> {
  const [write, { sampleRate }] = [type === "flac" ? flacOf : wavOf, project.format];
  const own = type === project.fileType ? project.tags : [];
  const tags = type === "wav" ? withStartMoved(own, startInRecording(cut(pieces, start, stop)), sampleRate) : own;
  return write(project.format, stop - start, (from, to) => pcmOf(project, pieces, start + from, start + to).channels, tags);
}

/** Where pieces begin on the recording's own time axis, by the first piece that is the recording's; 0 if none is. */
function startInRecording(pieces: Pieces): number {
  let before = 0;
  for (const { source, start, stop } of pieces) {
    if (source === 0) return start - before;
    before += stop - start;
  }
  return 0;
}

/** The name of a download without its ending: of `song.wav` and `Replace: church bells`, it is `song-replace-church-bells`. */
export function downloadName({ name, history }: Project, title: string): string {
  const stem = name.replace(/\.[^.]*$/, "") || "recording";
  const words = title.normalize("NFKD").toLowerCase().replace(/[^\p{Letter}\p{Number}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60);
  return history.versions.length === 1 ? stem : `${stem}-${words}`;
}
