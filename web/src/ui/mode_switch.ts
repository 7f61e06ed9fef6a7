/** The switch between the jam and the Edit view. The address keeps the choice, so Back and a reload do, too. */

import type { Scope } from "../scope";
import { h } from "./dom";

const EDIT_HASH = "#edit";

export class ModeSwitch {
  readonly element: HTMLElement;
  private readonly jam = h("button", { type: "button" }, "Jam");
  private readonly edit = h("button", { type: "button" }, "Edit");

  /**
   * @param canEdit whether recordings can be edited; otherwise there is only the jam, and no switch
   * @param onChange called when the mode has changed
   */
  constructor(scope: Scope, private readonly canEdit: boolean, private readonly onChange: (isEditing: boolean) => void) {
    this.element = h("div", { class: "segments mode-switch", role: "group", "aria-label": "Mode" }, this.jam, this.edit);
    this.element.hidden = !canEdit;
    scope.listen(this.jam, "click", () => this.set(false));
    scope.listen(this.edit, "click", () => this.set(true));
    scope.listen(window, "popstate", () => this.apply());
  }

  /** Whether the address asks for the Edit view, which there is not. */
  get isEditMissing(): boolean {
    return !this.canEdit && location.hash === EDIT_HASH;
  }

  get isEditing(): boolean {
    return this.canEdit && location.hash === EDIT_HASH;
  }

  set(isEditing: boolean): void {
    if (isEditing === this.isEditing) return;
    history.pushState(null, "", isEditing ? EDIT_HASH : location.pathname + location.search);
    this.apply();
  }

  /** Shows the mode that the address asks for. */
  apply(): void {
    const { isEditing } = this;
    this.jam.setAttribute("aria-pressed", String(!isEditing));
    this.edit.setAttribute("aria-pressed", String(isEditing));
    document.body.classList.toggle("editing", isEditing);
    this.onChange(isEditing);
  }
}
