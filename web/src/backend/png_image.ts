/**
 * Writes PNG files of spectrogram images, with their parameters in the EXIF data, as a server does: the command line
 * turns such a file into the same audio.
 *
 *     signature   IHDR: size, 8 bits, RGB   eXIf: TIFF with the parameters   IDAT: compressed rows   IEND
 *
 * Each row begins with the number of its filter; 2 says that pixels are differences to the row above.
 */

import type { SpectrogramParams } from "../engine/spectrogram_params";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const UP_FILTER = 2;
/** Tags of the parameters, in ascending order; see `spectrogram/params.py`. */
const TAGS: readonly (readonly [number, keyof SpectrogramParams])[] = [
  [11000, "sample_rate"], [11005, "stereo"], [11010, "step_size_ms"], [11020, "window_duration_ms"], [11030, "padded_duration_ms"],
  [11040, "num_frequencies"], [11050, "min_frequency"], [11060, "max_frequency"], [11070, "power_for_image"],
  [11090, "mel_scale_norm"], [11100, "mel_scale_type"], [11110, "max_mel_iters"], [11120, "num_griffin_lim_iters"],
];
/** Types of TIFF values. */
const [ASCII, SHORT, LONG, DOUBLE] = [2, 3, 4, 12];
const LARGEST_SHORT = 0xffff;
const [HEADER_BYTES, ENTRY_BYTES, INLINE_BYTES] = [8, 12, 4];

/** @param image three bytes per pixel, rows from the top */
export async function pngOf(
  { width, height, data }: { width: number; height: number; data: Uint8Array }, params: SpectrogramParams,
): Promise<Blob> {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 2], 8); // bits, RGB
  const rows = new Uint8Array(height * (3 * width + 1));
  for (let row = 0; row < height; row++) {
    const to = row * (3 * width + 1);
    const from = row * 3 * width;
    rows[to] = UP_FILTER;
    for (let i = 0; i < 3 * width; i++) rows[to + 1 + i] = data[from + i]! - (row > 0 ? data[from + i - 3 * width]! : 0);
  }
  const compressed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const content = new Uint8Array(await new Response(compressed).arrayBuffer());
  const chunks = [chunk("IHDR", header), chunk("eXIf", exifOf(params)), chunk("IDAT", content), chunk("IEND", new Uint8Array())];
  return new Blob([new Uint8Array(SIGNATURE), ...chunks], { type: "image/png" });
}

/** A big-endian TIFF with one directory: entries of tag, type, count and value; longer values follow, at even places. */
function exifOf(params: SpectrogramParams): Uint8Array<ArrayBuffer> {
  const values = TAGS.map(([, name]) => encoded(params[name], name === "power_for_image"));
  const long = values.filter(({ bytes }) => bytes.length > INLINE_BYTES);
  let place = HEADER_BYTES + 2 + TAGS.length * ENTRY_BYTES + 4;
  const tiff = new Uint8Array(long.reduce((sum, { bytes }) => sum + even(bytes.length), place));
  const view = new DataView(tiff.buffer);
  tiff.set([0x4d, 0x4d, 0, 42, 0, 0, 0, HEADER_BYTES]);
  view.setUint16(HEADER_BYTES, TAGS.length);
  TAGS.forEach(([tag], i) => {
    const { type, count, bytes } = values[i]!;
    const entry = HEADER_BYTES + 2 + i * ENTRY_BYTES;
    view.setUint16(entry, tag);
    view.setUint16(entry + 2, type);
    view.setUint32(entry + 4, count);
    const isInline = bytes.length <= INLINE_BYTES;
    if (!isInline) view.setUint32(entry + 8, place);
    tiff.set(bytes, isInline ? entry + 8 : place);
    if (!isInline) place += even(bytes.length);
  });
  return tiff;
}

function encoded(value: string | number | boolean | null, isFraction: boolean): { type: number; count: number; bytes: Uint8Array } {
  if (typeof value === "string" || value === null) {
    const bytes = new TextEncoder().encode(`${value ?? "none"}\0`);
    return { type: ASCII, count: bytes.length, bytes };
  }
  const number = Number(value);
  const type = isFraction ? DOUBLE : number > LARGEST_SHORT ? LONG : SHORT;
  const bytes = new Uint8Array(isFraction ? 8 : type === LONG ? 4 : 2);
  const view = new DataView(bytes.buffer);
  if (isFraction) view.setFloat64(0, number);
  else if (type === LONG) view.setUint32(0, number);
  else view.setUint16(0, number);
  return { type, count: 1, bytes };
}

function even(length: number): number {
  return length + (length % 2);
}

function chunk(name: string, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, checksum(bytes.subarray(4, 8 + content.length)));
  return bytes;
}

const CHECKSUMS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** CRC-32 (PNG specification, annex D). */
function checksum(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = CHECKSUMS[(value ^ byte) & 255]! ^ (value >>> 8);
  return ~value >>> 0;
}
