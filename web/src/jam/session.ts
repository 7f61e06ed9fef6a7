/** The jam of one page: connects the conductor with audio output, previews and recordings. */

import type { Failure } from "../api/client";
import { Mixer } from "../audio/mixer";
import { Player } from "../audio/player";
import { Preview } from "../audio/preview";
import { MAX_RECORDING, Recorder, type Recording } from "../audio/recorder";
import type { Backend } from "../backend/backend";
import { Scope } from "../scope";
import { type Distillation, fitted, isInstant } from "../settings/distilled";
import type { Settings } from "../settings/settings";
import type { Seconds, Share } from "../units";
import type { Walk } from "../walk/walk";
import type { Clip } from "./clip";
import { BackendClipSource } from "./clip_source";
import { Conductor } from "./conductor";
import type { Slot } from "./playback_timeline";
import { type JamFacts, type Phase, type Status, statusOf } from "./status";

export type HeardClip = Clip<AudioBuffer>;

const TICK: Seconds = 0.25;

export class Session {
  readonly conductor: Conductor<AudioBuffer>;
  readonly clipSource: BackendClipSource;
  /** What the checkpoint can do; null if it is not distilled, or not known yet. */
  distillation: Distillation | null = null;
  private readonly scope = new Scope();
  private readonly listeners = new Set<() => void>();
  private mixer: Mixer | null = null;
  private player: Player | null = null;
  private previewer: Preview | null = null;
  private recorder: Recorder | null = null;
  private current: Phase = "idle";
  private isOnHold = false;
  private start: Seconds | null = null;
  private lastHeard: string | undefined;
  private volume: Share = 1;

  constructor(private readonly backend: Backend, walk: Walk, settings: Settings) {
    const { client } = backend;
    this.clipSource = new BackendClipSource(client, () => this.open().context);
    const session = this;
    const player = {
      get now() {
        return session.mixer?.now ?? 0;
      },
      play: (audio: AudioBuffer, start: Seconds) => this.play(audio, start),
    };
    const onTakeOver = (clip: HeardClip, start: Seconds): void => this.recorder?.takeOver(clip.audio, start);
    this.conductor = new Conductor(this.clipSource, player, walk, settings, () => this.notify(), onTakeOver);
    backend.onChange(() => this.notify());
  }

  get phase(): Phase {
    return this.current === "playing" && this.mixer?.isBlocked ? "blocked" : this.current;
  }

  /** The time on the audio clock that is audible now. */
  get heardNow(): Seconds {
    return this.mixer?.heardNow ?? 0;
  }

  /** Start time of the first clip. */
  get origin(): Seconds {
    return this.start ?? 0;
  }

  /** The slot of the audible clip. */
  get heard(): Slot<HeardClip> | undefined {
    return this.conductor.playback.at(this.heardNow);
  }

  get clipDuration(): Seconds {
    return this.conductor.clipDuration;
  }

  /** Whether the music waits for clips, so what makes them should have all of the processor. */
  get areClipsLate(): boolean {
    const { playback, ready, speed } = this.conductor;
    if (this.current !== "playing" || ready.length > 0) return false;
    return this.start === null || speed.isBehind || playback.roundsAt(this.heardNow) > 1;
  }

  get recordingDuration(): Seconds | null {
    return this.recorder ? this.recorder.durationAt(this.heardNow) : null;
  }

  get status(): Status {
    const { conductor } = this;
    const facts: JamFacts = {
      phase: this.phase,
      hasPlayed: this.start !== null,
      numReady: conductor.ready.length,
      rounds: conductor.playback.roundsAt(this.heardNow),
      clipDuration: this.clipDuration,
      wantedSteps: conductor.settings.numInferenceSteps,
      speed: conductor.speed,
      stepScale: conductor.alphaStep / conductor.settings.alphaStep,
      trouble: conductor.trouble,
      isOnHold: this.isOnHold,
      isInstantOff: this.distillation !== null && !isInstant(conductor.settings, this.distillation),
      maker: this.backend.maker,
      preparation: this.backend.preparation,
    };
    return statusOf(facts);
  }

  /** Replaces the settings, changed where the server would refuse them. */
  adjust(settings: Settings): void {
    this.conductor.adjust(fitted(settings, this.distillation));
  }

  /** Calls `listener` whenever the public state may have changed. */
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  /** Plays or pauses. Call it from a click or key event, as browsers require that to start audio. */
  async toggle(): Promise<void> {
    if (this.phase === "playing") {
      this.current = "paused";
      this.notify();
      await this.open().setJamAudible(false);
      return;
    }
    const isFirst = this.current === "idle";
    this.current = "playing";
    this.notify();
    const mixer = this.open();
    if (isFirst) {
      this.conductor.start();
      this.scope.every(TICK, () => this.tick());
    }
    await mixer.setJamAudible(true);
  }

  /** Stops requesting clips while `isOnHold` is true. */
  hold(isOnHold: boolean): void {
    this.isOnHold = isOnHold;
    this.conductor.hold(isOnHold);
    this.notify();
  }

  /** Sets the volume, from 0 to 1. */
  setVolume(volume: Share): void {
    this.volume = volume;
    this.mixer?.setVolume(volume);
  }

  /** Allows a later preview. Call it from a click event, as browsers require that to start audio. */
  allowPreview(): void {
    this.open().unlock();
  }

  /** Plays audio over the jam. */
  preview(audio: AudioBuffer, onEnd: () => void): void {
    this.open();
    this.previewer?.play(audio, onEnd);
  }

  stopPreview(): void {
    this.previewer?.stop();
  }

  /** Decodes the user's file; null if it contains no audio that the browser can read. */
  async decode(file: Blob): Promise<AudioBuffer | null> {
    try {
      return await this.open().context.decodeAudioData(await file.arrayBuffer());
    } catch {
      return null;
    }
  }

  /** Regenerates the masked part of a clip and plays the result next. Returns the failure, if any. */
  async repaint(clip: HeardClip, image: string, mask: string, signal: AbortSignal): Promise<Failure | null> {
    const result = await this.clipSource.repaint(clip.stop, clip.settings, image, mask, signal);
    if ("failure" in result) return result.failure;
    const { audio, image: repainted } = result.made;
    this.conductor.insert({ ...clip, audio, image: repainted, isRepainted: true });
    return null;
  }

  /** Starts a recording. Returns false if nothing is playing yet or a recording is running. */
  startRecording(): boolean {
    const { heard, mixer } = this;
    if (!heard || !mixer || this.recorder) return false;
    this.recorder = new Recorder(mixer, heard.clip.audio, heard.start);
    const { last } = this.conductor.playback;
    if (last && last.start > mixer.heardNow) this.recorder.takeOver(last.clip.audio, last.start);
    this.notify();
    return true;
  }

  /** Ends the recording and returns it; null if there was none. */
  async stopRecording(): Promise<Recording | null> {
    const { recorder } = this;
    this.recorder = null;
    this.notify();
    return recorder ? recorder.finish(this.heardNow) : null;
  }

  dispose(): void {
    this.conductor.dispose();
    this.previewer?.dispose();
    this.player?.dispose();
    this.mixer?.dispose();
    this.scope.dispose();
  }

  private open(): Mixer {
    if (this.mixer === null) {
      this.mixer = new Mixer(() => this.notify(), this.volume);
      this.player = new Player(this.mixer.jam);
      this.previewer = new Preview(this.mixer);
    }
    return this.mixer;
  }

  private play(audio: AudioBuffer, start: Seconds): Seconds {
    this.open();
    const exact = this.player?.play(audio, start) ?? start;
    this.start ??= exact;
    return exact;
  }

  /** Notifies listeners when another clip or round becomes audible. */
  private tick(): void {
    const { heard, recordingDuration } = this;
    const key = `${heard?.clip.id}+${this.conductor.playback.roundsAt(this.heardNow)}`;
    if (key !== this.lastHeard || recordingDuration !== null) this.notify();
    this.lastHeard = key;
    if (recordingDuration !== null && recordingDuration > MAX_RECORDING) this.recordingIsFull?.();
  }

  /** Called when a recording has reached its maximum length. */
  recordingIsFull: (() => void) | null = null;

  private notify(): void {
    for (const listener of this.listeners) listener();
  }
}
