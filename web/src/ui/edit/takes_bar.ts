/** The takes of the last edit, to be heard in their place and chosen; the one that is made shows how far it is. */

import { NUM_TAKES } from "../../edit/edit_requests";
import type { Editor } from "../../edit/editor";
import type { Scope } from "../../scope";
import { h, setText } from "../dom";

/** What screen readers say about progress, in percent, is rounded to this, so that it doesn't change all the time. */
const ROUND_TO = 10;

export class TakesBar {
  readonly element: HTMLElement;
  private readonly buttons: readonly HTMLButtonElement[];
  private readonly about = h("p", { class: "hint", role: "status" });

  constructor(scope: Scope, private readonly editor: () => Editor | null) {
    this.buttons = Array.from({ length: NUM_TAKES }, (_, i) => {
      const button = h("button", { type: "button", title: `Hear take ${i + 1} (${i + 1})` }, String(i + 1));
      scope.listen(button, "click", () => this.hear(i));
      return button;
    });
    this.element = h(
      "div",
      { class: "edit-takes", hidden: true },
      h("span", { "aria-hidden": "true" }, "Takes"),
      h("div", { class: "segments", role: "group", "aria-label": "Takes of this edit" }, ...this.buttons),
      this.about,
    );
  }

  /** Plays a take, from 0 on, if it is there. */
  hear(take: number): void {
    const editor = this.editor();
    const id = editor ? takesOf(editor).ids[take] : undefined;
    if (editor && id !== undefined) editor.hear(id);
  }

  update(): void {
    const editor = this.editor();
    if (editor === null) return;
    const { ids, total } = takesOf(editor);
    const { making, version } = editor;
    this.element.hidden = total < 2;
    this.buttons.forEach((button, take) => {
      const id = ids[take];
      const done = making?.take === take && making.steps > 0 ? making.step / making.steps : 0;
      button.hidden = take >= total;
      button.disabled = id === undefined;
      button.setAttribute("aria-pressed", String(id === version.id));
      button.setAttribute("aria-label", `Take ${take + 1} of ${total}${id === undefined ? `, ${percent(done)}` : ""}`);
      button.style.setProperty("--done", id === undefined ? String(done) : "0");
    });
    setText(this.about, aboutTakes(ids.length, total));
  }
}

/** The takes that are there, and how many there will be. */
function takesOf({ making, project: { history } }: Editor): { readonly ids: readonly number[]; readonly total: number } {
  const ids = history.takes?.ids ?? [];
  if (making === null) return { ids, total: ids.length };
  return { ids: making.take > 0 ? ids : [], total: making.numTakes };
}

function percent(done: number): string {
  return done > 0 ? `${ROUND_TO * Math.floor((100 * done) / ROUND_TO)} % made` : "waiting";
}

function aboutTakes(numReady: number, total: number): string {
  if (numReady === 0) return "";
  return numReady < total ? `${numReady} of ${total} ready.` : "The next edit keeps the chosen one only.";
}
