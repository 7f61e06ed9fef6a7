/** A button that plays a preview over the jam, and stops it when clicked again. */

import type { Session } from "../jam/session";
import type { ClipResult } from "../jam/types";
import { h } from "./dom";
import { icon, setIcon } from "./icons";

/**
 * @param label label for screen readers
 * @param text text beside the icon
 * @param make requests the audio from the server
 * @param showNotice shows a short message
 */
export function previewButton(
  session: Session,
  label: string,
  text: string | null,
  make: (signal: AbortSignal) => Promise<ClipResult<AudioBuffer>>,
  showNotice: (message: string) => void,
): HTMLButtonElement {
  const button = h("button", { type: "button", class: text ? "" : "quiet", "aria-label": label, title: label }, icon("listen"), text);
  let running: AbortController | null = null;
  const end = (): void => {
    running = null;
    button.removeAttribute("aria-busy");
    setIcon(button, "listen");
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
        showNotice(outcome.failure.message);
        end();
        return;
      }
      session.preview(outcome.made.audio, () => running === own && end());
    })();
  });
  return button;
}
