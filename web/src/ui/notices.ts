/** Short messages at the top of the page. Screen readers read them aloud. */

import type { Seconds } from "../units";
import { h } from "./dom";

const DISPLAY_TIME: Seconds = 7;

export class Notices {
  readonly element = h("div", { class: "notices", role: "status", "aria-live": "polite" });

  show(message: string): void {
    const notice = h("p", { class: "notice" }, message);
    this.element.append(notice);
    setTimeout(() => notice.remove(), 1000 * DISPLAY_TIME);
  }
}
