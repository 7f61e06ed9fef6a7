/** Plays one sound over the jam, which steps back meanwhile. */

import type { Seconds } from "../units";
import type { Mixer } from "./mixer";
import { Player } from "./player";

const LEAD: Seconds = 0.03;

export class Preview {
  private readonly player: Player;
  private end: ReturnType<typeof setTimeout> | undefined;
  private onEnd: (() => void) | null = null;

  constructor(private readonly mixer: Mixer) {
    this.player = new Player(mixer.preview);
  }

  /**
   * Plays `sound` in place of the preview before it.
   *
   * @param onEnd called once, when it has ended or was stopped
   */
  play(sound: AudioBuffer, rounds: number, onEnd: () => void): void {
    this.stop();
    this.onEnd = onEnd;
    this.mixer.duck(true);
    this.player.play(sound, this.mixer.now + LEAD);
    this.end = setTimeout(() => this.stop(), 1000 * (rounds * sound.duration + LEAD));
  }

  stop(): void {
    clearTimeout(this.end);
    this.player.stop();
    this.mixer.duck(false);
    const onEnd = this.onEnd;
    this.onEnd = null;
    onEnd?.();
  }

  dispose(): void {
    this.stop();
    this.player.dispose();
  }
}
