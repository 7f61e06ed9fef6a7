/** Keyboard shortcuts that work everywhere on the page, except while the user is typing. */

import type { Scope } from "../scope";
import { isTyping } from "./dom";

export interface Shortcut {
  /** Value of `KeyboardEvent.key`, in lower case. */
  readonly key: string;
  /** Name of the key in the help dialog; empty if another entry names it, too. */
  readonly label: string;
  /** What it does, in the help dialog. */
  readonly does: string;
  act(event: KeyboardEvent): void;
}

/** @param shortcuts returns those that work now */
export function listenForShortcuts(scope: Scope, shortcuts: () => readonly Shortcut[]): void {
  scope.listen(window, "keydown", (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.repeat && !event.key.startsWith("Arrow")) return;
    if (event.key === "Escape" && event.target instanceof HTMLElement) event.target.blur();
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const isPressing = event.target instanceof HTMLElement && event.target.matches("button, summary, input");
    if (isPressing && [" ", "arrowleft", "arrowright"].includes(event.key.toLowerCase())) return;
    const shortcut = shortcuts().find(({ key }) => key === event.key.toLowerCase());
    if (shortcut === undefined) return;
    event.preventDefault();
    shortcut.act(event);
  });
}
