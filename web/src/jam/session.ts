/** A person's jam: the conductor, the loudspeaker, previews and recordings behind one door. */

import type { Client, Failure } from "../api/client";
import { Mixer } from "../audio/mixer";
import { Player } from "../audio/player";
import { Preview } from "../audio/preview";
import { LONGEST_RECORDING, Recorder, type Recording } from "../audio/recorder";
import { Scope } from "../scope";
import type { Settings } from "../settings/settings";
import type { Seconds } from "../units";
import type { Walk } from "../walk/walk";
import type { Clip } from "./clip";
import { Conductor } from "./conductor";
import type { Slot } from "./playback_timeline";
import { type JamFacts, type Phase, type Status, statusOf } from "./status";
import { ServerClipSource } from "./clip_source";

export type HeardClip = Clip<AudioBuffer>;

const TICK: Seconds = 0.25;
const USUAL_DURATION: Seconds = 5.12;

export class Session {
  readonly conductor: Conductor<AudioBuffer>;
  readonly clipSource: ServerClipSource;
  private readonly scope = new Scope();
  private readonly listeners = new Set<() => void>();
  private mixer: Mixer | null = null;
  private player: Player | null = null;
  private previewer: Preview | null = null;
  private recorder: Recorder | null = null;
  private current: Phase = "idle";
  private isHeld = false;
  private start: Seconds | null = null;
  private lastHeard: string | undefined;

  constructor(client: Client, walk: Walk, settings: Settings) {
    this.clipSource = new ServerClipSource(client, () => this.open().context);
    const session = this;
    const player = {
      get now() {
        return session.mixer?.now ?? 0;
      },
      play: (audio: AudioBuffer, start: Seconds) => this.play(audio, start),
    };
    const onTakeOver = (clip: HeardClip, start: Seconds): void => this.recorder?.takeOver(clip.audio, start);
    this.conductor = new Conductor(this.clipSource, player, walk, settings, () => this.notify(), onTakeOver);
  }

  get phase(): Phase {
    return this.current === "playing" && this.mixer?.isBlocked ? "blocked" : this.current;
  }

  /** What the ear hears now, on the audio clock. */
  get heardNow(): Seconds {
    return this.mixer?.heardNow ?? 0;
  }

  /** When the first clip began. */
  get origin(): Seconds {
    return this.start ?? 0;
  }

  /** The clip that is heard. */
  get heard(): Slot<HeardClip> | undefined {
    return this.conductor.playback.at(this.heardNow);
  }

  get clipDuration(): Seconds {
    return this.conductor.playback.last?.clip.audio.duration ?? USUAL_DURATION;
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
      stepShare: conductor.alphaStep / conductor.settings.alphaStep,
      trouble: conductor.trouble,
      isHeld: this.isHeld,
    };
    return statusOf(facts);
  }

  /** Calls `listener` whenever something that can be read here may have changed. */
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  /** Plays or pauses. To be called from a click or a key, as browsers want it. */
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

  /** Whether to ask for no more clips until somebody listens. */
  hold(isHeld: boolean): void {
    this.isHeld = isHeld;
    this.conductor.hold(isHeld);
    this.notify();
  }

  /** To be called from a click that leads to a preview, as browsers want it. */
  allowPreview(): void {
    this.open().unlock();
  }

  /** Plays a audio over the jam. */
  preview(audio: AudioBuffer, onEnd: () => void): void {
    this.open();
    this.previewer?.play(audio, onEnd);
  }

  stopPreview(): void {
    this.previewer?.stop();
  }

  /** Decodes a file that a person has; null if it holds no audio that the browser knows. */
  async decode(file: Blob): Promise<AudioBuffer | null> {
    try {
      return await this.open().context.decodeAudioData(await file.arrayBuffer());
    } catch {
      return null;
    }
  }

  /** Lets a part of the clip that is heard be made anew, and plays the result next. */
  async repaint(clip: HeardClip, image: string, mask: string, signal: AbortSignal): Promise<Failure | null> {
    const outcome = await this.clipSource.repaint(clip.stop, clip.settings, image, mask, signal);
    if ("failure" in outcome) return outcome.failure;
    const { audio, image: repainted } = outcome.made;
    this.conductor.insert({ ...clip, audio, image: repainted, isRepainted: true });
    return null;
  }

  /** Begins to record; false where there is nothing to be heard yet. */
  startRecording(): boolean {
    const { heard, mixer } = this;
    if (!heard || !mixer || this.recorder) return false;
    this.recorder = new Recorder(mixer, heard.clip.audio, heard.start);
    const { last } = this.conductor.playback;
    if (last && last.start > mixer.heardNow) this.recorder.takeOver(last.clip.audio, last.start);
    this.notify();
    return true;
  }

  /** Ends the recording; null if there was none. */
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
      this.mixer = new Mixer(() => this.notify());
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

  /** Time passes: another clip or another round may be heard. */
  private tick(): void {
    const { heard, recordingDuration } = this;
    const key = `${heard?.clip.id}+${this.conductor.playback.roundsAt(this.heardNow)}`;
    if (key !== this.lastHeard || recordingDuration !== null) this.notify();
    this.lastHeard = key;
    if (recordingDuration !== null && recordingDuration > LONGEST_RECORDING) this.recordingIsFull?.();
  }

  /** Called when a recording is as long as it may be. */
  recordingIsFull: (() => void) | null = null;

  private notify(): void {
    for (const listener of this.listeners) listener();
  }
}
