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
const [ASCII, LONG, DOUBLE] = [2, 4, 12];
const [HEADER_BYTES, ENTRY_BYTES] = [8, 12];

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

/** A big-endian TIFF with one directory: entries of tag, type, count and value, or where the value is. */
function exifOf(params: SpectrogramParams): Uint8Array<ArrayBuffer> {
  const text = (value: string | null): string => `${value ?? "none"}\0`;
  const valuesAt = HEADER_BYTES + 2 + TAGS.length * ENTRY_BYTES + 4;
  const bytes = new Uint8Array(valuesAt + TAGS.length * 8);
  const view = new DataView(bytes.buffer);
  bytes.set([0x4d, 0x4d, 0, 42, 0, 0, 0, HEADER_BYTES]);
  view.setUint16(HEADER_BYTES, TAGS.length);
  TAGS.forEach(([tag, name], i) => {
    const value = params[name];
    const entry = HEADER_BYTES + 2 + i * ENTRY_BYTES;
    const stored = valuesAt + i * 8;
    const isText = typeof value === "string" || value === null;
    const isFraction = name === "power_for_image";
    view.setUint16(entry, tag);
    view.setUint16(entry + 2, isText ? ASCII : isFraction ? DOUBLE : LONG);
    view.setUint32(entry + 4, isText ? text(value).length : 1);
    const place = isText && text(value).length <= 4 ? entry + 8 : stored;
    if (isText) bytes.set(new TextEncoder().encode(text(value)), place);
    else if (isFraction) view.setFloat64(stored, Number(value));
    if (!isText && !isFraction) view.setUint32(entry + 8, Number(value));
    else if (place === stored) view.setUint32(entry + 8, stored);
  });
  return bytes;
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
