/**
 * The jam on the lock screen and on media keys, by the Media Session API.
 *
 * Browsers give a page media keys only while a media element plays, and the jam plays by Web Audio. So an audio
 * element with silence runs while the jam does.
 */

import { wavBlob } from "../audio/wav";
import type { Scope } from "../scope";
import type { Hertz, Seconds } from "../units";

/** Browsers leave out sounds that are shorter than 5 s. */
const SILENCE: Seconds = 6;
const SILENCE_RATE: Hertz = 8000;

export class MediaKeys {
  private readonly session: MediaSession | null = "mediaSession" in navigator ? navigator.mediaSession : null;
  private silence: HTMLAudioElement | null = null;
  private title = "";

  /** @param toggle plays or pauses */
  constructor(private readonly scope: Scope, private readonly isPlaying: () => boolean, toggle: () => void) {
    const handlers: [MediaSessionAction, () => void][] = [
      ["play", () => !isPlaying() && toggle()],
      ["pause", () => isPlaying() && toggle()],
      ["stop", () => isPlaying() && toggle()],
    ];
    for (const [action, handler] of handlers) {
      try {
        this.session?.setActionHandler(action, handler);
      } catch {
        // a browser that knows no such key
      }
    }
    scope.add(() => this.silence?.pause());
  }

  /** @param prompt what is heard */
  update(prompt: string): void {
    if (this.session === null) return;
    const isPlaying = this.isPlaying();
    this.session.playbackState = isPlaying ? "playing" : this.silence ? "paused" : "none";
    if (isPlaying && this.silence?.paused !== false) void this.open().play().catch(() => undefined); // before the first click, for example
    if (!isPlaying) this.silence?.pause();
    if (prompt === this.title) return;
    this.title = prompt;
    this.session.metadata = new MediaMetadata({ title: prompt, artist: "Riffusion" });
  }

  private open(): HTMLAudioElement {
    if (this.silence) return this.silence;
    const url = URL.createObjectURL(wavBlob([new Float32Array(SILENCE * SILENCE_RATE)], SILENCE_RATE));
    this.scope.add(() => URL.revokeObjectURL(url));
    this.silence = new Audio(url);
    this.silence.loop = true;
    return this.silence;
  }
}
