/** The buttons above the timeline: playback, before and after, undo and redo, snapping, zoom. */

import type { Editor } from "../../edit/editor";
import { versionBefore } from "../../edit/history";
import { timeText } from "../../edit/view_window";
import type { Scope } from "../../scope";
import { h, setText } from "../dom";
import { type IconName, icon, setIcon } from "../icons";

export interface TransportActions {
  zoom(factor: number): void;
  /** Called when an option has changed. */
  changed(): void;
}

export class Transport {
  readonly element: HTMLElement;
  private readonly play: HTMLButtonElement;
  private readonly before = h("button", { type: "button", title: "Before the last edit (B)" }, "Before");
  private readonly after = h("button", { type: "button", title: "After the last edit (B)" }, "After");
  private readonly undo: HTMLButtonElement;
  private readonly redo: HTMLButtonElement;
  private readonly snap = h("button", { type: "button", title: "Snap to beats (G)" }, "Snap");
  private readonly repeat = h("button", { type: "button", title: "Repeat the section (R)" }, "Repeat");
  private readonly time = h("p", { class: "edit-time" });

  constructor(scope: Scope, private readonly editor: () => Editor | null, { zoom, changed }: TransportActions) {
    const button = (name: IconName, label: string, act: (editor: Editor) => void, className = "quiet"): HTMLButtonElement => {
      const element = h("button", { type: "button", class: className, "aria-label": label, title: label }, icon(name));
      onClick(element, act);
      return element;
    };
    const onClick = (element: HTMLElement, act: (editor: Editor) => void): void => scope.listen(element, "click", () => {
      const current = editor();
      if (current === null) return;
      act(current);
      changed();
    });
    this.play = button("play", "Play", (current) => current.togglePlay(), "play");
    this.undo = button("undo", "Undo (U)", (current) => current.undo());
    this.redo = button("redo", "Redo (Y)", (current) => current.redo());
    onClick(this.before, (current) => current.compare(true));
    onClick(this.after, (current) => current.compare(false));
    onClick(this.snap, (current) => (current.isSnapping = !current.isSnapping));
    onClick(this.repeat, (current) => current.setRepeating(!current.isRepeating));
    this.element = h(
      "div",
      { class: "edit-bar" },
      this.play,
      this.time,
      h("div", { class: "segments", role: "group", "aria-label": "Compare" }, this.before, this.after),
      h("div", { class: "edit-group" }, this.undo, this.redo),
      h("div", { class: "segments", role: "group", "aria-label": "Options" }, this.snap, this.repeat),
      h(
        "div",
        { class: "edit-group" },
        button("minus", "Zoom out (−)", () => zoom(1 / 2)),
        button("plus", "Zoom in (+)", () => zoom(2)),
        button("whole", "Show the whole recording (0)", () => zoom(0)),
      ),
    );
  }

  update(): void {
    const editor = this.editor();
    if (editor === null) return;
    const { history } = editor.project;
    const { isPlaying } = editor.player;
    setIcon(this.play, isPlaying ? "pause" : "play");
    const label = isPlaying ? "Pause" : "Play";
    this.play.setAttribute("aria-label", label);
    this.play.title = `${label} (space)`;
    const hasBefore = versionBefore(history) !== null;
    for (const [button, isOn] of [[this.before, editor.isBefore], [this.after, hasBefore && !editor.isBefore]] as const) {
      button.disabled = !hasBefore;
      button.setAttribute("aria-pressed", String(isOn));
    }
    this.undo.disabled = !hasBefore;
    this.redo.disabled = history.undone.length === 0;
    this.snap.setAttribute("aria-pressed", String(editor.isSnapping));
    this.repeat.setAttribute("aria-pressed", String(editor.isRepeating));
    this.showTime();
  }

  /** Shows the time of the playhead; called in every frame while it moves. */
  showTime(): void {
    const editor = this.editor();
    if (editor) setText(this.time, `${timeText(editor.time, 0.1)} / ${timeText(editor.duration, 1)}`);
  }
}
