/** Draws spectrograms from cached tiles, so that scrolling and zooming only copy images. */

import { NUM_ROWS, TILE_COLUMNS } from "../../edit/mel_columns";
import { LEVEL_FACTOR, NUM_LEVELS, type Spectrogram, levelFor } from "../../edit/spectrogram";
import type { ViewWindow } from "../../edit/view_window";
import { colourTable } from "../../timeline/colour";
import type { Seconds } from "../../units";

/** Tiles that are kept: about 160 kB each. */
const MAX_TILES = 160;
/** Columns are at most this wide in pixels of the screen, before a finer level is drawn. */
const MAX_COLUMN_PX = 1.5;

/** Where a spectrogram is drawn, in pixels of the canvas. */
export interface Place {
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export class TileCache {
  private readonly colours = new Uint32Array(colourTable(256).buffer);
  private readonly tiles = new Map<string, HTMLCanvasElement>();
  private readonly names = new WeakMap<Spectrogram, number>();
  private lastName = 0;

  /** Forgets what shows a tile of level 0 that has arrived. */
  forget(image: Spectrogram, tile: number): void {
    for (let level = 0; level < NUM_LEVELS; level++) {
      this.tiles.delete(this.key(image, level, Math.floor(tile / LEVEL_FACTOR ** level)));
    }
  }

  /**
   * Draws the part of a spectrogram that a window shows.
   *
   * @param columnTime time from one column to the next
   */
  draw(context: CanvasRenderingContext2D, image: Spectrogram, view: ViewWindow, columnTime: Seconds, { top, width, height }: Place): void {
    const pixelsPerSecond = width / view.span;
    const level = levelFor(columnTime * pixelsPerSecond, MAX_COLUMN_PX);
    const tileTime = TILE_COLUMNS * columnTime * LEVEL_FACTOR ** level;
    const begin = view.from + columnTime / 2; // a column is centred on its time
    const last = Math.min(Math.ceil(image.columnsOf(level) / TILE_COLUMNS) - 1, Math.floor((begin + view.span) / tileTime));
    context.imageSmoothingEnabled = true;
    for (let tile = Math.max(0, Math.floor(begin / tileTime)); tile <= last; tile++) {
      const left = Math.round((tile * tileTime - begin) * pixelsPerSecond);
      const right = Math.round(((tile + 1) * tileTime - begin) * pixelsPerSecond);
      context.drawImage(this.tile(image, level, tile), left, top, right - left, height);
    }
  }

  private tile(image: Spectrogram, level: number, tile: number): HTMLCanvasElement {
    const key = this.key(image, level, tile);
    const known = this.tiles.get(key) ?? this.render(image, level, tile);
    this.tiles.delete(key); // it becomes the most recently used one
    this.tiles.set(key, known);
    const [oldest] = this.tiles.keys();
    if (this.tiles.size > MAX_TILES && oldest !== undefined) this.tiles.delete(oldest);
    return known;
  }

  private render(image: Spectrogram, level: number, tile: number): HTMLCanvasElement {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [TILE_COLUMNS, NUM_ROWS];
    const context = canvas.getContext("2d");
    const picture = new ImageData(TILE_COLUMNS, NUM_ROWS);
    const pixels = new Uint32Array(picture.data.buffer);
    const columns = image.columns(level, tile * TILE_COLUMNS, (tile + 1) * TILE_COLUMNS);
    for (let column = 0; column < TILE_COLUMNS; column++) {
      for (let row = 0; row < NUM_ROWS; row++) {
        pixels[(NUM_ROWS - 1 - row) * TILE_COLUMNS + column] = this.colours[columns[column * NUM_ROWS + row] ?? 0] ?? 0;
      }
    }
    context?.putImageData(picture, 0, 0);
    return canvas;
  }

  private key(image: Spectrogram, level: number, tile: number): string {
    const name = this.names.get(image) ?? ++this.lastName;
    this.names.set(image, name);
    return `${name}:${level}:${tile}`;
  }
}
