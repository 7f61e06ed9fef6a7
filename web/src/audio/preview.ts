/** Plays one audio buffer over the jam, which is quieter meanwhile. */

import type { Seconds } from "../units";
import type { Mixer } from "./mixer";
import { Player } from "./player";

const LEAD: Seconds = 0.03;

export class Preview {
  private readonly player: Player;
  private onEnd: (() => void) | null = null;

  constructor(private readonly mixer: Mixer) {
    this.player = new Player(mixer.preview);
  }

  /**
   * Plays `audio` once. A preview that still plays is stopped.
   *
   * @param onEnd called once, when the preview has ended or was stopped
   */
  play(audio: AudioBuffer, onEnd: () => void): void {
    this.end();
    this.onEnd = onEnd;
    void this.mixer.setPreviewAudible(true);
    this.player.playOnce(audio, this.mixer.now + LEAD, () => {
      if (this.onEnd === onEnd) this.stop();
    });
  }

  stop(): void {
    if (this.onEnd === null) return;
    this.player.stop();
    void this.mixer.setPreviewAudible(false);
    this.end();
  }

  dispose(): void {
    this.stop();
    this.player.dispose();
  }

  private end(): void {
    const { onEnd } = this;
    this.onEnd = null;
    onEnd?.();
  }
}
