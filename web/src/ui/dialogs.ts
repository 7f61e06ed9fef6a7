/** Modal dialogs: help and "Still listening?". */

import type { Scope } from "../scope";
import type { Seconds } from "../units";
import { h } from "./dom";
import type { Shortcut } from "./keyboard";

export interface HelpDialog {
  readonly dialog: HTMLDialogElement;
  show(shortcuts: readonly Shortcut[]): void;
}

/** A dialog that lists the keyboard shortcuts. */
export function helpDialog(scope: Scope): HelpDialog {
  const list = h("dl");
  const close = h("button", { type: "button", class: "primary" }, "Close");
  const dialog = h("dialog", { "aria-labelledby": "help-title" }, h("h2", { id: "help-title" }, "Keyboard shortcuts"), list, close);
  scope.listen(close, "click", () => dialog.close());
  return {
    dialog,
    show: (shortcuts) => {
      const named = shortcuts.filter(({ label }) => label !== "");
      list.replaceChildren(...named.flatMap(({ label, does }) => [h("dt", {}, h("kbd", {}, label)), h("dd", {}, does)]));
      dialog.showModal();
    },
  };
}

/** After this time without input, no more clips are requested from a paid endpoint. */
const INACTIVITY_LIMIT: Seconds = 600;
const CHECK_EVERY: Seconds = 5;

/**
 * A dialog that asks "Still listening?" after ten minutes without a click or a key.
 *
 * @param isPlaying whether the jam is playing, so that the question makes sense
 * @param onHold called with true when the dialog opens and with false when it closes
 */
export function stillListening(scope: Scope, isPlaying: () => boolean, onHold: (isOnHold: boolean) => void): HTMLDialogElement {
  const yes = h("button", { type: "button", class: "primary" }, "I'm listening");
  const dialog = h(
    "dialog",
    { "aria-labelledby": "still-title" },
    h("h2", { id: "still-title" }, "Still listening?"),
    h("p", {}, "Each new clip may cost money on this server. The last clip repeats until you answer."),
    yes,
  );
  let lastInput = performance.now();
  for (const type of ["pointerdown", "keydown"]) scope.listen(window, type, () => (lastInput = performance.now()));
  scope.listen(yes, "click", () => dialog.close());
  scope.listen(dialog, "close", () => onHold(false));
  scope.every(CHECK_EVERY, () => {
    if (dialog.open || !isPlaying() || performance.now() - lastInput < 1000 * INACTIVITY_LIMIT) return;
    onHold(true);
    dialog.showModal();
  });
  return dialog;
}
