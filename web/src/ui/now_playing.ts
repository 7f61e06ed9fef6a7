/** Shows the current prompt in large type and the next prompt below it. */

import type { Session } from "../jam/session";
import { nowAndNext } from "../jam/upcoming_prompts";
import { h, setText } from "./dom";

export class NowPlaying {
  readonly element: HTMLElement;
  private readonly now = h("h1", { class: "now" });
  private readonly next = h("p", { class: "next" });
  private readonly progress = h("progress", { max: 1, "aria-label": "Transition to the next prompt" });

  constructor(private readonly session: Session) {
    this.element = h("section", { class: "now-playing", "aria-label": "Now playing" }, this.now, this.progress, this.next);
  }

  /** The prompt that is shown as the current one. */
  get prompt(): string {
    return this.now.textContent ?? "";
  }

  update(): void {
    const { conductor, heard } = this.session;
    const ready = conductor.ready.map(({ stop }) => stop);
    const { now, next, progress } = nowAndNext(heard?.clip.stop ?? null, ready, conductor.walk);
    setText(this.now, now);
    setText(this.next, next === null ? "" : `Up next: ${next}`);
    this.progress.value = progress;
    this.progress.hidden = progress === 0;
  }
}
