/**
 * The time of the day at which a WAV's recording starts, for files that start elsewhere. It counts samples since
 * midnight: 64 bits in `bext` (EBU Tech 3285), and numbers in the text of `iXML`, which repeats them in two places.
 */

import type { FileTags } from "./file_tags";
import type { Hertz } from "../units";

type Chunk = Uint8Array<ArrayBuffer>;

const HEAD_BYTES = 8;
/** Its place in a bext chunk's content. */
const TIME_REFERENCE = 338;
const DAY_S = 86_400n;
const IXML: readonly (readonly [low: string, high: string])[] = [
  ["BWF_TIME_REFERENCE_LOW", "BWF_TIME_REFERENCE_HIGH"],
  ["TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO", "TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI"],
];

/**
 * A WAV's chunks for a file that starts `numSamples` later, or with a negative number earlier. What has no time
 * stays as it is. The same as `with_start_moved` of the command line.
 */
export function withStartMoved(chunks: FileTags, numSamples: number, sampleRate: Hertz): FileTags {
  if (numSamples === 0) return chunks;
  const day = DAY_S * BigInt(sampleRate);
  const move = (reference: bigint): bigint => (((reference + BigInt(numSamples)) % day) + day) % day;
  return chunks.map((chunk) => {
    const [name, size] = [String.fromCharCode(...chunk.subarray(0, 4)), new DataView(chunk.buffer, chunk.byteOffset).getUint32(4, true)];
    if (name === "bext" && size >= TIME_REFERENCE + 8) return withBextMoved(chunk, move);
    return name === "iXML" ? withIxmlMoved(chunk, size, move) : chunk;
  });
}

function withBextMoved(chunk: Chunk, move: (reference: bigint) => bigint): Chunk {
  const moved = chunk.slice();
  const view = new DataView(moved.buffer);
  const at = HEAD_BYTES + TIME_REFERENCE;
  view.setBigUint64(at, move(view.getBigUint64(at, true)), true);
  return moved;
}

/** The numbers are ASCII, so the text's other bytes needn't be understood. */
function withIxmlMoved(chunk: Chunk, size: number, move: (reference: bigint) => bigint): Chunk {
  let text = Array.from(chunk.subarray(HEAD_BYTES, HEAD_BYTES + size), (byte) => String.fromCharCode(byte)).join("");
  for (const [low, high] of IXML) {
    const [lower, upper] = [numberIn(text, low), numberIn(text, high)];
    if (lower === null || upper === null) continue;
    const reference = move((upper << 32n) + lower);
    text = withNumber(withNumber(text, low, reference & 0xffff_ffffn), high, reference >> 32n);
  }
  const moved = new Uint8Array(HEAD_BYTES + text.length + (text.length % 2));
  moved.set(chunk.subarray(0, 4));
  new DataView(moved.buffer).setUint32(4, text.length, true);
  for (let i = 0; i < text.length; i++) moved[HEAD_BYTES + i] = text.charCodeAt(i);
  return moved;
}

function numberIn(text: string, name: string): bigint | null {
  const digits = element(name).exec(text)?.[2];
  return digits === undefined ? null : BigInt(digits);
}

function withNumber(text: string, name: string, value: bigint): string {
  return text.replace(element(name), (_, before: string, __, after: string) => `${before}${value}${after}`);
}

function element(name: string): RegExp {
  return new RegExp(`(<${name}>\\s*)(\\d{1,20})(\\s*</${name}>)`);
}
