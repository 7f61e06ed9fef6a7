/**
 * The parameters that a spectrogram image was made with, in its EXIF data.
 *
 *   PNG    a chunk eXIf        JPEG   a segment APP1 that begins with "Exif"        WebP   a chunk EXIF
 *
 * EXIF data is a TIFF file: byte order, then a directory of entries with tag, type, count and value; values of more than
 * four bytes are elsewhere in the file.
 */

import type { SpectrogramParams } from "./spectrogram_params";

export interface RecordedParams {
  readonly params: SpectrogramParams;
  /** Amplitude of black; null if it is not recorded. */
  readonly maxValue: number | null;
}

/** Fields that are not recorded are upstream's. */
const DEFAULTS: SpectrogramParams = {
  stereo: false, sample_rate: 44_100, step_size_ms: 10, window_duration_ms: 100, padded_duration_ms: 400, num_frequencies: 512,
  min_frequency: 0, max_frequency: 10_000, mel_scale_norm: null, mel_scale_type: "htk", max_mel_iters: 200,
  num_griffin_lim_iters: 32, power_for_image: 0.25,
};
/** See `spectrogram/params.py`. */
const TAGS: ReadonlyMap<number, keyof SpectrogramParams> = new Map([
  [11000, "sample_rate"], [11005, "stereo"], [11010, "step_size_ms"], [11020, "window_duration_ms"], [11030, "padded_duration_ms"],
  [11040, "num_frequencies"], [11050, "min_frequency"], [11060, "max_frequency"], [11070, "power_for_image"],
  [11090, "mel_scale_norm"], [11100, "mel_scale_type"], [11110, "max_mel_iters"], [11120, "num_griffin_lim_iters"],
]);
const [SAMPLE_RATE_TAG, MAX_VALUE_TAG] = [11000, 11080];
const [PNG_HEADER_BYTES, RIFF_HEADER_BYTES, JPEG_HEADER_BYTES] = [8, 12, 2];
const [APP1, START_OF_SCAN] = [0xffe1, 0xffda];
const EXIF_PREFIX = "Exif\0\0";

/**
 * The recorded parameters of an image file; null if it has none, or if its EXIF data is damaged. Their values may be
 * anything: see `checkParams`.
 */
export function recordedParams(file: Uint8Array<ArrayBuffer>): RecordedParams | null {
  try {
    const tiff = exifOf(new DataView(file.buffer, file.byteOffset, file.byteLength));
    const tags = tiff === null ? null : tagsOf(tiff);
    if (!tags?.has(SAMPLE_RATE_TAG)) return null;
    const found = [...TAGS].filter(([tag]) => tags.has(tag)).map(([tag, name]) => [name, valueOf(name, tags.get(tag)!)]);
    const maxValue = tags.get(MAX_VALUE_TAG);
    return {
      params: { ...DEFAULTS, ...(Object.fromEntries(found) as Partial<SpectrogramParams>) },
      maxValue: typeof maxValue === "number" && maxValue > 0 ? maxValue : null,
    };
  } catch (error) {
    if (error instanceof RangeError) return null; // a place outside of the file
    throw error;
  }
}

function valueOf(name: keyof SpectrogramParams, value: number | string): unknown {
  if (name === "stereo") return value === 1 ? true : value === 0 ? false : value;
  return value === "none" ? null : value;
}

/** The TIFF inside of an image file. */
function exifOf(file: DataView): DataView | null {
  const size = file.byteLength;
  if (text(file, 1, 3) === "PNG") {
    for (let at = PNG_HEADER_BYTES; at + 12 <= size; at += 12 + file.getUint32(at)) {
      if (text(file, at + 4, 4) === "eXIf") return part(file, at + 8, file.getUint32(at));
    }
  } else if (text(file, 0, 4) === "RIFF" && text(file, 8, 4) === "WEBP") {
    for (let at = RIFF_HEADER_BYTES; at + 8 <= size; at += 8 + even(file.getUint32(at + 4, true))) {
      if (text(file, at, 4) === "EXIF") return withoutPrefix(part(file, at + 8, file.getUint32(at + 4, true)));
    }
  } else if (file.getUint16(0) === 0xffd8) {
    for (let at = JPEG_HEADER_BYTES; at + 4 <= size && file.getUint16(at) !== START_OF_SCAN; at += 2 + file.getUint16(at + 2)) {
      const isExif = file.getUint16(at) === APP1 && text(file, at + 4, EXIF_PREFIX.length) === EXIF_PREFIX;
      if (isExif) return withoutPrefix(part(file, at + 4, file.getUint16(at + 2) - 2));
    }
  }
  return null;
}

/** The numbers and texts of a TIFF's first directory, by tag. */
function tagsOf(tiff: DataView): Map<number, number | string> {
  const isLittle = text(tiff, 0, 2) === "II";
  const start = tiff.getUint32(4, isLittle);
  const tags = new Map<number, number | string>();
  for (let i = 0; i < tiff.getUint16(start, isLittle); i++) {
    const entry = start + 2 + 12 * i;
    const value = valueAt(tiff, entry, isLittle);
    if (value !== null) tags.set(tiff.getUint16(entry, isLittle), value);
  }
  return tags;
}

/** The first value of an entry; null for types that parameters don't have. */
function valueAt(tiff: DataView, entry: number, isLittle: boolean): number | string | null {
  const [type, count] = [tiff.getUint16(entry + 2, isLittle), tiff.getUint32(entry + 4, isLittle)];
  const inline = entry + 8;
  const elsewhere = (): number => tiff.getUint32(inline, isLittle);
  switch (type) {
    case 1:
      return tiff.getUint8(inline);
    case 2: {
      const ascii = text(tiff, count > 4 ? elsewhere() : inline, count);
      return ascii.split("\0", 1)[0] ?? "";
    }
    case 3:
      return tiff.getUint16(inline, isLittle);
    case 4:
      return tiff.getUint32(inline, isLittle);
    case 5:
      return tiff.getUint32(elsewhere(), isLittle) / tiff.getUint32(elsewhere() + 4, isLittle);
    case 9:
      return tiff.getInt32(inline, isLittle);
    case 11:
      return tiff.getFloat32(inline, isLittle);
    case 12:
      return tiff.getFloat64(elsewhere(), isLittle);
    default:
      return null;
  }
}

function withoutPrefix(exif: DataView): DataView {
  return text(exif, 0, EXIF_PREFIX.length) === EXIF_PREFIX ? part(exif, EXIF_PREFIX.length, exif.byteLength - EXIF_PREFIX.length) : exif;
}

function part(view: DataView, start: number, length: number): DataView {
  return new DataView(view.buffer, view.byteOffset + start, length);
}

/** Bytes as text; shorter where the file ends. */
function text(view: DataView, start: number, length: number): string {
  const end = Math.min(start + length, view.byteLength);
  return String.fromCharCode(...Array.from({ length: Math.max(0, end - start) }, (_, i) => view.getUint8(start + i)));
}

function even(length: number): number {
  return length + (length % 2);
}
