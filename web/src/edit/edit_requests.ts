/**
 * Requests to edit a recording. Only the region and its surroundings are sent:
 *
 *     recording  ──────────────[▒▒▒▒ region ▒▒▒▒]──────────────
 *     sent              |──────[▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒]──────|
 *
 * The server answers with the same number of samples, and the page takes those of the region. For an extension,
 * the end of the recording is sent, and the answer is longer. A piece between two sections is the whole answer, and so is
 * a loop. Positions are samples.
 */

import type { EditInput } from "../api/edit_messages";
import { type Pcm, type PcmFormat, isSameFormat } from "../audio/pcm";
import type { Bpm, Seconds, Share } from "../units";
import type { Change } from "./history";
import { type Pieces, spliced } from "./pieces";
import type { Selection } from "./selection";

export type EditAction = "replace" | "restyle" | "extend" | "loop" | "between";

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
  /** For between: the recording that the piece leads to; null for what follows the section. */
  readonly to: Blob | null;
  /** For between: the number of clips, the first and the last one included. */
  readonly clips: number;
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
  /** What a piece leads to, in the same version; null if that is another recording. */
  readonly second: Change | null;
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
/** The longest piece that the server makes. */
const MAX_PIECE: Seconds = 120;
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
  const needsPrompt = order.action !== "loop" && order.action !== "between";
  if (needsPrompt && order.prompt.trim() === "") return { problem: "Type what should be here first." };
  if (order.action === "extend") {
    const context = Math.min(length, samples(EXTEND_CONTEXT));
    const join = samples(JOIN);
    return order.side === "end"
      ? { order, start: length - context, stop: length, region: { start: length - join, stop: length }, second: null }
      : { order, start: 0, stop: context, region: { start: 0, stop: join }, second: null };
  }
  const { selection } = order;
  if (selection === null) return { problem: "Mark a section first: drag over the spectrogram, or type its start and end." };
  const longest = Math.min(MAX_SECTION, Math.floor(MAX_SENT_BYTES / bytesPerSecond(format)) - 2 * CONTEXT);
  if (selection.stop - selection.start > longest) {
    return { problem: `The section lasts ${(selection.stop - selection.start).toFixed(1)} s; mark at most ${longest} s.` };
  }
  const region = { start: samples(selection.start), stop: samples(selection.stop) };
  if (order.action === "between") return planBetween(order, region, length, rate);
  const context = order.action === "loop" ? 2 * JOIN : CONTEXT;
  let [start, stop] = [samples(selection.start - context), samples(selection.stop + context)];
  if (stop - start < MIN_RECORDING * rate) [start, stop] = [samples(selection.start - 1), samples(selection.stop + 1)];
  return { order, start, stop, region, second: null };
}

/** A piece from the section to what follows it, at most as long as the section, or to another recording. */
function planBetween(order: EditOrder, region: Change, length: number, rate: number): EditPlan | { readonly problem: string } {
  const { start, stop } = region;
  const second = order.to ? null : { start: stop, stop: Math.min(length, 2 * stop - start) };
  const clip = (second ? Math.min(stop - start, second.stop - second.start) : stop - start) / rate;
  if ((stop - start) / rate < MIN_RECORDING) return { problem: `Mark at least ${MIN_RECORDING} s.` };
  if (clip < MIN_RECORDING) return { problem: `Only ${clip.toFixed(1)} s follow the marked section. Mark an earlier one, or choose another recording.` };
  if (order.clips * clip > MAX_PIECE) return { problem: `${order.clips} clips of ${clip.toFixed(1)} s are too long; mark at most ${Math.floor(MAX_PIECE / order.clips)} s.` };
  return { order, start, stop, region, second };
}

/** What is sent of a recording, per second; floats are sent as 24 bits. */
function bytesPerSecond({ sampleRate, numChannels, bits, isFloat }: PcmFormat): number {
  return (sampleRate * numChannels * (isFloat ? 24 : bits)) / 8;
}

/** The request to the server. Strength 1 replaces all of the region. `second` is where a piece leads to. */
export function editInput({ order, start, region }: EditPlan, rate: number, initAudio: string, second: string | null = null): EditInput {
  const { action, selection, tempo } = order;
  const from = (region.start - start) / rate;
  const denoising = action === "restyle" ? order.strength : action === "extend" ? EXTEND_DENOISING : 1;
  const recording = { init_audio: initAudio, audio_format: "wav" } as const;
  if (action === "loop") {
    return { ...recording, mode: "loop", beats: order.beats, from_s: from, ...(tempo ? { from_tempo_bpm: tempo } : {}) };
  }
  if (action === "between") {
    const start = { prompt: order.prompt.trim(), seed: order.seed };
    return { ...recording, mode: "between", start, init_audio_b: second ?? "", num_clips: order.clips };
  }
  const common = {
    ...recording,
    start: { prompt: order.prompt.trim(), seed: order.seed, denoising, guidance: GUIDANCE },
    preset: "fast",
  } as const;
  if (action === "extend") {
    return { ...common, mode: "extend", [order.side === "end" ? "after_s" : "before_s"]: order.seconds, ...(tempo ? { tempo_bpm: tempo } : {}) };
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
  const isWhole = action === "loop" || action === "between";
  if (isWhole ? length === 0 : action === "extend" ? added <= 0 : added !== 0) {
    return { problem: `The server's answer has ${length} samples, and ${stop - start} were sent. Check the server's version.` };
  }
  const [from, to] =
    isWhole ? [0, length]
    : action === "extend" ? (order.side === "end" ? [region.start - start, length] : [0, added + region.stop])
    : [region.start - start, region.stop - start];
  const audio = { format: sent, channels: answer.channels.map((channel) => channel.slice(from, to)) };
  const piece = { source, start: 0, stop: to - from };
  if (isWhole) return { audio, pieces: [piece], change: { start: 0, stop: length }, isLoop: action === "loop" };
  return {
    audio,
    pieces: spliced(pieces, region.start, region.stop, [piece]),
    change: { start: region.start, stop: region.start + to - from },
    isLoop: false,
  };
}

const NAMES: Record<EditAction, string> = { replace: "Replace", restyle: "Restyle", extend: "Extend", loop: "Loop", between: "Between" };

/** The title of a version. */
export function titleOf({ action, prompt, beats, clips }: EditOrder): string {
  if (action === "between") return `Between: ${clips} clips`;
  return action === "loop" ? `Loop: ${beats} ${beats === 1 ? "beat" : "beats"}` : `${NAMES[action]}: ${prompt.trim()}`;
}
