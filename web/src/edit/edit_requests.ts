/**
 * Requests to edit a recording. Only the region and its surroundings are sent:
 *
 *     recording  ──────────────[▒▒▒▒ region ▒▒▒▒]──────────────
 *     sent              |──────[▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒]──────|
 *
 * The server answers with the same number of samples, and the page takes those of the region. For an extension,
 * the end of the recording is sent, and the answer is longer. Positions are samples.
 */

import type { EditInput } from "../api/edit_messages";
import { type Pcm, type PcmFormat, isSameFormat } from "../audio/pcm";
import type { Bpm, Seconds, Share } from "../units";
import type { Change } from "./history";
import { type Pieces, spliced } from "./pieces";
import type { Selection } from "./selection";

export type EditAction = "replace" | "restyle" | "extend" | "loop";

/** What the user asks for. */
export interface EditOrder {
  readonly action: EditAction;
  readonly prompt: string;
  readonly seed: number;
  /** For restyle: how far the result may move away from the recording. */
  readonly strength: Share;
  /** For extend. */
  readonly side: "start" | "end";
  readonly seconds: Seconds;
  /** For loop. */
  readonly beats: number;
  /** The tempo that was found in the whole recording; null if none was. */
  readonly tempo: Bpm | null;
  /** The marked section; null for none. */
  readonly selection: Selection | null;
}

/** A part of a version to send, and what to do with the answer. */
export interface EditPlan {
  readonly order: EditOrder;
  /** What is sent. */
  readonly start: number;
  readonly stop: number;
  /** What is replaced. */
  readonly region: Change;
}

/** What the server hears beside a region. It uses 1.28 s at least; more gives it the beat and the sound. */
export const CONTEXT: Seconds = 4;
/** What the server hears of a recording that it extends. */
export const EXTEND_CONTEXT: Seconds = 12;
/** The longest section: with its surroundings it is as long as one request to the server may be. */
export const MAX_SECTION: Seconds = 50;
/** What one request may hold, in bytes of a WAV file. */
export const MAX_SENT_BYTES = 24 * 2 ** 20 - 100;
/** The shortest recording that the server edits. */
export const MIN_RECORDING: Seconds = 0.5;
/** Joins are crossfades of at most this length, inside of what is new. At an end of the recording they lie before it. */
const JOIN: Seconds = 0.02;
const GUIDANCE = 7;
/** What one edit offers to choose from. */
export const NUM_TAKES = 3;

/** How many takes an order makes. What is drawn is a matter of taste; an extension or a loop is what it is. */
export function numTakesOf({ action }: EditOrder): number {
  return action === "replace" || action === "restyle" ? NUM_TAKES : 1;
}

/** What an order sends and replaces, or why it cannot be done, for the user. */
export function planOf(order: EditOrder, length: number, format: PcmFormat): EditPlan | { readonly problem: string } {
  const rate = format.sampleRate;
  const duration = length / rate;
  const samples = (time: Seconds): number => Math.min(length, Math.max(0, Math.round(time * rate)));
  if (duration < MIN_RECORDING) return { problem: `The recording lasts ${duration.toFixed(2)} s, and at least ${MIN_RECORDING} s are needed.` };
  if (order.action !== "loop" && order.prompt.trim() === "") return { problem: "Type what should be here first." };
  if (order.action === "extend") {
    const context = Math.min(length, samples(EXTEND_CONTEXT));
    const join = samples(JOIN);
    return order.side === "end"
      ? { order, start: length - context, stop: length, region: { start: length - join, stop: length } }
      : { order, start: 0, stop: context, region: { start: 0, stop: join } };
  }
  const { selection } = order;
  if (selection === null) return { problem: "Mark a section first: drag over the spectrogram, or type its start and end." };
  const longest = Math.min(MAX_SECTION, Math.floor(MAX_SENT_BYTES / bytesPerSecond(format)) - 2 * CONTEXT);
  if (selection.stop - selection.start > longest) {
    return { problem: `The section lasts ${(selection.stop - selection.start).toFixed(1)} s; mark at most ${longest} s.` };
  }
  const region = { start: samples(selection.start), stop: samples(selection.stop) };
  const context = order.action === "loop" ? 2 * JOIN : CONTEXT;
  let [start, stop] = [samples(selection.start - context), samples(selection.stop + context)];
  if (stop - start < MIN_RECORDING * rate) [start, stop] = [samples(selection.start - 1), samples(selection.stop + 1)];
  return { order, start, stop, region };
}

/** What is sent of a recording, per second; floats are sent as 24 bits. */
function bytesPerSecond({ sampleRate, numChannels, bits, isFloat }: PcmFormat): number {
  return (sampleRate * numChannels * (isFloat ? 24 : bits)) / 8;
}

/** The request to the server. Strength 1 makes the region anew. */
export function editInput({ order, start, region }: EditPlan, rate: number, initAudio: string): EditInput {
  const { action, selection, tempo } = order;
  const from = (region.start - start) / rate;
  const denoising = action === "restyle" ? order.strength : action === "extend" ? EXTEND_DENOISING : 1;
  const common = {
    start: { prompt: action === "loop" ? "" : order.prompt.trim(), seed: order.seed, denoising, guidance: GUIDANCE },
    init_audio: initAudio,
    audio_format: "wav",
    preset: "fast",
  } as const;
  if (action === "extend") {
    return { ...common, mode: "extend", [order.side === "end" ? "after_s" : "before_s"]: order.seconds, ...(tempo ? { tempo_bpm: tempo } : {}) };
  }
  if (action === "loop") {
    return { ...common, mode: "loop", beats: order.beats, from_s: from, ...(tempo ? { from_tempo_bpm: tempo } : {}) };
  }
  const band = selection?.band ? { low_hz: selection.band.low, high_hz: selection.band.high } : {};
  return { ...common, mode: "repaint", region: { from_s: from, to_s: (region.stop - start) / rate, ...band } };
}

/** The default of the command line: it begins from a repetition of the last bars and moves away from it. */
const EXTEND_DENOISING = 0.7;

/** What is new, and the version with it as source `source`; or what is wrong with the answer. */
export type Edited =
  | { readonly audio: Pcm; readonly pieces: Pieces; readonly change: Change; readonly isLoop: boolean }
  | { readonly problem: string };

/**
 * Puts the server's answer into a version.
 *
 * @param answer in the format of what was sent
 */
export function editedBy(plan: EditPlan, pieces: Pieces, sent: PcmFormat, answer: Pcm, source: number): Edited {
  const { order, start, stop, region } = plan;
  const length = answer.channels[0]?.length ?? 0;
  const { action } = order;
  if (!isSameFormat(answer.format, sent)) return { problem: "The server's answer has another format than the recording. Check the server's version." };
  const added = length - (stop - start);
  if (action === "loop" ? length === 0 : action === "extend" ? added <= 0 : added !== 0) {
    return { problem: `The server's answer has ${length} samples, and ${stop - start} were sent. Check the server's version.` };
  }
  const [from, to] =
    action === "loop" ? [0, length]
    : action === "extend" ? (order.side === "end" ? [region.start - start, length] : [0, added + region.stop])
    : [region.start - start, region.stop - start];
  const audio = { format: sent, channels: answer.channels.map((channel) => channel.slice(from, to)) };
  const piece = { source, start: 0, stop: to - from };
  if (action === "loop") return { audio, pieces: [piece], change: { start: 0, stop: length }, isLoop: true };
  return {
    audio,
    pieces: spliced(pieces, region.start, region.stop, [piece]),
    change: { start: region.start, stop: region.start + to - from },
    isLoop: false,
  };
}

const NAMES: Record<EditAction, string> = { replace: "Replace", restyle: "Restyle", extend: "Extend", loop: "Loop" };

/** The title of a version. */
export function titleOf({ action, prompt, beats }: EditOrder): string {
  return action === "loop" ? `Loop: ${beats} ${beats === 1 ? "beat" : "beats"}` : `${NAMES[action]}: ${prompt.trim()}`;
}
