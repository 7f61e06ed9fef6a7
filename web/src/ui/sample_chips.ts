/** Buttons for the sample prompts. */

import type { Scope } from "../scope";
import { SAMPLE_PROMPTS } from "../settings/sample_prompts";
import { h } from "./dom";

/** @param onChoose called with the prompt of the clicked button */
export function sampleChips(scope: Scope, className: string, onChoose: (prompt: string) => void): HTMLElement {
  const group = h(
    "div",
    { class: className, role: "group", "aria-label": "Sample prompts" },
    ...SAMPLE_PROMPTS.map((prompt) => h("button", { type: "button", class: "chip" }, prompt)),
  );
  scope.listen(group, "click", (event) => {
    if (event.target instanceof HTMLButtonElement) onChoose(event.target.textContent ?? "");
  });
  return group;
}
