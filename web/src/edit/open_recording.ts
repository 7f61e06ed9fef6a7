/** Opens the user's recording for editing, with the samples of the file itself where that is possible. */

import { type Encoding, encodingOf, exactBits } from "../audio/encoding";
import { flacTags, wavTags } from "../audio/file_tags";
import { type PcmFormat, integersFrom } from "../audio/pcm";
import { readWav, wavLayout } from "../audio/wav_reader";
import type { Hertz, Seconds } from "../units";
import { MIN_RECORDING } from "./edit_requests";
import type { Opened } from "./project";

export interface OpenedRecording extends Opened {
  /** Whether the samples are those of the file, to the bit. */
  readonly isSame: boolean;
}

const MAX_FILE_BYTES = 256 * 2 ** 20;
/** Longer recordings take more memory than a phone's browser gives a page. The command line edits any length. */
const MAX_DURATION: Seconds = 900;
const USUAL_RATE: Hertz = 44_100;
const SAME = "What you don’t edit stays the same to the bit.";

/** Reads a recording, or says why it cannot be edited. */
export async function openRecording(file: File): Promise<OpenedRecording | { readonly problem: string }> {
  if (file.size > MAX_FILE_BYTES) {
    return { problem: `${file.name} is ${Math.round(file.size / 2 ** 20)} MB; choose a file of at most ${MAX_FILE_BYTES >> 20} MB.` };
  }
  const bytes = await file.arrayBuffer().catch(() => null);
  if (bytes === null) return { problem: `${file.name} cannot be read. Was it moved or deleted?` };
  const layout = wavLayout(bytes);
  const tooLong = layout && whyNot(file.name, layout.numFrames, layout.format);
  if (tooLong) return { problem: tooLong };
  const wav = readWav(bytes);
  const opened: OpenedRecording | null = wav ? { pcm: wav, note: `WAV, ${formatText(wav.format)}. ${SAME}`, fileType: "wav", isOwnType: true, tags: wavTags(bytes), isSame: true } : await decoded(bytes);
  if (opened === null) return { problem: `${file.name} contains no audio that this browser can read. Try WAV, MP3, FLAC or M4A.` };
  const problem = whyNot(file.name, opened.pcm.channels[0]?.length ?? 0, opened.pcm.format);
  return problem ? { problem } : opened;
}

/** Why a recording cannot be edited; null if it can. */
function whyNot(name: string, length: number, { sampleRate, numChannels }: PcmFormat): string | null {
  const duration = length / sampleRate;
  if (numChannels > 2) return `${name} has ${numChannels} channels; choose a mono or stereo recording.`;
  if (duration < MIN_RECORDING) return `${name} lasts ${duration.toFixed(2)} s; choose a recording of at least ${MIN_RECORDING} s.`;
  if (duration > MAX_DURATION) {
    return `${name} lasts ${Math.round(duration / 60)} minutes; this page edits up to ${MAX_DURATION / 60}. The command line, riffusion repaint, edits any length.`;
  }
  return null;
}

/** Decodes a file with the browser at the file's own rate, so that it isn't resampled. */
async function decoded(bytes: ArrayBuffer): Promise<OpenedRecording | null> {
  const [encoding, tags] = [encodingOf(bytes), flacTags(bytes)]; // before a decoder takes the bytes
  const audio = await decodedAt(bytes.slice(0), encoding?.sampleRate ?? USUAL_RATE) ?? await decodedAt(bytes, USUAL_RATE);
  if (audio === null || audio.length === 0) return null;
  const isFlac = encoding?.name === "FLAC";
  const bits = exactBits(encoding);
  const format: PcmFormat = {
    sampleRate: audio.sampleRate,
    numChannels: audio.numberOfChannels,
    bits: bits ?? 16,
    isFloat: false,
  };
  const floats = Array.from({ length: audio.numberOfChannels }, (_, channel) => audio.getChannelData(channel));
  const { channels, isExact } = integersFrom(floats, format);
  const isOwn = bits !== null && isExact && encoding?.sampleRate === audio.sampleRate;
  return { pcm: { format, channels }, note: noteOf(encoding, format, isOwn), fileType: isFlac ? "flac" : "wav", isOwnType: isFlac, tags, isSame: isOwn };
}

function noteOf(encoding: Encoding | null, format: PcmFormat, isOwn: boolean): string {
  const name = encoding?.name ?? "Audio";
  if (isOwn) return `FLAC, ${formatText(format)}. ${SAME}`;
  const resampled = encoding?.sampleRate && encoding.sampleRate !== format.sampleRate ? ` and resampled from ${encoding.sampleRate / 1000} kHz` : "";
  return `${name}, decoded by the browser${resampled} to ${formatText(format)}. Downloads are ${name === "FLAC" ? "FLAC" : "WAV"} files; what you don’t edit stays as decoded.`;
}

function formatText({ sampleRate, bits, isFloat, numChannels }: PcmFormat): string {
  return `${sampleRate / 1000} kHz, ${bits} bit${isFloat ? " float" : ""}, ${numChannels === 1 ? "mono" : "stereo"}`;
}

async function decodedAt(bytes: ArrayBuffer, sampleRate: Hertz): Promise<AudioBuffer | null> {
  try {
    return await new OfflineAudioContext(1, 1, sampleRate).decodeAudioData(bytes);
  } catch {
    return null; // no audio, or a sample rate that this browser does not support
  }
}
