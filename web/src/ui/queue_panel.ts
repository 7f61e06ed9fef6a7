/** The upcoming prompts: edit, reorder, play now, remove; and samples to add. */

import type { Session } from "../jam/session";
import type { UpcomingPrompts } from "../jam/upcoming_prompts";
import type { Scope } from "../scope";
import { MAX_PROMPT_CHARACTERS } from "../settings/settings";
import { h } from "./dom";
import { type IconName, icon } from "./icons";
import { sampleChips } from "./sample_chips";
import type { Panel } from "./sidebar";

export class QueuePanel implements Panel {
  readonly name = "Queue";
  readonly element: HTMLElement;
  private readonly list = h("ol", { class: "queue" });
  private readonly empty: HTMLElement;
  private readonly samples: HTMLElement;
  private shownKey = "";

  constructor(
    scope: Scope,
    private readonly session: Session,
  ) {
    this.empty = h("p", { class: "hint" }, "The queue is empty. The music continues with variations of the current prompt.");
    this.samples = sampleChips(scope, "chips", (prompt) => this.change([...this.queue, prompt]));
    const weights = h(
      "p",
      { class: "hint" },
      "Weights: ", h("code", {}, "(brass:1.5) and [drums]"), " means more brass and less drums.",
    );
    scope.listen(this.list, "focusout", () => this.update());
    this.element = h("div", { class: "panel" }, h("h2", {}, "Up next"), this.list, this.empty, h("h2", {}, "Add a sample prompt"), this.samples, weights);
  }

  update(): void {
    const { arriving, editable } = this.upcoming;
    const key = JSON.stringify([arriving, editable]);
    if (key === this.shownKey || this.list.querySelector("input:focus")) return; // an item is being edited
    this.shownKey = key;
    const focused = this.list.contains(document.activeElement) ? document.activeElement?.getAttribute("data-key") ?? "" : null;
    this.list.replaceChildren(...arriving.map(arrivingItem), ...editable.map((prompt, index) => this.item(prompt, index)));
    this.empty.hidden = arriving.length + editable.length > 0;
    if (focused !== null) this.focusNear(focused);
  }

  /** Focuses the item that is where the focused one was, or the last one, or what adds an item. */
  private focusNear(key: string): void {
    const [name, index] = key.split("-");
    for (let i = Number(index ?? 0); i >= 0; i--) {
      const element = this.list.querySelector<HTMLButtonElement>(`[data-key="${name}-${i}"]`);
      if (!element) continue;
      const target = element.disabled ? this.list.querySelector<HTMLElement>(`[data-key="text-${i}"]`) : element;
      target?.focus();
      return;
    }
    this.samples.querySelector<HTMLElement>("button")?.focus();
  }

  private get upcoming(): UpcomingPrompts {
    return this.session.conductor.upcomingAfter(this.session.heard?.clip);
  }

  /** The prompts that can still be changed. */
  private get queue(): readonly string[] {
    return this.upcoming.editable;
  }

  private change(queue: readonly string[]): void {
    this.session.conductor.replaceUpcoming(queue);
    this.update();
  }

  private item(prompt: string, index: number): HTMLElement {
    const input = h("input", {
      type: "text", value: prompt, maxlength: MAX_PROMPT_CHARACTERS, "aria-label": `Prompt ${index + 1}`, "data-key": `text-${index}`,
    });
    input.addEventListener("change", () => {
      const text = input.value.trim();
      const at = this.queue.indexOf(prompt); // the queue may have changed since this item was shown
      if (at < 0) this.change(text ? [text, ...this.queue] : this.queue);
      else this.change(text ? this.queue.with(at, text) : this.queue.toSpliced(at, 1));
    });
    const button = (name: IconName, label: string, act: () => void, isDisabled = false): HTMLElement => {
      const element = h(
        "button",
        { type: "button", class: "quiet", "aria-label": `${label}: ${prompt}`, title: label, disabled: isDisabled, "data-key": `${name}-${index}` },
        icon(name),
      );
      element.addEventListener("click", act);
      return element;
    };
    return h(
      "li",
      {},
      input,
      button("up", "Earlier", () => this.move(index, -1), index === 0),
      button("down", "Later", () => this.move(index, 1), index === this.queue.length - 1),
      button("jump", "Play now", () => this.session.conductor.jump(prompt, this.queue.toSpliced(index, 1))),
      button("close", "Remove", () => this.change(this.queue.toSpliced(index, 1))),
    );
  }

  private move(index: number, by: number): void {
    const prompt = this.queue[index];
    if (prompt !== undefined) this.change(this.queue.toSpliced(index, 1).toSpliced(index + by, 0, prompt));
  }
}

/** An item for a prompt that the scheduled clip arrives at. */
function arrivingItem(prompt: string): HTMLElement {
  return h("li", { class: "arriving" }, h("span", {}, prompt), h("span", { class: "hint" }, "arriving"));
}
