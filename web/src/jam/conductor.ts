/**
 * Keeps the music playing: takes the next stop from the walk, requests its clip from the server, and schedules
 * the clip in the player at the end of a round.
 *
 *     walk ──stop──▶ clip source ──clip──▶ ready, a few clips ahead ──▶ player, on the audio clock
 *
 * The walk advances only when a clip has arrived, so a failure skips nothing. The clip that plays is a loop in
 * the audio thread, so it continues whatever happens here.
 */

import { takeOverTime } from "../audio/schedule";
import { Scope } from "../scope";
import type { Settings } from "../settings/settings";
import type { Seconds, Share } from "../units";
import { type Walk, isWandering, jump, redirect, step, withQueue } from "../walk/walk";
import { type Clip, type ClipAudio, USUAL_DURATION, walkBefore } from "./clip";
import { ClipRequest, type ClipSpec } from "./clip_request";
import { PlaybackTimeline } from "./playback_timeline";
import { ServerSpeed, type Speed } from "./server_speed";
import type { ClipPlayer, ClipInProgress, MadeClip, ClipSource, Trouble } from "./types";
import { type UpcomingPrompts, type Position, upcomingAfter, promptsAfter } from "./upcoming_prompts";

const TICK: Seconds = 0.2;
const FIRST_START: Seconds = 0.15;

export class Conductor<S extends ClipAudio> {
  readonly playback = new PlaybackTimeline<Clip<S>>();
  ready: Clip<S>[] = [];
  private readonly serverSpeed = new ServerSpeed();
  private readonly scope = new Scope();
  private request: ClipRequest<S> | null = null;
  private isOnHold = false;
  private isStarted = false;
  private lastId = 0;

  /**
   * @param onChange called after every change of the public state
   * @param onTakeOver called with each clip and its start time when the clip is scheduled
   * @param random returns a number in [0, 1)
   */
  constructor(
    private readonly clipSource: ClipSource<S>,
    private readonly player: ClipPlayer<S>,
    private currentWalk: Walk,
    private currentSettings: Settings,
    private readonly onChange: () => void = () => undefined,
    private readonly onTakeOver: (clip: Clip<S>, start: Seconds) => void = () => undefined,
    private readonly random: () => number = Math.random,
  ) {}

  /** The walk before the next clip to request. */
  get walk(): Walk {
    return this.currentWalk;
  }

  get settings(): Settings {
    return this.currentSettings;
  }

  /** The clip that is being made. */
  get inProgress(): ClipInProgress | null {
    return this.request?.inProgress ?? null;
  }

  get trouble(): Trouble | null {
    return this.request?.trouble ?? null;
  }

  get speed(): Speed {
    return this.serverSpeed.speed(this.currentSettings.numInferenceSteps, this.clipDuration);
  }

  /** Duration of the last scheduled clip, or the usual duration before the first one. */
  get clipDuration(): Seconds {
    return this.playback.last?.clip.audio.duration ?? USUAL_DURATION;
  }

  /** The alpha step to the clip after next. It is reduced for a slow server, but not on the way to another prompt. */
  get alphaStep(): Share {
    return this.currentSettings.alphaStep * (isWandering(this.currentWalk) ? this.speed.wanderStepScale : 1);
  }

  /** The prompts after the audible clip. */
  upcomingAfter(heard: Clip<S> | undefined): UpcomingPrompts {
    return upcomingAfter(heard, this.position);
  }

  /** The prompts after a clip and its target end, the next one first. */
  promptsAfter(clip: Clip<S>): readonly string[] {
    return promptsAfter(clip, this.position);
  }

  /** Starts requesting and playing clips. */
  start(): void {
    if (this.isStarted) return;
    this.isStarted = true;
    this.scope.every(TICK, () => this.tick());
    this.requestIfNeeded();
  }

  /** Stops requesting clips while `isOnHold` is true. */
  hold(isOnHold: boolean): void {
    this.isOnHold = isOnHold;
    this.requestIfNeeded();
  }

  /** Replaces the queued prompts. */
  queue(prompts: readonly string[]): void {
    this.currentWalk = withQueue(this.currentWalk, prompts);
    this.replaceReadyClips();
  }

  /** Replaces the settings, for the clips that follow. */
  adjust(settings: Settings): void {
    this.currentSettings = settings;
    this.replaceReadyClips();
  }

  /** Replaces all editable prompts, including one that ready clips already lead to. */
  replaceUpcoming(prompts: readonly string[]): void {
    const { editable } = this.upcomingAfter(undefined);
    const numTaken = editable.length - this.currentWalk.queue.length;
    if (editable.slice(0, numTaken).every((prompt, i) => prompt === prompts[i])) {
      this.queue(prompts.slice(numTaken));
      return;
    }
    const kept = this.ready.findIndex(({ stop, isRepainted }) => !isRepainted && stop.start.prompt !== stop.end.prompt);
    const changing = this.ready[kept];
    if (changing) {
      this.currentWalk = walkBefore(changing);
      this.ready = this.ready.slice(0, kept);
    }
    this.currentWalk = redirect(this.currentWalk, prompts);
    this.requestAgain();
  }

  /**
   * Makes `prompt` the very next clip, without a transition.
   *
   * @param then prompts to play after it
   */
  jump(prompt: string, then: readonly string[] = this.upcomingAfter(undefined).editable): void {
    this.currentWalk = jump(withQueue(this.playback.last?.clip.walk ?? this.currentWalk, then), prompt);
    this.ready = [];
    this.requestAgain();
  }

  /** Plays a clip next that was not requested by the conductor. */
  insert(clip: Omit<Clip<S>, "id">): void {
    this.ready = [{ ...clip, id: ++this.lastId }, ...this.ready];
    this.tick();
  }

  dispose(): void {
    this.request?.cancel();
    this.scope.dispose();
  }

  private get position(): Position<S> {
    return { last: this.playback.last?.clip, ready: this.ready, walk: this.currentWalk };
  }

  /** Schedules the next take-over if it is due. */
  private tick(): void {
    const { now } = this.player;
    const { last } = this.playback;
    const [clip, ...ready] = this.ready;
    if (clip === undefined) return;
    const start = last
      ? last.start > now ? null : takeOverTime({ start: last.start, duration: last.clip.audio.duration }, now)
      : now + FIRST_START;
    if (start === null) return;
    this.ready = ready;
    const exact = this.player.play(clip.audio, start);
    this.playback.add(clip, exact);
    this.onTakeOver(clip, exact);
    this.onChange();
    this.requestIfNeeded();
  }

  /**
   * Discards ready clips after a change, so that the change is heard soon, if the server is fast enough to make
   * them again in time. The first ready clip is kept, and so are clips that lead to another prompt.
   */
  private replaceReadyClips(): void {
    const { secondsPerClip } = this.speed;
    const isFast = secondsPerClip !== null && 2 * secondsPerClip < (this.playback.last?.clip.audio.duration ?? 0);
    let kept = this.ready.length;
    if (isFast && staysWithPrompt(this.currentWalk)) {
      while (kept > 1 && staysWithPrompt(walkBefore(this.ready[kept - 1]!))) kept--;
    }
    const last = this.ready[kept - 1];
    if (last && kept < this.ready.length) this.currentWalk = withQueue(last.walk, this.currentWalk.queue);
    this.ready = this.ready.slice(0, kept);
    this.requestAgain();
  }

  /** Cancels the current request, unless it is still for the next clip, and requests what is needed. */
  private requestAgain(): void {
    if (!this.request?.isFor(step(this.currentWalk, this.alphaStep).stop, this.currentSettings)) {
      this.request?.cancel();
      this.request = null;
    }
    this.onChange();
    this.requestIfNeeded();
  }

  private requestIfNeeded(): void {
    const isIdle = this.request === null && !this.scope.isClosed;
    if (!this.isStarted || this.isOnHold || !isIdle || this.ready.length >= this.speed.clipsAhead) return;
    const currentSpec = (): ClipSpec => ({
      stop: step(this.currentWalk, this.alphaStep).stop, settings: this.currentSettings, numSteps: this.speed.numSteps,
    });
    const request = new ClipRequest(this.clipSource, currentSpec, this.onChange, this.random);
    this.request = request;
    void request.send().then((result) => {
      if (result === null || this.request !== request) return; // replaced by another request
      this.request = null;
      this.addClip(result.spec, result.made);
      this.requestIfNeeded();
    });
  }

  /** Adds a clip that has arrived. */
  private addClip(spec: ClipSpec, { audio, image, timing }: MadeClip<S>): void {
    this.serverSpeed.add(timing);
    this.currentWalk = step(this.currentWalk, this.alphaStep).walk; // its queue may have changed since the request
    this.ready = [...this.ready, { ...spec, id: ++this.lastId, walk: this.currentWalk, audio, image, isRepainted: false }];
    this.tick();
    this.onChange();
  }
}

/** Whether a walk is between two seeds of the same prompt. */
function staysWithPrompt({ current, target }: Walk): boolean {
  return current.prompt === target.prompt;
}
