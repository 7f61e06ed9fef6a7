/**
 * Plays versions of a recording, and changes from one to another at the same place of the music.
 *
 * The samples are handed to the audio clock in parts of one second, so that a long recording starts immediately and
 * is never in memory twice. The context has the recording's own rate, so parts join without a gap.
 */

import { JOIN_FADE, curve, gainIn, gainOut } from "../audio/fade";
import { Scope } from "../scope";
import type { Hertz, Seconds, Share } from "../units";

/** A sound whose samples can be read. Positions are samples. */
export interface Sound {
  readonly length: number;
  /** Writes one channel into `target`, from the sample `start` on. */
  read(channel: number, start: number, target: Float32Array<ArrayBuffer>): void;
}

/** The part of a sound that repeats. */
export interface Repeat {
  readonly start: number;
  readonly stop: number;
}

const PART: Seconds = 1;
/** How far ahead parts are scheduled: a hidden tab's timers run once a second. */
const AHEAD: Seconds = 3;
const TICK: Seconds = 0.2;
const LEAD: Seconds = 0.03;
const FADE_IN = curve(gainIn);
const FADE_OUT = curve(gainOut);

interface Voice {
  readonly sound: Sound;
  readonly repeat: Repeat | null;
  readonly from: number;
  readonly startTime: Seconds;
  readonly gain: GainNode;
  readonly scope: Scope;
  /** Samples that were scheduled. */
  scheduled: number;
}

export class EditPlayer {
  private readonly scope: Scope;
  private context: AudioContext | null = null;
  private output: GainNode | null = null;
  private voice: Voice | null = null;
  private volume: Share = 1;

  /**
   * @param onChange called when playback has begun or ended
   */
  constructor(
    parent: Scope,
    private readonly sampleRate: Hertz,
    private readonly numChannels: number,
    private readonly onChange: () => void,
  ) {
    this.scope = parent.child();
    this.scope.every(TICK, () => this.tick());
  }

  get isPlaying(): boolean {
    return this.voice !== null;
  }

  /** The sample that is heard now; null if nothing plays. */
  get position(): number | null {
    const { voice, context } = this;
    if (voice === null || context === null) return null;
    return this.placeAt(voice, context.currentTime - (context.outputLatency || context.baseLatency || 0));
  }

  /** Sets the volume, from 0 to 1. */
  setVolume(volume: Share): void {
    this.volume = volume;
    if (this.output && this.context) this.output.gain.setTargetAtTime(volume, this.context.currentTime, JOIN_FADE);
  }

  /** Plays from a sample on. Call it from a click or key event, as browsers require that to start audio. */
  play(sound: Sound, from: number, repeat: Repeat | null): void {
    const context = this.open();
    void context.resume().catch(() => undefined);
    this.begin(sound, from, repeat, context.currentTime + LEAD);
    this.onChange();
  }

  /** Goes on with another sound, at the place that `placeIn` gives for the current one. */
  changeTo(sound: Sound, placeIn: (at: number) => number, repeat: Repeat | null): void {
    if (this.voice === null || this.context === null) return;
    const time = this.context.currentTime + LEAD;
    this.begin(sound, placeIn(this.placeAt(this.voice, time)), repeat, time);
  }

  stop(): void {
    if (this.context) this.fadeOut(this.context.currentTime);
    this.onChange();
  }

  dispose(): void {
    this.scope.dispose();
  }

  private open(): AudioContext {
    if (this.context) return this.context;
    const context = this.makeContext();
    this.scope.add(() => void context.close());
    this.output = new GainNode(context, { gain: this.volume });
    this.output.connect(context.destination);
    this.context = context;
    return context;
  }

  private makeContext(): AudioContext {
    try {
      return new AudioContext({ sampleRate: this.sampleRate, latencyHint: "interactive" });
    } catch {
      return new AudioContext({ latencyHint: "interactive" }); // it resamples, and that is only for listening
    }
  }

  private begin(sound: Sound, from: number, repeat: Repeat | null, time: Seconds): void {
    const context = this.open();
    this.fadeOut(time);
    const scope = this.scope.child();
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueCurveAtTime(FADE_IN, time, JOIN_FADE);
    gain.connect(this.output ?? context.destination);
    scope.add(() => gain.disconnect());
    const isInside = repeat !== null && from < repeat.stop;
    this.voice = { sound, repeat: isInside ? repeat : null, from: Math.round(from), startTime: time, gain, scope, scheduled: 0 };
    this.tick();
  }

  /** Schedules the parts that are due, and ends playback at the end of the sound. */
  private tick(): void {
    const { voice, context } = this;
    if (voice === null || context === null) return;
    const elapsed = (context.currentTime - voice.startTime) * this.sampleRate;
    if (voice.repeat === null && voice.from + elapsed > voice.sound.length) {
      this.stop();
      return;
    }
    while (voice.scheduled < elapsed + AHEAD * this.sampleRate && this.schedulePart(voice, context));
  }

  /** Schedules the next part; false at the end of the sound. */
  private schedulePart(voice: Voice, context: AudioContext): boolean {
    const start = this.sampleAt(voice, voice.scheduled);
    const end = voice.repeat && start < voice.repeat.stop ? voice.repeat.stop : voice.sound.length;
    const length = Math.min(end - start, Math.round(PART * this.sampleRate));
    if (length <= 0) return false;
    const buffer = new AudioBuffer({ length, numberOfChannels: this.numChannels, sampleRate: this.sampleRate });
    for (let channel = 0; channel < this.numChannels; channel++) voice.sound.read(channel, start, buffer.getChannelData(channel));
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(voice.gain);
    source.start(voice.startTime + voice.scheduled / this.sampleRate);
    const forget = voice.scope.add(() => source.disconnect());
    source.addEventListener("ended", forget, { once: true });
    voice.scheduled += length;
    return true;
  }

  /** The sample that is played `elapsed` samples after the start. */
  private sampleAt({ from, repeat }: Voice, elapsed: number): number {
    const at = from + elapsed;
    return repeat === null || at < repeat.stop ? at : repeat.start + ((at - repeat.stop) % (repeat.stop - repeat.start));
  }

  private placeAt(voice: Voice, time: Seconds): number {
    const elapsed = Math.max(0, (time - voice.startTime) * this.sampleRate);
    return Math.min(voice.sound.length, this.sampleAt(voice, elapsed));
  }

  private fadeOut(time: Seconds): void {
    const { voice } = this;
    if (voice === null) return;
    this.voice = null;
    const { gain } = voice.gain;
    gain.cancelScheduledValues(time);
    gain.setValueCurveAtTime(FADE_OUT, Math.max(time, voice.startTime + JOIN_FADE), JOIN_FADE);
    this.scope.after(LEAD + JOIN_FADE + TICK, () => voice.scope.dispose());
  }
}
