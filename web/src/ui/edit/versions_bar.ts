/** The versions of the recording as chips, in the order in which they were made. Takes that are not chosen have their own bar. */

import type { Editor } from "../../edit/editor";
import { shortened } from "../../shorten";
import { h } from "../dom";

export class VersionsBar {
  readonly element = h("div", { class: "edit-versions", role: "group", "aria-label": "Versions" });
  private shownKey = "";

  constructor(private readonly editor: () => Editor | null) {}

  update(): void {
    const editor = this.editor();
    if (editor === null) return;
    const { id, history } = editor.project;
    const { ids, chosen } = history.takes ?? { ids: [], chosen: 0 };
    const versions = history.versions.filter((version) => version.id === chosen || !ids.includes(version.id));
    const key = JSON.stringify([id, history.current, versions.map(({ title }) => title)]);
    if (key === this.shownKey) return;
    this.shownKey = key;
    const hadFocus = this.element.contains(document.activeElement);
    const chips = versions.map((version) => {
      const chip = h("button", { type: "button", class: "chip", "aria-pressed": String(version.id === history.current), dir: "auto" }, shortened(version.title));
      chip.addEventListener("click", () => editor.goTo(version.id));
      return chip;
    });
    this.element.replaceChildren(...chips);
    this.element.hidden = chips.length < 2;
    const current = chips.find((chip) => chip.getAttribute("aria-pressed") === "true");
    if (hadFocus) current?.focus();
    current?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}
