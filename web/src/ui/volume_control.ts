/** Volume and mute, for the jam and for the Edit view. The browser remembers the volume. */

import type { Scope } from "../scope";
import type { Share } from "../units";
import { h } from "./dom";
import { icon, setIcon } from "./icons";

const STORAGE_KEY = "riffusion-volume";

export class VolumeControl {
  readonly element: HTMLElement;
  private readonly mute = h("button", { class: "quiet", type: "button" }, icon("listen"));
  private readonly slider = h("input", { type: "range", min: 0, max: 1, step: 0.02, "aria-label": "Volume" });
  private isMuted = false;

  /** @param onVolume called with the gain, from 0 to 1 */
  constructor(scope: Scope, private readonly onVolume: (volume: Share) => void) {
    this.slider.value = String(rememberedVolume());
    this.element = h("div", { class: "volume" }, this.mute, this.slider);
    scope.listen(this.mute, "click", () => this.toggleMute());
    scope.listen(this.slider, "input", () => {
      this.isMuted = false;
      this.apply();
    });
    this.apply();
  }

  toggleMute(): void {
    this.isMuted = !this.isMuted;
    this.apply();
  }

  private apply(): void {
    const volume = Number(this.slider.value);
    const label = this.isMuted ? "Unmute" : "Mute";
    setIcon(this.mute, this.isMuted || volume === 0 ? "muted" : "listen");
    this.mute.setAttribute("aria-label", label);
    this.mute.title = `${label} (M)`;
    this.slider.setAttribute("aria-valuetext", `${Math.round(100 * volume)} %`);
    remember(volume);
    this.onVolume(this.isMuted ? 0 : volume ** 2); // loudness follows the slider better than with a straight line
  }
}

function rememberedVolume(): Share {
  try {
    const volume = Number(localStorage.getItem(STORAGE_KEY) ?? 1);
    return volume >= 0 && volume <= 1 ? volume : 1;
  } catch {
    return 1; // a browser that keeps nothing
  }
}

function remember(volume: Share): void {
  try {
    localStorage.setItem(STORAGE_KEY, String(volume));
  } catch {
    // a browser that keeps nothing
  }
}
