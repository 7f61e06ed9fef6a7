/** What should be done: the prompt, the kind of edit and its options, and the progress of the server. */

import { type EditAction, type EditOrder, NUM_TAKES } from "../../edit/edit_requests";
import type { Editor } from "../../edit/editor";
import { beatsIn } from "../../edit/selection";
import type { Scope } from "../../scope";
import { MAX_PROMPT_CHARACTERS } from "../../settings/settings";
import { h, setText } from "../dom";
import { Destination } from "./destination";

const ACTIONS: readonly { readonly action: EditAction; readonly text: string; readonly about: string }[] = [
  { action: "replace", text: "Replace", about: "Something new in place of the marked section. What is beside it stays." },
  { action: "restyle", text: "Restyle", about: "Another sound for the marked section, with its beat and its course." },
  { action: "extend", text: "Extend", about: "The recording continues, with its own beat." },
  { action: "loop", text: "Loop", about: "A loop of whole beats out of the marked section." },
  { action: "between", text: "Between", about: "A piece that leads from the marked section to another one, clip by clip." },
];
/** Strength of a restyle: 0.5 keeps the beat and the course of the music. */
const STRENGTH = { min: 0.1, max: 1, step: 0.05, usual: 0.5 };
const EXTENSION = { min: 1, max: 30, usual: 8 };
const MAX_BEATS = 64;
/** Clips of a piece, and what it may take: `riffusion between` has the same default. */
const CLIPS = { min: 2, max: 24, usual: 6 };
/** What is typed, by what is done. */
const PLACEHOLDERS: Partial<Record<EditAction, string>> = { loop: "A loop needs no prompt", between: "What is heard? (optional)" };
const SEED_LIMIT = 10_000;

export class EditForm {
  readonly element: HTMLElement;
  readonly prompt: HTMLInputElement;
  private action: EditAction = "replace";
  private side: "start" | "end" = "end";
  private seed = Math.floor(Math.random() * SEED_LIMIT);
  private readonly buttons: readonly HTMLButtonElement[];
  private readonly about = h("p", { class: "hint" });
  private readonly strength = h("input", { type: "range", min: STRENGTH.min, max: STRENGTH.max, step: STRENGTH.step, value: STRENGTH.usual, "aria-label": "Strength" });
  private readonly strengthText = h("output", { class: "hint" });
  private readonly seconds = h("input", { type: "number", min: EXTENSION.min, max: EXTENSION.max, step: 1, value: EXTENSION.usual, "aria-label": "Seconds to add" });
  private readonly beats = h("input", { type: "number", min: 1, max: MAX_BEATS, step: 1, value: 8, "aria-label": "Beats" });
  private readonly sides: Record<"start" | "end", HTMLButtonElement>;
  private readonly options: Record<EditAction, HTMLElement>;
  private readonly destination = new Destination();
  private readonly clips = h("input", { type: "number", min: CLIPS.min, max: CLIPS.max, step: 1, value: CLIPS.usual, "aria-label": "Clips" });
  private readonly useInJam = h("button", { type: "button" }, "Use section in the jam");
  private readonly make = h("button", { class: "add", type: "submit" }, "Make");
  private readonly progress = h("progress", { max: 1, "aria-label": "Progress of the edit" });
  private shownSection = "";

  /**
   * @param onMake called with what to do
   * @param onUse called to make the marked section the jam's seed loop
   */
  constructor(
    scope: Scope,
    private readonly editor: () => Editor | null,
    private readonly onMake: (order: EditOrder) => void,
    onUse: () => void,
  ) {
    this.prompt = h("input", {
      type: "text", name: "edit-prompt", autocomplete: "off", enterkeyhint: "go", dir: "auto",
      maxlength: MAX_PROMPT_CHARACTERS, placeholder: "What should be here?", "aria-label": "What should be here?",
    });
    this.buttons = ACTIONS.map(({ action, text }) => {
      const button = h("button", { type: "button" }, text);
      scope.listen(button, "click", () => this.choose(action));
      return button;
    });
    const side = (name: "start" | "end", text: string): HTMLButtonElement => {
      const button = h("button", { type: "button" }, text);
      scope.listen(button, "click", () => {
        this.side = name;
        this.update();
      });
      return button;
    };
    this.sides = { end: side("end", "At the end"), start: side("start", "At the start") };
    this.options = {
      replace: h("div", { class: "edit-options" }),
      restyle: h("label", { class: "edit-options" }, h("span", {}, "Strength"), this.strength, this.strengthText),
      extend: h(
        "div",
        { class: "edit-options" },
        h("div", { class: "segments", role: "group", "aria-label": "Where" }, this.sides.end, this.sides.start),
        h("label", { class: "edit-field" }, this.seconds, h("span", {}, "seconds")),
      ),
      loop: h("div", { class: "edit-options" }, h("label", { class: "edit-field" }, this.beats, h("span", {}, "beats")), this.useInJam),
      between: h("div", { class: "edit-options" }, this.destination.element, h("label", { class: "edit-field" }, this.clips, h("span", {}, "clips"))),
    };
    scope.listen(this.strength, "input", () => this.update());
    scope.listen(this.useInJam, "click", onUse);
    const form = h("form", { class: "prompt-form" }, this.prompt, this.make);
    scope.listen(form, "submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.element = h(
      "div",
      { class: "edit-form" },
      h(
        "div",
        { class: "edit-actions" },
        h("div", { class: "segments", role: "group", "aria-label": "Kind of edit" }, ...this.buttons),
        ...Object.values(this.options),
        this.about,
      ),
      form,
      this.progress,
    );
  }

  update(): void {
    const editor = this.editor();
    const making = editor?.making ?? null;
    ACTIONS.forEach(({ action }, i) => {
      this.buttons[i]?.setAttribute("aria-pressed", String(action === this.action));
      this.options[action].hidden = action !== this.action || action === "replace";
    });
    setText(this.about, ACTIONS.find(({ action }) => action === this.action)?.about ?? "");
    setText(this.strengthText, `${Math.round(100 * Number(this.strength.value))} %`);
    for (const [name, button] of Object.entries(this.sides)) button.setAttribute("aria-pressed", String(name === this.side));
    this.prompt.disabled = this.action === "loop";
    this.prompt.placeholder = PLACEHOLDERS[this.action] ?? "What should be here?";
    setText(this.make, making === null ? "Make" : making.take > 0 ? "Stop" : "Cancel");
    this.progress.hidden = making === null;
    if (making) {
      if (making.steps > 0) this.progress.value = making.step / making.steps;
      else this.progress.removeAttribute("value");
    }
    this.useInJam.disabled = editor?.selection == null;
    this.suggestBeats(editor);
  }

  private choose(action: EditAction): void {
    this.action = action;
    this.update();
  }

  /** A new section suggests its own number of beats. */
  private suggestBeats(editor: Editor | null): void {
    const selection = editor?.selection ?? null;
    const grid = editor?.analysis.beatsOf(editor.version)?.beats ?? null;
    const key = selection && grid ? `${selection.start} ${selection.stop}` : "";
    if (key === this.shownSection) return;
    this.shownSection = key;
    const beats = selection && beatsIn(selection, grid);
    if (beats) this.beats.value = String(Math.min(MAX_BEATS, beats));
  }

  private submit(): void {
    const editor = this.editor();
    if (editor === null) return;
    if (editor.making) {
      editor.cancel();
      return;
    }
    const number = (input: HTMLInputElement, { min, max, usual }: { min: number; max: number; usual: number }): number =>
      Math.min(max, Math.max(min, Number(input.value) || usual));
    this.seed = (this.seed + NUM_TAKES) % SEED_LIMIT; // every take is another one
    this.onMake({
      action: this.action,
      prompt: this.prompt.value,
      seed: this.seed,
      strength: number(this.strength, STRENGTH),
      side: this.side,
      seconds: number(this.seconds, EXTENSION),
      beats: Math.round(number(this.beats, { min: 1, max: MAX_BEATS, usual: 8 })),
      to: this.destination.file,
      clips: Math.round(number(this.clips, CLIPS)),
      tempo: editor.analysis.beatsOf(editor.version)?.tempo ?? null,
      selection: editor.selection,
    });
  }
}
