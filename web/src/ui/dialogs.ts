/** Questions and help over the page. */

import type { Scope } from "../scope";
import type { Seconds } from "../units";
import { h } from "./dom";
import type { Shortcut } from "./keyboard";

/** A list of the keys. */
export function helpDialog(scope: Scope, shortcuts: readonly Shortcut[]): HTMLDialogElement {
  const rows = shortcuts.flatMap(({ label, does }) => [h("dt", {}, h("kbd", {}, label)), h("dd", {}, does)]);
  const close = h("button", { type: "button", class: "primary" }, "Close");
  const dialog = h("dialog", { "aria-labelledby": "help-title" }, h("h2", { id: "help-title" }, "Keys"), h("dl", {}, ...rows), close);
  scope.listen(close, "click", () => dialog.close());
  return dialog;
}

/** Of nobody touching anything, after which a paid endpoint is asked for no more. */
const PATIENCE: Seconds = 600;
const CHECK_EVERY: Seconds = 5;

/**
 * Asks "Still listening?" after ten minutes without a touch.
 *
 * @param isPlaying whether the question makes sense now
 * @param onHold told true when it is asked, and false when it is answered
 */
export function stillListening(scope: Scope, isPlaying: () => boolean, onHold: (isHeld: boolean) => void): HTMLDialogElement {
  const yes = h("button", { type: "button", class: "primary" }, "I'm listening");
  const dialog = h(
    "dialog",
    { "aria-labelledby": "still-title" },
    h("h2", { id: "still-title" }, "Still listening?"),
    h("p", {}, "Every clip costs something on this server. The last one plays on until you answer."),
    yes,
  );
  let lastTouch = performance.now();
  for (const type of ["pointerdown", "keydown"]) scope.listen(window, type, () => (lastTouch = performance.now()));
  scope.listen(yes, "click", () => dialog.close());
  scope.listen(dialog, "close", () => onHold(false));
  scope.every(CHECK_EVERY, () => {
    if (dialog.open || !isPlaying() || performance.now() - lastTouch < 1000 * PATIENCE) return;
    onHold(true);
    dialog.showModal();
  });
  return dialog;
}
