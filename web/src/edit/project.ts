/** A recording that is edited: its samples, what the server made for it, and all its versions. */

import { type Pcm, type PcmFormat, emptySamples, fullScale } from "../audio/pcm";
import { wavOf } from "../audio/wav";
import type { Seconds } from "../units";
import { type History, begun } from "./history";
import { type Pieces, type Sources, lengthOf, readSamples } from "./pieces";

export interface Project {
  readonly id: string;
  /** The name of the file. */
  readonly name: string;
  /** What the file is, and what happens to it, for the user. */
  readonly note: string;
  readonly format: PcmFormat;
  readonly sources: Sources;
  readonly history: History;
}

export function newProject(id: string, name: string, note: string, { format, channels }: Pcm): Project {
  const pieces: Pieces = [{ source: 0, start: 0, stop: channels[0]?.length ?? 0 }];
  return { id, name, note, format, sources: new Map([[0, channels]]), history: begun("Original", pieces) };
}

/** A source number that is not in use. */
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

/** A WAV file of the samples from `start` to `stop`, in the recording's own format. */
export function wavOfVersion(project: Project, pieces: Pieces, start = 0, stop = lengthOf(pieces)): Blob {
  return wavOf(project.format, stop - start, (from, to) => pcmOf(project, pieces, start + from, start + to).channels);
}

/** The name of a download: `song (Replace: church bells).wav` is `song-replace-church-bells.wav`. */
export function downloadName({ name, history }: Project, title: string): string {
  const stem = name.replace(/\.[^.]*$/, "") || "recording";
  const words = title.normalize("NFKD").toLowerCase().replace(/[^\p{Letter}\p{Number}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60);
  return history.versions.length === 1 ? `${stem}.wav` : `${stem}-${words}.wav`;
}
