/** Short messages at the page's edge, which screen readers read, too. */

import type { Seconds } from "../units";
import { h } from "./dom";

const SHOWN: Seconds = 7;

export class Notices {
  readonly element = h("div", { class: "notices", role: "status", "aria-live": "polite" });

  show(message: string): void {
    const notice = h("p", { class: "notice" }, message);
    this.element.append(notice);
    setTimeout(() => notice.remove(), 1000 * SHOWN);
  }
}
