/** Plays audio buffers. Each one replaces the one before at an exact sample, with a crossfade. */

import { Scope } from "../scope";
import type { Seconds } from "../units";
import { JOIN_FADE, curve, gainIn, gainOut } from "./fade";
import { onSample } from "./schedule";

const FADE_IN = curve(gainIn);
const FADE_OUT = curve(gainOut);

interface Voice {
  readonly source: AudioBufferSourceNode;
  readonly gain: GainNode;
}

export class Player {
  private readonly scope = new Scope();
  private voice: Voice | null = null;

  constructor(private readonly output: AudioNode) {}

  get now(): Seconds {
    return this.output.context.currentTime;
  }

  /**
   * Starts a loop at `start`. The previous loop fades out while it continues into its next round, so the beat
   * stays the same. Returns the exact start, rounded to a sample.
   */
  play(loop: AudioBuffer, start: Seconds): Seconds {
    const source = new AudioBufferSourceNode(this.output.context, { buffer: loop, loop: true });
    return this.begin(source, start).at;
  }

  /**
   * Plays a buffer once, beginning at `start`.
   *
   * @param onEnd called when playback has ended or was stopped
   */
  playOnce(audio: AudioBuffer, start: Seconds, onEnd: () => void): void {
    const source = new AudioBufferSourceNode(this.output.context, { buffer: audio });
    const { gain, at } = this.begin(source, start);
    source.addEventListener("ended", onEnd, { once: true });
    gain.gain.setValueCurveAtTime(FADE_OUT, Math.max(at + JOIN_FADE, at + audio.duration - JOIN_FADE), JOIN_FADE);
  }

  /** Fades out the current buffer at `time`. */
  stop(time: Seconds = this.now): void {
    if (this.voice === null) return;
    const { source, gain } = this.voice;
    gain.gain.cancelScheduledValues(time);
    gain.gain.setValueCurveAtTime(FADE_OUT, time, JOIN_FADE);
    source.stop(time + JOIN_FADE);
    this.voice = null;
  }

  private begin(source: AudioBufferSourceNode, start: Seconds): Voice & { at: Seconds } {
    const { context } = this.output;
    const at = onSample(Math.max(start, context.currentTime), context.sampleRate);
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueCurveAtTime(FADE_IN, at, JOIN_FADE);
    source.connect(gain).connect(this.output);
    const forget = this.scope.add(() => {
      source.disconnect();
      gain.disconnect();
    });
    const voice = { source, gain };
    source.addEventListener("ended", () => {
      forget();
      if (this.voice === voice) this.voice = null;
    }, { once: true });
    source.start(at);
    this.stop(at);
    this.voice = voice;
    return { ...voice, at };
  }

  dispose(): void {
    this.voice?.source.stop();
    this.scope.dispose();
  }
}
