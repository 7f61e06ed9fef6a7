/**
 * Draws a part of a recording: its spectrogram, beats, what is marked, and what was changed. The playhead is an
 * element over the canvas: nothing is drawn again while it moves.
 */

import type { Editor } from "../../edit/editor";
import { hopOf } from "../../edit/mel_columns";
import { type ViewWindow, labelStep, timeText, xOf } from "../../edit/view_window";
import type { Scope } from "../../scope";
import { PITCH_MARKS, heightOf } from "../../timeline/pitch";
import type { Seconds } from "../../units";
import { h } from "../dom";
import type { TileCache } from "./tile_cache";

/** Height of the ruler with times, in CSS pixels. */
export const RULER_PX = 22;
const LABEL_DISTANCE_PX = 74;
const MIN_BEAT_PX = 7;
/** Height of the mark of a beat in the ruler. */
const BEAT_TICK_PX = 4;
const CHANGE_PX = 4;
const NIGHT = "#0f0e14";
const TEXT = "#ece7e1";
const QUIET = "#b9b2c3";
const BEAT = "rgb(236 231 225 / 0.28)";
const SHADE = "rgb(15 14 20 / 0.55)";
const ACCENT = "#ec7a61";

export class EditCanvas {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  private readonly playhead = h("div", { class: "edit-playhead" });
  /** Size in CSS pixels. */
  width = 0;
  height = 0;
  private readonly context: CanvasRenderingContext2D;

  /**
   * @param isOverview whether it shows the whole recording, without a ruler and beats
   * @param onResize called when it must be drawn again
   */
  constructor(
    scope: Scope,
    label: string,
    private readonly tiles: TileCache,
    private readonly isOverview: boolean,
    onResize: () => void,
  ) {
    this.canvas = h("canvas", { "aria-label": label, role: "img" });
    this.element = h("div", { class: isOverview ? "edit-overview" : "edit-zoom" }, this.canvas, this.playhead);
    this.playhead.style.top = `${this.top}px`;
    const context = this.canvas.getContext("2d", { alpha: false });
    if (context === null) throw new Error("this browser has no 2D canvas");
    this.context = context;
    const observer = new ResizeObserver(() => {
      this.resize();
      onResize();
    });
    observer.observe(this.canvas);
    scope.add(() => observer.disconnect());
  }

  /** The top of the spectrogram in CSS pixels. */
  get top(): number {
    return this.isOverview ? 0 : RULER_PX;
  }

  /**
   * @param view the part to draw
   * @param zoomed for the overview: the part that the zoomed view shows
   */
  draw(editor: Editor, view: ViewWindow, zoomed: ViewWindow | null): void {
    const { context, width, height, top } = this;
    if (width === 0 || height === 0) return;
    const ratio = this.canvas.width / width;
    const columnTime = hopOf(editor.rate) / editor.rate;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = NIGHT;
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const focus = zoomed ?? view;
    const image = editor.analysis.spectrogramOf(editor.version, focus.from / columnTime, (focus.from + focus.span) / columnTime);
    this.tiles.draw(context, image, view, columnTime, { top: top * ratio, width: this.canvas.width, height: (height - top) * ratio });
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.drawChange(editor, view);
    this.drawSelection(editor, view);
    this.drawMaking(editor, view);
    if (!this.isOverview) {
      this.drawBeats(editor, view);
      this.drawRuler(view);
      this.drawPitches();
    }
    if (zoomed) this.drawFrame(xOf(view, width, zoomed.from), xOf(view, width, zoomed.from + zoomed.span));
  }

  /** Moves the playhead to the editor's time. */
  movePlayhead(editor: Editor, view: ViewWindow): void {
    const x = xOf(view, this.width, editor.time);
    this.playhead.style.transform = `translateX(${Math.min(this.width + 4, Math.max(-4, x - 1)).toFixed(2)}px)`;
  }

  private drawBeats(editor: Editor, view: ViewWindow): void {
    const beats = editor.analysis.beatsOf(editor.version)?.beats ?? [];
    const [first, second] = [beats[0] ?? 0, beats[1] ?? 1];
    const distance = ((second - first) / view.span) * this.width;
    let every = 1;
    while (every * distance < MIN_BEAT_PX && every < 64) every *= 2;
    for (let i = 0; i < beats.length; i += every) {
      const beat = beats[i] ?? 0;
      if (beat < view.from || beat > view.from + view.span) continue;
      const x = Math.round(xOf(view, this.width, beat));
      this.context.fillStyle = BEAT;
      this.context.fillRect(x, RULER_PX, 1, this.height - RULER_PX);
      this.context.fillStyle = ACCENT;
      this.context.fillRect(x - 1, RULER_PX - BEAT_TICK_PX, 3, BEAT_TICK_PX);
    }
  }

  private drawRuler(view: ViewWindow): void {
    const { context, width } = this;
    const step = labelStep(view, width, LABEL_DISTANCE_PX);
    context.fillStyle = QUIET;
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (let time = Math.ceil(view.from / step) * step; time <= view.from + view.span; time += step) {
      const x = xOf(view, width, time);
      context.fillRect(Math.round(x), 0, 1, RULER_PX - BEAT_TICK_PX - 2);
      if (x + LABEL_DISTANCE_PX / 2 < width) context.fillText(timeText(time, step), Math.round(x) + 4, RULER_PX / 2 - 1);
    }
  }

  private drawPitches(): void {
    const { context } = this;
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.lineWidth = 4;
    context.lineJoin = "round";
    let last = Infinity;
    for (const { frequency, label } of PITCH_MARKS) {
      const y = this.yOf(heightOf(frequency));
      if (last - y < 14) continue;
      last = y;
      context.strokeStyle = NIGHT;
      context.strokeText(label, 6, y);
      context.fillStyle = QUIET;
      context.fillText(label, 6, y);
    }
  }

  /** A bar below what an edit has replaced. */
  private drawChange(editor: Editor, view: ViewWindow): void {
    const { change } = editor.version;
    if (change === null) return;
    this.context.fillStyle = ACCENT;
    const left = xOf(view, this.width, change.start / editor.rate);
    const right = xOf(view, this.width, change.stop / editor.rate);
    this.context.fillRect(left, this.height - CHANGE_PX, Math.max(2, right - left), CHANGE_PX);
  }

  private drawSelection({ selection }: Editor, view: ViewWindow): void {
    if (selection === null) return;
    const { context, width, height, top } = this;
    const [left, right] = [xOf(view, width, selection.start), xOf(view, width, selection.stop)];
    context.fillStyle = SHADE;
    context.fillRect(0, top, left, height - top);
    context.fillRect(right, top, width - right, height - top);
    if (selection.band) {
      const [high, low] = [this.yOf(heightOf(selection.band.high)), this.yOf(heightOf(selection.band.low))];
      context.fillRect(left, top, right - left, high - top);
      context.fillRect(left, low, right - left, height - low);
      this.frame(left, high, right - left, low - high);
    }
    this.frame(left, top, right - left, height - top);
  }

  /** A frame that is visible on every colour. */
  private frame(x: number, y: number, width: number, height: number): void {
    const { context } = this;
    for (const [colour, line] of [[NIGHT, 4], [TEXT, 2]] as const) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(x, y + 1, width, height - 2);
    }
  }

  /** Covers the region that the server works on, as far as it has come; further takes don't cover the first one. */
  private drawMaking({ making, rate }: Editor, view: ViewWindow): void {
    if (making === null || making.take > 0) return;
    const { region, order } = making.plan;
    const extra: Seconds = order.action === "extend" ? Math.min(order.seconds, 0.05 * view.span) : 0;
    const left = xOf(view, this.width, region.start / rate - (order.side === "start" ? extra : 0));
    const right = xOf(view, this.width, region.stop / rate + (order.side === "end" ? extra : 0));
    const share = making.steps > 0 ? making.step / making.steps : 0;
    this.context.fillStyle = "rgb(236 122 97 / 0.25)";
    this.context.fillRect(left, this.top, right - left, this.height - this.top);
    this.context.fillStyle = "rgb(236 122 97 / 0.55)";
    this.context.fillRect(left, this.top, share * (right - left), this.height - this.top);
  }

  private drawFrame(left: number, right: number): void {
    this.context.fillStyle = SHADE;
    this.context.fillRect(0, 0, left, this.height);
    this.context.fillRect(right, 0, this.width - right, this.height);
    this.context.strokeStyle = TEXT;
    this.context.lineWidth = 2;
    this.context.strokeRect(left + 1, 1, Math.max(2, right - left - 2), this.height - 2);
  }

  private yOf(share: number): number {
    return this.top + (1 - share) * (this.height - this.top);
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = Math.min(2, devicePixelRatio || 1);
    [this.width, this.height] = [clientWidth, clientHeight];
    [this.canvas.width, this.canvas.height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
  }
}
