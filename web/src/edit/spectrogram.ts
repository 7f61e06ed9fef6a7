/**
 * The spectrogram of one version of a recording, in several resolutions. It is filled tile by tile.
 *
 *     level 0   one column per 10 ms      level 1   one per 40 ms      level 2   one per 160 ms …
 *
 * A tile is 256 columns of its level, so a tile of level 0 becomes 64 columns of level 1.
 */

import { NUM_ROWS, TILE_COLUMNS } from "./mel_columns";

/** Columns of a level that become one column of the next. */
export const LEVEL_FACTOR = 4;
export const NUM_LEVELS = 4;
/** How much the largest of several columns counts against their mean: short sounds stay visible. */
const PEAK_SHARE = 0.5;

export class Spectrogram {
  readonly numTiles: number;
  private readonly levels: readonly Uint8Array<ArrayBuffer>[];
  private readonly known: Uint8Array;
  private numKnown = 0;

  constructor(readonly numColumns: number) {
    this.numTiles = Math.max(1, Math.ceil(numColumns / TILE_COLUMNS));
    this.known = new Uint8Array(this.numTiles);
    this.levels = Array.from({ length: NUM_LEVELS }, (_, level) => new Uint8Array(NUM_ROWS * this.columnsOf(level)));
  }

  get isComplete(): boolean {
    return this.numKnown === this.numTiles;
  }

  /** Number of columns that a level has room for. */
  columnsOf(level: number): number {
    return Math.ceil((this.numTiles * TILE_COLUMNS) / LEVEL_FACTOR ** level);
  }

  isKnown(tile: number): boolean {
    return this.known[tile] === 1;
  }

  /** Loudness of columns `first` to `last` of a level, `NUM_ROWS` bytes per column; silence where it is not known yet. */
  columns(level: number, first: number, last: number): Uint8Array {
    return (this.levels[level] ?? new Uint8Array()).subarray(first * NUM_ROWS, last * NUM_ROWS);
  }

  /** Fills in a tile of level 0. */
  put(tile: number, columns: Uint8Array): void {
    if (!this.isKnown(tile)) this.numKnown++;
    this.known[tile] = 1;
    this.levels[0]?.set(columns, tile * columns.length);
    let count = TILE_COLUMNS;
    for (let level = 1; level < NUM_LEVELS; level++) {
      count /= LEVEL_FACTOR;
      this.reduce(level, tile * count, count);
    }
  }

  /** Takes over the tiles of another version that are the same there. */
  adopt(other: Spectrogram, isSame: (tile: number) => boolean): void {
    for (let tile = 0; tile < Math.min(this.numTiles, other.numTiles); tile++) {
      if (!this.isKnown(tile) && other.isKnown(tile) && isSame(tile)) {
        this.put(tile, other.columns(0, tile * TILE_COLUMNS, (tile + 1) * TILE_COLUMNS));
      }
    }
  }

  /** The unknown tile that is nearest to the tiles `from` to `to`, and not awaited; null if there is none. */
  nextTile(from: number, to: number, awaited: ReadonlySet<number> = new Set()): number | null {
    let best: number | null = null;
    let least = Infinity;
    for (let tile = 0; tile < this.numTiles; tile++) {
      if (this.isKnown(tile) || awaited.has(tile)) continue;
      const distance = tile < from ? from - tile : Math.max(0, tile - to);
      if (distance < least) [best, least] = [tile, distance];
    }
    return best;
  }

  /** Computes `count` columns of a level from those of the level below. */
  private reduce(level: number, first: number, count: number): void {
    const [from, to] = [this.levels[level - 1], this.levels[level]];
    if (!from || !to) return;
    for (let i = first * NUM_ROWS; i < (first + count) * NUM_ROWS; i++) {
      const row = i % NUM_ROWS;
      let at = ((i - row) / NUM_ROWS) * LEVEL_FACTOR * NUM_ROWS + row;
      let [sum, most] = [0, 0];
      for (let k = 0; k < LEVEL_FACTOR; k++, at += NUM_ROWS) {
        const value = from[at] ?? 0;
        sum += value;
        if (value > most) most = value;
      }
      to[i] = PEAK_SHARE * most + ((1 - PEAK_SHARE) * sum) / LEVEL_FACTOR;
    }
  }
}

/** The coarsest level whose columns are at most `most` wide, if one of level 0 is `width` wide. */
export function levelFor(width: number, most: number): number {
  let level = 0;
  while (level < NUM_LEVELS - 1 && width * LEVEL_FACTOR ** (level + 1) <= most) level++;
  return level;
}
