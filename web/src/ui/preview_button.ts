/** A button that lets a picture be heard over the jam, and stops it again. */

import type { ClipResult } from "../jam/types";
import type { Session } from "../jam/session";
import { h } from "./dom";
import { icon, setIcon } from "./icons";

/**
 * @param label for screen readers
 * @param text beside the icon
 * @param make asks the server for the sound
 * @param say shows a notice
 */
export function previewButton(
  session: Session,
  label: string,
  text: string | null,
  make: (signal: AbortSignal) => Promise<ClipResult<AudioBuffer>>,
  say: (message: string) => void,
): HTMLButtonElement {
  const button = h("button", { type: "button", class: text ? "" : "quiet", "aria-label": label, title: label }, icon("hear"), text);
  let running: AbortController | null = null;
  const end = (): void => {
    running = null;
    button.removeAttribute("aria-busy");
    setIcon(button, "hear");
  };
  button.addEventListener("click", () => {
    if (running) {
      running.abort();
      session.stopPreview();
      end();
      return;
    }
    session.allowPreview();
    void (async () => {
      const own = new AbortController();
      running = own;
      button.setAttribute("aria-busy", "true");
      setIcon(button, "stop");
      const outcome = await make(own.signal);
      if (own.signal.aborted) return;
      if ("failure" in outcome) {
        say(outcome.failure.message);
        end();
        return;
      }
      session.preview(outcome.made.audio, () => running === own && end());
    })();
  });
  return button;
}
