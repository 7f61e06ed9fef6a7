/** The sidebar with tabs for all settings. It is beside the timeline, or on a phone over its lower part. */

import type { Scope } from "../scope";
import { h } from "./dom";
import { icon } from "./icons";

export interface Panel {
  readonly name: string;
  readonly element: HTMLElement;
  /** Shows the current state of the jam; called only while the panel is visible. */
  update?(): void;
  /** Called when the panel has become visible or hidden. */
  shown?(isShown: boolean): void;
}

export class Sidebar {
  readonly element: HTMLElement;
  private readonly tabs: HTMLButtonElement[];
  private selected = 0;

  constructor(
    scope: Scope,
    private readonly panels: readonly Panel[],
    private readonly opener: HTMLButtonElement,
  ) {
    const close = h("button", { class: "quiet", type: "button", "aria-label": "Close settings" }, icon("close"));
    this.tabs = panels.map(({ name }, i) =>
      h("button", { type: "button", role: "tab", id: `tab-${i}`, "aria-controls": `panel-${i}` }, name),
    );
    panels.forEach(({ element }, i) => {
      element.id = `panel-${i}`;
      element.setAttribute("role", "tabpanel");
      element.setAttribute("aria-labelledby", `tab-${i}`);
    });
    this.element = h(
      "aside",
      { class: "sidebar", id: "sidebar", "aria-label": "Settings", hidden: true },
      h("div", { class: "sidebar-head" }, h("div", { class: "tabs", role: "tablist" }, ...this.tabs), close),
      ...panels.map(({ element }) => element),
    );
    this.tabs.forEach((tab, i) => {
      scope.listen(tab, "click", () => this.select(i));
      scope.listen(tab, "keydown", (event) => this.moveByKey(event, i));
    });
    scope.listen(close, "click", () => this.toggle(false));
    scope.listen(this.element, "keydown", (event) => {
      if (event.key === "Escape") this.toggle(false);
    });
    scope.listen(opener, "click", () => this.toggle());
    opener.setAttribute("aria-controls", "sidebar");
    this.select(0);
  }

  get isOpen(): boolean {
    return !this.element.hidden;
  }

  toggle(isOpen = !this.isOpen): void {
    if (isOpen === this.isOpen) return;
    this.element.hidden = !isOpen;
    document.body.classList.toggle("sidebar-open", isOpen);
    this.opener.setAttribute("aria-expanded", String(isOpen));
    this.panels[this.selected]?.shown?.(isOpen);
    if (isOpen) {
      this.update();
      this.tabs[this.selected]?.focus({ preventScroll: true });
    } else this.opener.focus({ preventScroll: true });
  }

  update(): void {
    if (this.isOpen) this.panels[this.selected]?.update?.();
  }

  private select(index: number): void {
    if (this.isOpen) this.panels[this.selected]?.shown?.(false);
    this.selected = index;
    this.panels.forEach(({ element }, i) => (element.hidden = i !== index));
    this.tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
    });
    if (this.isOpen) this.panels[index]?.shown?.(true);
    this.update();
  }

  private moveByKey(event: KeyboardEvent, index: number): void {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const next = (index + step + this.tabs.length) % this.tabs.length;
    this.select(next);
    this.tabs[next]?.focus();
  }
}
