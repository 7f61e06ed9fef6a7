/**
 * A canvas to paint on, as large as the image of a clip. It holds an image for the server: dark ink on white,
 * or, for a mask, white on black.
 */

import { Scope } from "../scope";
import { type BrushKind, type Dab, dabs, strokePoints } from "./brush";

/** Width and height of a clip's image in pixels: frames and frequency bands. */
export const CANVAS_SIZE = 512;
const MAX_UNDOS = 12;
/** Distance between the dabs of a stroke, as a fraction of the canvas. */
const SPACING = 0.006;

export interface Brush {
  kind: BrushKind;
  /** From 0, fine, to 1, broad. */
  size: number;
  /** Loudness, from 0 to 1. */
  ink: number;
}

export class PaintCanvas {
  readonly canvas: HTMLCanvasElement;
  private readonly context: CanvasRenderingContext2D;
  private undos: { readonly image: ImageData; readonly isEmpty: boolean }[] = [];
  private isBlank = true;
  private from: [number, number] | null = null;

  /**
   * @param brush settings that are read at every stroke
   * @param isMask whether this is a mask: white on black, without overtones
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
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    if (context === null) throw new Error("this browser has no 2D canvas");
    this.context = context;
    this.fill();
    scope.listen(this.canvas, "pointerdown", (event) => this.beginStroke(event));
    scope.listen(this.canvas, "pointermove", (event) => this.continueStroke(event));
    scope.listen(this.canvas, "pointerup", () => this.endStroke());
    scope.listen(this.canvas, "pointercancel", () => this.endStroke());
  }

  clear(): void {
    this.saveUndo();
    this.fill();
    this.onStroke();
  }

  undo(): void {
    const before = this.undos.pop();
    if (before) {
      this.context.putImageData(before.image, 0, 0);
      this.isBlank = before.isEmpty;
    }
    this.onStroke();
  }

  /** Whether nothing has been painted. */
  get isEmpty(): boolean {
    return this.isBlank;
  }

  get canUndo(): boolean {
    return this.undos.length > 0;
  }

  /** The image as the data URL of a PNG. */
  dataUrl(): string {
    return this.canvas.toDataURL("image/png");
  }

  private fill(): void {
    this.context.globalCompositeOperation = "source-over";
    this.context.fillStyle = this.isMask ? "black" : "white";
    this.context.fillRect(0, 0, CANVAS_SIZE, CANVAS_SIZE);
    this.isBlank = true;
  }

  private beginStroke(event: PointerEvent): void {
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.saveUndo();
    this.from = this.positionOf(event);
    this.paint(this.from);
  }

  private continueStroke(event: PointerEvent): void {
    if (this.from === null) return;
    const to = this.positionOf(event);
    for (const point of strokePoints(this.from, to, SPACING)) this.paint(point);
    this.from = to;
  }

  private endStroke(): void {
    if (this.from === null) return;
    this.from = null;
    this.onStroke();
  }

  /** Position of a pointer event in fractions of the canvas: from the left and from the bottom. */
  private positionOf(event: PointerEvent): [number, number] {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, 1 - (event.clientY - top) / height];
  }

  private paint([x, y]: readonly [number, number]): void {
    const { kind, size, ink } = this.brush;
    const isErasing = kind === "eraser";
    this.isBlank &&= isErasing;
    const shape: BrushKind = this.isMask ? "eraser" : kind; // a mask has a round brush
    const isDarkening = this.isMask === isErasing;
    for (const dab of dabs(shape, x, y, size, isErasing || this.isMask ? 1 : ink, Math.random)) {
      this.putDab(dab, isDarkening);
    }
  }

  /**
   * Paints a soft ellipse in black or white. Where it overlaps existing ink, the stronger value remains, so a
   * stroke does not get louder where its dabs overlap.
   */
  private putDab(dab: Dab, isDarkening: boolean): void {
    const { context } = this;
    const [full, none] = isDarkening ? [0, 255] : [255, 0];
    const grey = (strength: number): string => {
      const level = Math.round(none + strength * (full - none));
      return `rgb(${level} ${level} ${level})`;
    };
    context.save();
    context.globalCompositeOperation = isDarkening ? "darken" : "lighten";
    context.translate(dab.x * CANVAS_SIZE, (1 - dab.y) * CANVAS_SIZE);
    context.scale(dab.radiusX * CANVAS_SIZE, dab.radiusY * CANVAS_SIZE);
    const ink = context.createRadialGradient(0, 0, 0, 0, 0, 1);
    ink.addColorStop(0, grey(dab.ink));
    ink.addColorStop(this.isMask ? 0.8 : 0.4, grey(dab.ink));
    ink.addColorStop(1, grey(0));
    context.fillStyle = ink;
    context.beginPath();
    context.arc(0, 0, 1, 0, 2 * Math.PI);
    context.fill();
    context.restore();
  }

  private saveUndo(): void {
    const image = this.context.getImageData(0, 0, CANVAS_SIZE, CANVAS_SIZE);
    this.undos = [...this.undos, { image, isEmpty: this.isBlank }].slice(-MAX_UNDOS);
  }
}
