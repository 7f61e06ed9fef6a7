/**
 * A version of a recording as a list of pieces of sources: the recording itself, and what the server made.
 *
 *     original   |───────────── source 0 ─────────────|
 *     edited     |── source 0 ──|─ source 1 ─|─ 0 ────|
 *
 * Samples are never copied or changed by an edit, so all versions together need little memory, and what isn't
 * edited stays the same to the bit. All sources have the same format. Positions are samples.
 */

import type { PcmSamples } from "../audio/pcm";

/** Samples `start` to `stop` of a source. */
export interface Piece {
  readonly source: number;
  readonly start: number;
  readonly stop: number;
}

export type Pieces = readonly Piece[];
/** The channels of each source, by its number. */
export type Sources = ReadonlyMap<number, readonly PcmSamples[]>;

export function lengthOf(pieces: Pieces): number {
  return pieces.reduce((sum, { start, stop }) => sum + stop - start, 0);
}

/** The pieces from `start` to `stop`. */
export function cut(pieces: Pieces, start: number, stop: number): Pieces {
  const result: Piece[] = [];
  let at = 0;
  for (const piece of pieces) {
    const from = Math.max(start, at);
    const until = Math.min(stop, at + piece.stop - piece.start);
    if (from < until) result.push({ source: piece.source, start: piece.start + from - at, stop: piece.start + until - at });
    at += piece.stop - piece.start;
  }
  return joined(result);
}

/**
 * Replaces what is from `start` to `stop`.
 *
 * @throws RangeError if that isn't inside
 */
export function spliced(pieces: Pieces, start: number, stop: number, replacement: Pieces): Pieces {
  const length = lengthOf(pieces);
  if (!(0 <= start && start <= stop && stop <= length)) throw new RangeError(`${start} to ${stop} is not inside of ${length} samples`);
  return joined([...cut(pieces, 0, start), ...replacement, ...cut(pieces, stop, length)]);
}

/** Writes the samples of one channel from `start` on into all of `target`; 0 before the start and after the end. */
export function readSamples(pieces: Pieces, sources: Sources, channel: number, start: number, target: PcmSamples): void {
  target.fill(0);
  let at = Math.max(0, -start);
  for (const piece of cut(pieces, Math.max(0, start), start + target.length)) {
    const samples = sources.get(piece.source)?.[channel];
    if (samples === undefined) throw new RangeError(`there is no channel ${channel} of source ${piece.source}`);
    target.set(samples.subarray(piece.start, piece.stop), at);
    at += piece.stop - piece.start;
  }
}

/** Whether two versions have the same samples from `start` to `stop`, at the same place. */
export function isSame(a: Pieces, b: Pieces, start: number, stop: number): boolean {
  const [left, right] = [cut(a, start, stop), cut(b, start, stop)];
  return left.length === right.length && left.every((piece, i) => {
    const other = right[i];
    return piece.source === other?.source && piece.start === other.start && piece.stop === other.stop;
  });
}

/**
 * The position in `to` that is the same place of the music as `at` in `from`, for a comparison by ear.
 *
 * That is where the same sample of a source is. A place inside of something new is as far after its start as
 * it is in the other version. The result is within `to`.
 */
export function samePlace(from: Pieces, to: Pieces, at: number): number {
  const length = lengthOf(to);
  let before = 0; // where the piece begins in `from`
  let after = 0; // where the music before the piece ends in `to`
  for (const { source, start, stop } of from) {
    const end = before + stop - start;
    if (at < end) {
      const same = placeOf(to, source, start + at - before);
      return Math.min(length, same ?? after + at - before);
    }
    const last = placeOf(to, source, stop - 1);
    after = last === null ? after + stop - start : last + 1;
    before = end;
  }
  return Math.min(length, after);
}

/** Where a sample of a source is in a version; null if it isn't there. */
function placeOf(pieces: Pieces, source: number, sample: number): number | null {
  let at = 0;
  for (const piece of pieces) {
    if (piece.source === source && piece.start <= sample && sample < piece.stop) return at + sample - piece.start;
    at += piece.stop - piece.start;
  }
  return null;
}

/** Joins neighbours that continue each other, and leaves out empty pieces. */
function joined(pieces: Pieces): Pieces {
  const result: Piece[] = [];
  for (const piece of pieces) {
    const last = result.at(-1);
    if (piece.start === piece.stop) continue;
    if (last?.source === piece.source && last.stop === piece.start) result[result.length - 1] = { ...last, stop: piece.stop };
    else result.push(piece);
  }
  return result;
}
