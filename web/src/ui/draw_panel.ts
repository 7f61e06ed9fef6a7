/** Painting: draw a spectrogram and listen to it, or mark a part of the current clip to regenerate it. */

import { dataUrlFromBlob } from "../data_url";
import type { BrushKind } from "../draw/brush";
import { type Brush, PaintCanvas } from "../draw/paint_canvas";
import { nearestPrompt } from "../jam/clip";
import type { HeardClip, Session } from "../jam/session";
import type { Scope } from "../scope";
import type { ImageSource } from "../settings/settings";
import { shortened } from "../shorten";
import { noteName, frequencyAt } from "../timeline/pitch";
import { h } from "./dom";
import { sliderField } from "./fields";
import { previewButton } from "./preview_button";
import type { Panel } from "./sidebar";

const BRUSHES: readonly { readonly kind: BrushKind; readonly text: string }[] = [
  { kind: "tone", text: "Tone" },
  { kind: "hit", text: "Hit" },
  { kind: "spray", text: "Spray" },
  { kind: "eraser", text: "Erase" },
];
/** Brushes for a mask. The tone brush is round there and is called "Paint". */
const MASK_BRUSHES: readonly BrushKind[] = ["tone", "eraser"];
const NOTHING_PAINTED = "Nothing is painted yet. Paint something first.";

export class DrawPanel implements Panel {
  readonly name = "Draw";
  readonly element: HTMLElement;
  private readonly brush: Brush = { kind: "tone", size: 0.3, ink: 0.85 };
  private readonly drawing: PaintCanvas;
  private readonly mask: PaintCanvas;
  private readonly under = h("img", { class: "under ink", alt: "" });
  private readonly paper: HTMLElement;
  private readonly brushes = h("div", { class: "segments", role: "group", "aria-label": "Brush" });
  private readonly undo = h("button", { type: "button" }, "Undo");
  private readonly repaintButton = h("button", { type: "button", class: "primary" }, "Repaint");
  private readonly note = h("p", { class: "hint pitch-note", "aria-hidden": "true" });
  private readonly modes: [HTMLElement, HTMLElement];
  private readonly loudness: HTMLElement;
  private isMasking = false;
  private clip: HeardClip | null = null;

  /**
   * @param useAsSeed makes a image the jam's seed
   * @param showNotice shows a short message
   */
  constructor(
    scope: Scope,
    private readonly session: Session,
    private readonly useAsSeed: (source: ImageSource & { kind: "own" }) => void,
    private readonly showNotice: (message: string) => void,
  ) {
    this.drawing = new PaintCanvas(scope, this.brush, false, () => this.showUndo());
    this.mask = new PaintCanvas(scope, this.brush, true, () => this.showUndo());
    this.drawing.canvas.className = "paint-canvas ink";
    this.mask.canvas.className = "paint-canvas mask-canvas";
    for (const { canvas } of [this.drawing, this.mask]) {
      canvas.setAttribute("aria-label", "Drawing area: left to right is time, bottom to top is pitch");
      canvas.setAttribute("role", "img");
    }
    this.paper = h("div", { class: "paper" }, this.under, this.drawing.canvas, this.mask.canvas);
    const source = (): ImageSource & { kind: "own" } => ({ kind: "own", dataUrl: this.drawing.dataUrl(), name: "drawing" });
    const listen = previewButton(session, "Listen to the drawing", "Listen", async (signal) =>
      this.drawing.isEmpty
        ? { failure: { kind: "refused", message: NOTHING_PAINTED } }
        : session.clipSource.imageToAudio(source(), signal),
    showNotice);
    listen.classList.add("primary");
    const use = h("button", { type: "button" }, "Use as seed");
    const clear = h("button", { type: "button" }, "Clear");
    this.modes = [
      h("div", { class: "row" }, listen, use),
      h("div", { class: "row" }, this.repaintButton),
    ];
    const mode = h("div", { class: "segments", role: "group", "aria-label": "What to paint" }, h("button", { type: "button" }, "New loop"), h("button", { type: "button" }, "Current clip"));
    scope.listen(mode, "click", (event) => {
      const index = [...mode.children].indexOf(event.target as Element);
      if (index >= 0) this.setMasking(index === 1, mode);
    });
    scope.listen(use, "click", () => {
      if (this.drawing.isEmpty) return this.showNotice(NOTHING_PAINTED);
      this.useAsSeed(source());
      this.showNotice("New clips use your drawing as the seed loop");
    });
    scope.listen(clear, "click", () => this.paintCanvas.clear());
    scope.listen(this.undo, "click", () => this.paintCanvas.undo());
    scope.listen(this.repaintButton, "click", () => void this.repaint());
    scope.listen(this.paper, "pointermove", (event) => this.showNote(event));
    for (const { kind, text } of BRUSHES) {
      const button = h("button", { type: "button", "data-kind": kind }, text);
      scope.listen(button, "click", () => this.setBrush(kind));
      this.brushes.append(button);
    }
    const percent = (value: number): string => `${Math.round(100 * value)} %`;
    const size = sliderField(scope, "Size", "", { min: 0, max: 1, step: 0.05 }, percent, (value) => (this.brush.size = value));
    const ink = sliderField(scope, "Loudness", "", { min: 0.3, max: 1, step: 0.05 }, percent, (value) => (this.brush.ink = value));
    size.show(this.brush.size);
    ink.show(this.brush.ink);
    this.loudness = ink.element;
    this.element = h(
      "div",
      { class: "panel draw" },
      mode, this.paper, this.note, this.brushes,
      h("div", { class: "pair" }, size.element, ink.element),
      ...this.modes,
      h("div", { class: "row" }, this.undo, clear),
    );
    this.setBrush("tone");
    this.setMasking(false, mode);
    this.showUndo();
  }

  /** Shows the current clip under an empty mask. A mask that is painted on stays with its clip. */
  update(): void {
    const clip = this.session.heard?.clip;
    if (!this.isMasking || !this.mask.isEmpty || !clip || clip.id === this.clip?.id) return;
    if (this.under.src) URL.revokeObjectURL(this.under.src);
    this.clip = clip;
    this.under.src = URL.createObjectURL(clip.image);
    this.showHint();
  }

  private get paintCanvas(): PaintCanvas {
    return this.isMasking ? this.mask : this.drawing;
  }

  private setBrush(kind: BrushKind): void {
    this.brush.kind = kind;
    for (const button of this.brushes.children) {
      button.setAttribute("aria-pressed", String(button.getAttribute("data-kind") === kind));
    }
  }

  private setMasking(isMasking: boolean, mode: HTMLElement): void {
    const heard = this.session.heard?.clip ?? null;
    if (isMasking && heard === null) this.showNotice("Press play first: you can repaint a clip once it plays.");
    this.isMasking = isMasking && heard !== null;
    [...mode.children].forEach((button, i) => button.setAttribute("aria-pressed", String((i === 1) === this.isMasking)));
    this.modes[0].hidden = this.isMasking;
    this.modes[1].hidden = !this.isMasking;
    this.paper.classList.toggle("masking", this.isMasking);
    this.update();
    for (const button of this.brushes.querySelectorAll("button")) {
      const kind = BRUSHES.find(({ kind }) => kind === button.dataset["kind"]);
      button.hidden = this.isMasking && !MASK_BRUSHES.some((known) => known === kind?.kind);
      if (kind?.kind === "tone") button.textContent = this.isMasking ? "Paint" : kind.text;
    }
    if (this.isMasking && !MASK_BRUSHES.includes(this.brush.kind)) this.setBrush("tone");
    this.loudness.hidden = this.isMasking;
    this.showUndo();
    this.showHint();
  }

  private showHint(): void {
    this.note.textContent = this.isMasking && this.clip
      ? `Paint over the part of “${shortened(nearestPrompt(this.clip.stop))}” that should change.`
      : "Left to right is time, bottom to top is pitch. Bright is loud.";
  }

  private async repaint(): Promise<void> {
    if (this.clip === null) return;
    if (this.mask.isEmpty) return this.showNotice(NOTHING_PAINTED);
    this.repaintButton.disabled = true;
    const image = await dataUrlFromBlob(this.clip.image);
    const failure = await this.session.repaint(this.clip, image, this.mask.dataUrl(), new AbortController().signal);
    this.repaintButton.disabled = false;
    this.showNotice(failure ? failure.message : "The repainted clip plays next");
    if (!failure) this.mask.clear();
  }

  private showUndo(): void {
    this.undo.disabled = !this.paintCanvas.canUndo;
  }

  /** Shows the time and the pitch at the pointer. */
  private showNote(event: PointerEvent): void {
    if (this.isMasking) return;
    const { left, top, width, height } = this.drawing.canvas.getBoundingClientRect();
    const pitch = frequencyAt(Math.min(1, Math.max(0, 1 - (event.clientY - top) / height)));
    const time = Math.min(1, Math.max(0, (event.clientX - left) / width)) * this.session.clipDuration;
    this.note.textContent = `${time.toFixed(2)} s · ${Math.round(pitch)} Hz${pitch > 27 ? ` · ${noteName(pitch)}` : ""}`;
  }
}
