/** The Edit view: opens the user's recording, shows it, and keeps its versions. */

import type { Client } from "../../api/client";
import type { EditOrder } from "../../edit/edit_requests";
import { Editor } from "../../edit/editor";
import { openRecording } from "../../edit/open_recording";
import { lengthOf } from "../../edit/pieces";
import { type Project, monoOf, newProject } from "../../edit/project";
import { EditStore } from "../../edit/store";
import { type ViewWindow, following, fitted, including, zoomed } from "../../edit/view_window";
import type { Scope } from "../../scope";
import { loopOfSection } from "../../seed/cut_to_beats";
import type { Hertz, Seconds, Share } from "../../units";
import { h, isTyping, setText } from "../dom";
import type { Shortcut } from "../keyboard";
import { Downloads } from "./downloads";
import { EditCanvas } from "./edit_canvas";
import { EditForm } from "./edit_form";
import { editShortcuts, undoKey } from "./edit_keys";
import { type GestureTarget, listenForGestures, listenForOverview } from "./gestures";
import { SectionFields } from "./section_fields";
import { TakesBar } from "./takes_bar";
import { TileCache } from "./tile_cache";
import { Transport } from "./transport";
import { VersionsBar } from "./versions_bar";

/** What the zoomed view shows of a recording that was just opened. */
const FIRST_SPAN: Seconds = 20;

/** What follows a section and is crossfaded into its start. */
const SEAM: Seconds = 0.05;

/** A section that becomes the jam's seed loop. */
export interface LoopOfRecording {
  readonly name: string;
  readonly samples: Float32Array;
  readonly sampleRate: Hertz;
}

export class EditView implements GestureTarget {
  readonly element: HTMLElement;
  readonly shortcuts: readonly Shortcut[];
  editor: Editor | null = null;
  view: ViewWindow = { from: 0, span: FIRST_SPAN };
  private readonly store = new EditStore();
  private readonly tiles = new TileCache();
  private readonly overview: EditCanvas;
  private readonly zoom: EditCanvas;
  private readonly transport: Transport;
  private readonly downloads: Downloads;
  private readonly fields: SectionFields;
  private readonly form: EditForm;
  private readonly versions: VersionsBar;
  private readonly takes: TakesBar;
  private readonly name = h("h1", { class: "edit-name", dir: "auto" });
  private readonly note = h("p", { class: "hint" });
  private readonly desk: HTMLElement;
  private readonly files: HTMLElement;
  private readonly empty: HTMLElement;
  private projectScope: Scope | null = null;
  private isStale = true;
  private isUpdateDue = false;
  private hasRestored = false;
  private volume: Share = 1;
  private frameRequest = 0;

  /**
   * @param showNotice shows a short message
   * @param onUse called to make a section the jam's seed loop
   */
  constructor(
    private readonly scope: Scope,
    private readonly client: Client,
    private readonly showNotice: (message: string) => void,
    private readonly onUse: (loop: LoopOfRecording) => void,
  ) {
    const editor = (): Editor | null => this.editor;
    const changed = (): void => this.updateSoon();
    this.overview = new EditCanvas(scope, "The whole recording; the frame is what is shown below", this.tiles, true, () => this.drawSoon());
    this.zoom = new EditCanvas(scope, "Spectrogram: left to right is time, bottom to top is pitch", this.tiles, false, () => this.drawSoon());
    this.zoom.canvas.tabIndex = 0;
    this.zoom.canvas.setAttribute("role", "application");
    this.zoom.canvas.setAttribute("aria-roledescription", "editor");
    this.transport = new Transport(scope, editor, { zoom: (factor) => this.zoomBy(factor), changed });
    this.downloads = new Downloads(scope, editor, showNotice);
    this.fields = new SectionFields(scope, editor);
    this.form = new EditForm(scope, editor, (order) => void this.make(order), () => this.useSection());
    this.versions = new VersionsBar(editor);
    this.takes = new TakesBar(scope, editor);
    const file = h("input", { type: "file", accept: "audio/*", id: "edit-file", class: "visually-hidden", "aria-label": "Open a recording" });
    scope.listen(file, "change", () => {
      const chosen = file.files?.[0];
      if (chosen) void this.open(chosen);
      file.value = "";
    });
    this.files = h("div", { class: "edit-files", hidden: true }, h("label", { for: "edit-file", class: "button" }, "Open"), this.downloads.element);
    this.desk = h(
      "div",
      { class: "edit-desk", hidden: true },
      h(
        "div",
        { class: "edit-controls" },
        this.transport.element,
        h("div", { class: "edit-panel" }, h("div", { class: "edit-section" }, this.fields.element, this.fields.about), this.versions.element, this.takes.element, this.form.element),
      ),
      this.overview.element,
      this.zoom.element,
    );
    this.empty = h(
      "div",
      { class: "edit-empty" },
      h("h2", {}, "Edit your own recording"),
      h("p", { class: "hint" }, "Drop a WAV, FLAC, MP3 or M4A file here. Mark a part of it, say what should be there instead, and download the result. Only that part and a few seconds beside it are sent to the server."),
      h("div", {}, h("label", { for: "edit-file", class: "button primary" }, "Choose a recording")),
    );
    this.element = h(
      "section",
      { class: "edit", "aria-label": "Edit a recording", hidden: true },
      h("div", { class: "edit-head" }, h("div", { class: "edit-title" }, this.name, this.note), file, this.files),
      this.desk,
      this.empty,
    );
    this.shortcuts = editShortcuts(this, {
      focusPrompt: () => this.form.prompt.focus(),
      hearTake: (take) => this.takes.hear(take),
      download: () => void this.downloads.save(false),
      changed,
    });
    listenForGestures(scope, this.zoom, this, () => this.drawSoon());
    listenForOverview(scope, this.overview, this, () => this.drawSoon());
    scope.listen(window, "keydown", (event: KeyboardEvent) => {
      if (this.editor && this.isShown && !isTyping(event.target) && undoKey(event, this.editor)) event.preventDefault();
    });
    scope.add(() => cancelAnimationFrame(this.frameRequest));
  }

  get isShown(): boolean {
    return !this.element.hidden;
  }

  /** Shows or hides the view. The first time, the recording that was edited last comes back. */
  show(isShown: boolean): void {
    if (isShown === this.isShown) return;
    this.element.hidden = !isShown;
    if (!isShown) {
      this.editor?.player.stop();
      cancelAnimationFrame(this.frameRequest);
      return;
    }
    if (!this.hasRestored && this.editor === null) void this.restore();
    this.hasRestored = true;
    this.update();
    this.frame();
  }

  /** Sets the volume, from 0 to 1. */
  setVolume(volume: Share): void {
    this.volume = volume;
    this.editor?.player.setVolume(volume);
  }

  /** Opens a recording for editing. */
  async open(file: File): Promise<void> {
    this.hasRestored = true;
    setText(this.note, `Reading ${file.name} …`);
    const opened = await openRecording(file);
    if ("problem" in opened) {
      setText(this.note, this.editor?.project.note ?? "");
      this.showNotice(opened.problem);
      return;
    }
    const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
    const project = newProject(id, file.name, opened);
    this.setProject(project);
    if (!opened.isSame) this.showNotice(opened.note);
    void this.keep(project);
  }

  private async restore(): Promise<void> {
    const project = await this.store.latest();
    if (project && this.editor === null) this.setProject(project);
  }

  private setProject(project: Project): void {
    this.projectScope?.dispose();
    const scope = this.scope.child();
    this.projectScope = scope;
    this.editor = new Editor(
      scope, this.client, project, () => this.updateSoon(), (changed) => void this.keep(changed),
      (image, tile) => {
        this.tiles.forget(image, tile);
        this.drawSoon();
      },
    );
    this.editor.player.setVolume(this.volume);
    this.view = fitted({ from: 0, span: FIRST_SPAN }, this.editor.duration);
    setText(this.name, project.name);
    setText(this.note, project.note);
    this.name.title = project.note; // the note itself is hidden on small screens
    this.desk.hidden = false;
    this.files.hidden = false;
    this.empty.hidden = true;
    this.update();
  }

  private async keep(project: Project): Promise<void> {
    if (!(await this.store.save(project))) {
      this.showNotice("This browser has no room to keep the versions, so download what you want before you close the page.");
    }
  }

  private async make(order: EditOrder): Promise<void> {
    const { editor } = this;
    if (editor === null) return;
    const problem = await editor.make(order, (take) => {
      if (take === 0 && editor === this.editor) this.showChange(editor);
    });
    if (problem !== null) this.showNotice(problem);
  }

  private showChange(editor: Editor): void {
    const { change } = editor.version;
    if (change) this.view = including(this.view, editor.duration, change.start / editor.rate, change.stop / editor.rate);
    this.showNotice("Done. B compares before and after, at the same beat.");
    this.drawSoon();
  }

  private useSection(): void {
    const { editor } = this;
    if (!editor?.selection) return;
    const { project, version, selection, rate } = editor;
    const [start, stop] = [Math.round(selection.start * rate), Math.round((selection.stop + SEAM) * rate)];
    const end = Math.min(stop, lengthOf(version.pieces));
    const loop = loopOfSection(monoOf(project, version.pieces, start, end), 0, selection.stop - selection.start, rate);
    if ("problem" in loop) this.showNotice(loop.problem);
    else this.onUse({ name: project.name, samples: loop, sampleRate: rate });
  }

  private zoomBy(factor: number): void {
    const { editor, view } = this;
    if (editor === null) return;
    const { time, selection, duration } = editor;
    const isVisible = time >= view.from && time <= view.from + view.span;
    const at = selection ? (selection.start + selection.stop) / 2 : isVisible ? time : view.from + view.span / 2;
    this.view = zoomed(view, duration, factor, Math.min(view.from + view.span, Math.max(view.from, at)));
    this.drawSoon();
  }

  private updateSoon(): void {
    if (this.isUpdateDue) return;
    this.isUpdateDue = true;
    queueMicrotask(() => {
      this.isUpdateDue = false;
      this.update();
    });
  }

  private update(): void {
    if (!this.isShown) return;
    if (this.editor) this.view = fitted(this.view, this.editor.duration);
    this.transport.update();
    this.downloads.update();
    this.takes.update();
    this.fields.update();
    this.form.update();
    this.versions.update();
    this.drawSoon();
  }

  private drawSoon(): void {
    this.isStale = true;
  }

  /** The only render loop of the view. It draws when something has changed or moves. */
  private frame(): void {
    this.frameRequest = requestAnimationFrame(() => this.frame());
    const { editor } = this;
    const isPlaying = editor?.player.isPlaying ?? false;
    if (editor === null || !(this.isStale || isPlaying)) return;
    if (isPlaying) {
      const shown = following(this.view, editor.duration, editor.time);
      if (shown !== this.view) this.isStale = true;
      this.view = shown;
      this.transport.showTime();
    }
    const whole = { from: 0, span: editor.duration };
    this.zoom.movePlayhead(editor, this.view);
    this.overview.movePlayhead(editor, whole);
    if (!this.isStale) return;
    this.isStale = false;
    this.zoom.draw(editor, this.view, null);
    this.overview.draw(editor, whole, this.view);
  }
}
