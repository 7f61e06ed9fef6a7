/**
 * A sheet to paint on, as large as a clip's image. It holds what the server takes: ink on white, or,
 * as a mask, white on black.
 */

import { Scope } from "../scope";
import { type BrushKind, type Dab, dabs, strokePoints } from "./brush";

/** Columns and rows of a clip's image. */
export const CANVAS_SIZE = 512;
const MAX_UNDOS = 12;
const SPACING = 0.006;

export interface Brush {
  kind: BrushKind;
  /** From 0, fine, to 1. */
  size: number;
  /** From 0 to 1. */
  ink: number;
}

export class PaintCanvas {
  readonly canvas: HTMLCanvasElement;
  private readonly pen: CanvasRenderingContext2D;
  private undos: { readonly image: ImageData; readonly isEmpty: boolean }[] = [];
  private isUntouched = true;
  private from: [number, number] | null = null;

  /**
   * @param brush read at every stroke
   * @param isMask whether it is white on black, without overtones
   * @param onStroke called after each stroke
   */
  constructor(
    scope: Scope,
    private readonly brush: Brush,
    private readonly isMask: boolean,
    private readonly onStroke: () => void,
  ) {
    this.canvas = document.createElement("canvas");
    this.canvas.width = this.canvas.height = CANVAS_SIZE;
    const pen = this.canvas.getContext("2d", { willReadFrequently: true });
    if (pen === null) throw new Error("this browser has no 2D canvas");
    this.pen = pen;
    this.fill();
    scope.listen(this.canvas, "pointerdown", (event) => this.begin(event));
    scope.listen(this.canvas, "pointermove", (event) => this.goOn(event));
    scope.listen(this.canvas, "pointerup", () => this.end());
    scope.listen(this.canvas, "pointercancel", () => this.end());
  }

  clear(): void {
    this.remember();
    this.fill();
    this.onStroke();
  }

  undo(): void {
    const before = this.undos.pop();
    if (before) {
      this.pen.putImageData(before.image, 0, 0);
      this.isUntouched = before.isEmpty;
    }
    this.onStroke();
  }

  /** Whether there is nothing on it. */
  get isEmpty(): boolean {
    return this.isUntouched;
  }

  get canUndo(): boolean {
    return this.undos.length > 0;
  }

  /** The sheet as a PNG's data URL. */
  dataUrl(): string {
    return this.canvas.toDataURL("image/png");
  }

  private fill(): void {
    this.pen.globalCompositeOperation = "source-over";
    this.pen.fillStyle = this.isMask ? "black" : "white";
    this.pen.fillRect(0, 0, CANVAS_SIZE, CANVAS_SIZE);
    this.isUntouched = true;
  }

  private begin(event: PointerEvent): void {
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.remember();
    this.from = this.placeOf(event);
    this.touch(this.from);
  }

  private goOn(event: PointerEvent): void {
    if (this.from === null) return;
    const to = this.placeOf(event);
    for (const point of strokePoints(this.from, to, SPACING)) this.touch(point);
    this.from = to;
  }

  private end(): void {
    if (this.from === null) return;
    this.from = null;
    this.onStroke();
  }

  /** In shares of the sheet: from the left, and from the bottom. */
  private placeOf(event: PointerEvent): [number, number] {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, 1 - (event.clientY - top) / height];
  }

  private touch([x, y]: readonly [number, number]): void {
    const { kind, size, ink } = this.brush;
    const isErasing = kind === "eraser";
    this.isUntouched &&= isErasing;
    const shape: BrushKind = this.isMask ? "eraser" : kind; // a mask's brush is round
    const isDarkening = this.isMask === isErasing;
    for (const dab of dabs(shape, x, y, size, isErasing || this.isMask ? 1 : ink, Math.random)) {
      this.put(dab, isDarkening);
    }
  }

  /**
   * A soft ellipse, towards black or towards white. Of what is there and what comes, the stronger stays,
   * so a stroke doesn't get louder where its dabs overlap.
   */
  private put(dab: Dab, isDarkening: boolean): void {
    const { pen } = this;
    const [full, none] = isDarkening ? [0, 255] : [255, 0];
    const grey = (strength: number): string => {
      const level = Math.round(none + strength * (full - none));
      return `rgb(${level} ${level} ${level})`;
    };
    pen.save();
    pen.globalCompositeOperation = isDarkening ? "darken" : "lighten";
    pen.translate(dab.x * CANVAS_SIZE, (1 - dab.y) * CANVAS_SIZE);
    pen.scale(dab.radiusX * CANVAS_SIZE, dab.radiusY * CANVAS_SIZE);
    const ink = pen.createRadialGradient(0, 0, 0, 0, 0, 1);
    ink.addColorStop(0, grey(dab.ink));
    ink.addColorStop(this.isMask ? 0.8 : 0.4, grey(dab.ink));
    ink.addColorStop(1, grey(0));
    pen.fillStyle = ink;
    pen.beginPath();
    pen.arc(0, 0, 1, 0, 2 * Math.PI);
    pen.fill();
    pen.restore();
  }

  private remember(): void {
    const image = this.pen.getImageData(0, 0, CANVAS_SIZE, CANVAS_SIZE);
    this.undos = [...this.undos, { image, isEmpty: this.isUntouched }].slice(-MAX_UNDOS);
  }
}
