/** What is marked, as numbers that can be typed: start, end, and the lowest and highest pitch. */

import type { Editor } from "../../edit/editor";
import { type Selection, beatsIn, ordered } from "../../edit/selection";
import type { Scope } from "../../scope";
import { HIGHEST, noteName } from "../../timeline/pitch";
import { h, setText } from "../dom";

type FieldName = "start" | "stop" | "low" | "high";
const LABELS: Record<FieldName, string> = { start: "From", stop: "To", low: "Lowest", high: "Highest" };

export class SectionFields {
  readonly element: HTMLElement;
  private readonly inputs: Record<FieldName, HTMLInputElement>;
  /** What is marked, in words. */
  readonly about = h("p", { class: "hint edit-about", role: "status", "aria-live": "polite" });
  private isApplying = false;
  private readonly clear = h("button", { type: "button" }, "Clear");

  constructor(scope: Scope, private readonly editor: () => Editor | null) {
    const input = (name: FieldName): HTMLInputElement => {
      const unit = name === "start" || name === "stop" ? "seconds" : "Hz";
      const element = h("input", { type: "text", inputmode: "decimal", autocomplete: "off", "aria-label": `${LABELS[name]}, in ${unit}` });
      scope.listen(element, "change", () => this.apply(name, element.value));
      return element;
    };
    this.inputs = { start: input("start"), stop: input("stop"), low: input("low"), high: input("high") };
    scope.listen(this.clear, "click", () => editor()?.mark(null));
    const field = (name: FieldName, unit: string): HTMLElement =>
      h("label", { class: "edit-field" }, h("span", {}, LABELS[name]), this.inputs[name], h("span", { class: "hint" }, unit));
    this.element = h(
      "div",
      { class: "edit-fields", role: "group", "aria-label": "Marked section" },
      field("start", "s"), field("stop", "s"), field("low", "Hz"), field("high", "Hz"), this.clear,
    );
  }

  update(): void {
    const editor = this.editor();
    const selection = editor?.selection ?? null;
    this.show("start", selection ? selection.start.toFixed(3) : "");
    this.show("stop", selection ? selection.stop.toFixed(3) : "");
    this.show("low", selection?.band ? String(selection.band.low) : "");
    this.show("high", selection?.band ? String(selection.band.high) : "");
    for (const name of ["low", "high"] as const) {
      this.inputs[name].disabled = selection === null;
      this.inputs[name].placeholder = selection === null ? "" : "all";
    }
    this.clear.disabled = selection === null;
    if (editor) setText(this.about, describe(editor));
  }

  private show(name: FieldName, text: string): void {
    const input = this.inputs[name];
    if (document.activeElement !== input || this.isApplying) input.value = text; // the user types otherwise
  }

  /** Marks what was typed. Nonsense is replaced by what is marked. */
  private apply(name: FieldName, text: string): void {
    const editor = this.editor();
    if (editor === null) return;
    const { selection, duration } = editor;
    const value = text.trim() === "" ? null : secondsFrom(text);
    const changed = value !== null && !(value >= 0) ? selection : withValue(selection, name, value, duration);
    editor.mark(changed);
    this.isApplying = true;
    this.update();
    this.isApplying = false;
  }
}

/** A number, or a time as `m:ss`; NaN for anything else. */
export function secondsFrom(text: string): number {
  const [, minutes, seconds] = /^(?:(\d+):)?(\d*[.,]?\d+)$/.exec(text.trim()) ?? [];
  return seconds === undefined ? NaN : 60 * Number(minutes ?? 0) + Number(seconds.replace(",", "."));
}

/** The section with one of its numbers replaced; null takes the mark, or the edge of the band, away. */
export function withValue(selection: Selection | null, name: FieldName, value: number | null, duration: number): Selection | null {
  if (name === "start" || name === "stop") {
    if (value === null) return null;
    const time = Math.min(duration, value);
    const other = name === "start" ? (selection?.stop ?? duration) : (selection?.start ?? 0);
    const section = ordered(time, other);
    return section ? { ...section, band: selection?.band ?? null } : selection;
  }
  if (selection === null) return null;
  const low = name === "low" ? (value ?? 0) : (selection.band?.low ?? 0);
  const high = name === "high" ? (value ?? HIGHEST) : (selection.band?.high ?? HIGHEST);
  if (low === 0 && high >= HIGHEST) return { ...selection, band: null };
  return high > low ? { ...selection, band: { low, high } } : selection;
}

/** What is marked, in words. */
function describe(editor: Editor): string {
  const { selection, version, analysis } = editor;
  const grid = analysis.beatsOf(version);
  const tempo = grid ? `${grid.tempo.toFixed(1)} BPM` : analysis.isFindingBeats(version) ? "looking for the beat …" : "no beat found, so nothing snaps";
  if (selection === null) return `Drag over the spectrogram to mark a section · ${tempo}`;
  const beats = beatsIn(selection, grid?.beats ?? null);
  const parts = [`${(selection.stop - selection.start).toFixed(2)} s`];
  if (beats !== null) parts.push(`${beats} ${beats === 1 ? "beat" : "beats"}`);
  if (selection.band) parts.push(`${noteName(Math.max(20, selection.band.low))} to ${noteName(selection.band.high)}`);
  else parts.push("drag up or down inside it for a band of pitch");
  return `${parts.join(" · ")} · ${tempo}`;
}
