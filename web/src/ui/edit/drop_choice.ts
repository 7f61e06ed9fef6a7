/** Asks what a dropped recording is for. */

import type { Scope } from "../../scope";
import { h, setText } from "../dom";

export interface DropChoice {
  readonly dialog: HTMLDialogElement;
  /** Asks about a file. */
  ask(file: File): void;
}

export function dropChoice(scope: Scope, onLoop: (file: File) => void, onEdit: (file: File) => void): DropChoice {
  const title = h("h2", { id: "drop-title", dir: "auto" });
  const edit = h("button", { type: "button", class: "primary" }, "Edit this recording");
  const loop = h("button", { type: "button" }, "Loop for the jam");
  const cancel = h("button", { type: "button" }, "Cancel");
  const dialog = h(
    "dialog",
    { "aria-labelledby": "drop-title", class: "drop-choice" },
    title,
    edit,
    h("p", { class: "hint" }, "Replace, restyle or extend parts of it, and download it. You can also choose a section of it for the jam there."),
    loop,
    h("p", { class: "hint" }, "New clips keep the beat of its first bars, up to 5 seconds."),
    cancel,
  );
  let asked: File | null = null;
  const choose = (act: (file: File) => void) => (): void => {
    dialog.close();
    if (asked) act(asked);
  };
  scope.listen(loop, "click", choose(onLoop));
  scope.listen(edit, "click", choose(onEdit));
  scope.listen(cancel, "click", () => dialog.close());
  return {
    dialog,
    ask: (file) => {
      asked = file;
      setText(title, file.name);
      if (!dialog.open) dialog.showModal();
    },
  };
}

/** Whether a file is a recording, as far as its type tells. Some systems know no type for FLAC and others. */
export function isRecording({ type, name }: File): boolean {
  return /^(audio|video)\//.test(type) || type === "application/ogg" || (type === "" && /\.(wav|flac|mp3|m4a|aac|ogg|opus|aiff?)$/i.test(name));
}
