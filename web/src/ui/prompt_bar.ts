/** The play button and the input for the next prompt. */

import type { Session } from "../jam/session";
import type { Scope } from "../scope";
import { randomSamplePrompt } from "../settings/sample_prompts";
import { MAX_PROMPT_CHARACTERS } from "../settings/settings";
import { shortened } from "../shorten";
import { h } from "./dom";
import { icon, setIcon } from "./icons";
import { sampleChips } from "./sample_chips";

export class PromptBar {
  readonly element: HTMLElement;
  readonly input: HTMLInputElement;
  private readonly playButton = h("button", { class: "play", type: "button" });
  private readonly samples: HTMLElement;

  /** @param showNotice shows a short message */
  constructor(
    scope: Scope,
    private readonly session: Session,
    private readonly showNotice: (message: string) => void,
  ) {
    this.input = h("input", {
      type: "text",
      name: "prompt",
      autocomplete: "off",
      enterkeyhint: "done",
      maxlength: MAX_PROMPT_CHARACTERS,
      placeholder: "What’s next?",
      "aria-label": "Next prompt",
    });
    const dice = h("button", { class: "quiet", type: "button", "aria-label": "Random prompt", title: "Random prompt (D)" }, icon("dice"));
    const form = h("form", { class: "prompt-form" }, this.input, dice, h("button", { class: "add", type: "submit" }, "Add"));
    this.samples = sampleChips(scope, "samples", (prompt) => this.add(prompt));
    this.element = h("div", { class: "prompt-bar" }, this.samples, h("div", { class: "prompt-row" }, this.playButton, form));
    scope.listen(this.playButton, "click", () => void session.toggle());
    scope.listen(form, "submit", (event) => {
      event.preventDefault();
      this.add(this.input.value);
    });
    scope.listen(dice, "click", () => this.roll());
  }

  /** Puts a random prompt into the input. */
  roll(): void {
    this.input.value = randomSamplePrompt(Math.random, this.input.value);
    this.input.focus({ preventScroll: true });
  }

  update(): void {
    const isPlaying = this.session.phase === "playing";
    setIcon(this.playButton, isPlaying ? "pause" : "play");
    const label = isPlaying ? "Pause" : "Play";
    this.playButton.setAttribute("aria-label", label);
    this.playButton.title = `${label} (space)`;
    this.samples.hidden = this.session.phase !== "idle";
  }

  /** Queues a prompt. Before the first playback, starts the music with it. */
  private add(text: string): void {
    const prompt = text.trim();
    if (prompt === "") return;
    this.input.value = "";
    const { conductor, phase } = this.session;
    if (phase === "idle") {
      conductor.jump(prompt);
      void this.session.toggle();
      return;
    }
    conductor.queue([...conductor.walk.queue, prompt]);
    this.showNotice(`Added “${shortened(prompt)}” to the queue`);
  }
}
