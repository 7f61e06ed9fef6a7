/**
 * What a file says about its music besides the samples, so that the edited file says it, too: whole chunks of a WAV, or
 * whole metadata blocks of a FLAC, as they are in the file.
 *
 *     WAV:   name, size, content, and a byte of padding after an odd size; "LIST" is kept if it begins with "INFO"
 *     FLAC:  is it the last block (1 bit), type (7 bits), size (24 bits), content (RFC 9639, 8.1)
 */

/** Chunks of a WAV, or blocks of a FLAC. */
export type FileTags = readonly Uint8Array<ArrayBuffer>[];

const KEPT_CHUNKS: readonly string[] = ["bext", "iXML", "id3 ", "ID3 "];
const COMMENT_BLOCK = 4;
const PICTURE_BLOCK = 6;
const LAST_BLOCK = 0x80;
/** All tags together: they are kept in memory and in the browser's storage. */
const MAX_BYTES = 16 * 2 ** 20;

/** The INFO, bext, iXML and ID3 chunks of a WAV file, with their padding; none for other files. */
export function wavTags(file: ArrayBuffer): FileTags {
  const view = new DataView(file);
  const name = (offset: number): string => String.fromCharCode(...new Uint8Array(file, offset, 4));
  if (file.byteLength < 12 || name(0) !== "RIFF" || name(8) !== "WAVE") return [];
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 12; at + 8 <= file.byteLength; ) {
    const [chunk, size] = [name(at), view.getUint32(at + 4, true)];
    const end = at + 8 + size;
    if (end > file.byteLength) break;
    const isInfo = chunk === "LIST" && size >= 4 && name(at + 8) === "INFO";
    if (isInfo || (size > 0 && KEPT_CHUNKS.includes(chunk))) {
      const kept = new Uint8Array(8 + size + (size % 2));
      kept.set(new Uint8Array(file, at, 8 + size));
      chunks.push(kept);
    }
    at = end + (size % 2);
  }
  return withinLimit(chunks);
}

/** The comments and pictures of a FLAC file; none for other files. */
export function flacTags(file: ArrayBuffer): FileTags {
  const bytes = new Uint8Array(file);
  let at = id3Length(bytes);
  if (String.fromCharCode(...bytes.subarray(at, at + 4)) !== "fLaC") return [];
  const blocks: Uint8Array<ArrayBuffer>[] = [];
  at += 4;
  for (let isLast = false; !isLast && at + 4 <= bytes.length; ) {
    const [head, type] = [bytes[at]!, bytes[at]! & ~LAST_BLOCK];
    const end = at + 4 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!);
    if (end > bytes.length) break;
    if (type === COMMENT_BLOCK || type === PICTURE_BLOCK) {
      const block = bytes.slice(at, end);
      block[0] = type;
      blocks.push(block);
    }
    isLast = (head & LAST_BLOCK) !== 0;
    at = end;
  }
  return withinLimit(blocks);
}

/**
 * The metadata blocks of a new FLAC file after its stream info.
 *
 * @param own the encoder's blocks: its comment block, which only has the encoder's name
 */
export function flacBlocks(tags: FileTags, own: FileTags): FileTags {
  const hasComments = tags.some(([type]) => type === COMMENT_BLOCK);
  const blocks = [...tags, ...own.filter(([head]) => !hasComments || (head! & ~LAST_BLOCK) !== COMMENT_BLOCK)].map((block) => block.slice());
  blocks.forEach((block, i) => (block[0] = (block[0]! & ~LAST_BLOCK) | (i === blocks.length - 1 ? LAST_BLOCK : 0)));
  return blocks;
}

export function lengthOfTags(tags: FileTags): number {
  return tags.reduce((length, { length: bytes }) => length + bytes, 0);
}

/** Length of an ID3v2 tag at the start: ten bytes, and four times seven bits of size. */
export function id3Length(bytes: Uint8Array): number {
  if (String.fromCharCode(...bytes.subarray(0, 3)) !== "ID3") return 0;
  return 10 + [6, 7, 8, 9].reduce((size, at) => (size << 7) | ((bytes[at] ?? 0) & 127), 0);
}

function withinLimit(tags: FileTags): FileTags {
  let length = 0;
  return tags.filter((tag) => (length += tag.length) <= MAX_BYTES || ((length -= tag.length), false));
}
