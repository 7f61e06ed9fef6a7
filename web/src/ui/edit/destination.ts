/** Where a piece between two sections leads to: what follows the marked section, or a recording that the user chooses. */

import { shortened } from "../../shorten";
import { h, setText } from "../dom";

/** What a phone has room for. */
const SHOWN_CHARACTERS = 14;

export class Destination {
  readonly element: HTMLElement;
  /** null for what follows the section. */
  file: File | null = null;
  private readonly next = h("button", { type: "button" }, "To what follows");
  private readonly other = h("button", { type: "button", dir: "auto" });
  private readonly input = h("input", { type: "file", accept: "audio/*", hidden: true });

  constructor() {
    this.next.addEventListener("click", () => this.choose(null));
    this.other.addEventListener("click", () => this.input.click());
    this.input.addEventListener("change", () => {
      this.choose(this.input.files?.[0] ?? this.file);
      this.input.value = "";
    });
    this.element = h("div", { class: "segments", role: "group", "aria-label": "Where it leads" }, this.next, this.other, this.input);
    this.choose(null);
  }

  private choose(file: File | null): void {
    this.file = file;
    setText(this.other, file ? `To ${shortened(file.name, SHOWN_CHARACTERS)}` : "To a file …");
    this.other.title = file?.name ?? "";
    this.next.setAttribute("aria-pressed", String(file === null));
    this.other.setAttribute("aria-pressed", String(file !== null));
  }
}
