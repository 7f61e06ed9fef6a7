/**
 * Keeps the music going: asks the walk for the next stop, the server for its clip, and the player to play
 * it at the end of a round.
 *
 *     walk ──stop──▶ clipSource ──clip──▶ ready, a few clips ahead ──▶ player, on the audio clock
 *
 * The walk moves on only when a clip has come, so nothing is left out when something fails. What sounds
 * is a loop and needs nobody; whatever happens here, it goes on.
 */

import { takeOverTime } from "../audio/schedule";
import { Scope } from "../scope";
import type { Settings } from "../settings/settings";
import type { Seconds, Share } from "../units";
import { type Walk, isWandering, jump, redirect, step, withQueue } from "../walk/walk";
import { type Clip, type ClipAudio, walkBefore } from "./clip";
import { type UpcomingPrompts, type Position, upcomingAfter, promptsAfter } from "./upcoming_prompts";
import { ClipRequest, type Wanted } from "./clip_request";
import { ServerSpeed, type Speed } from "./server_speed";
import type { ClipPlayer, ClipInProgress, MadeClip, ClipSource, Trouble } from "./types";
import { PlaybackTimeline } from "./playback_timeline";

const TICK: Seconds = 0.2;
const FIRST_START: Seconds = 0.15;
/** Until a clip has come, they are thought to be as long as the published checkpoint's. */
const USUAL_DURATION: Seconds = 5.12;

export class Conductor<S extends ClipAudio> {
  readonly playback = new PlaybackTimeline<Clip<S>>();
  ready: Clip<S>[] = [];
  private readonly serverSpeed = new ServerSpeed();
  private readonly scope = new Scope();
  private request: ClipRequest<S> | null = null;
  private isHeld = false;
  private isStarted = false;
  private lastId = 0;

  /**
   * @param onChange called after every change of what can be read here
   * @param onTakeOver told each clip and when it begins, ahead of time
   * @param random draws from [0, 1)
   */
  constructor(
    private readonly clipSource: ClipSource<S>,
    private readonly player: ClipPlayer<S>,
    private walked: Walk,
    private used: Settings,
    private readonly onChange: () => void = () => undefined,
    private readonly onTakeOver: (clip: Clip<S>, start: Seconds) => void = () => undefined,
    private readonly random: () => number = Math.random,
  ) {}

  /** Before the clip that is asked for next. */
  get walk(): Walk {
    return this.walked;
  }

  get settings(): Settings {
    return this.used;
  }

  /** The clip in the making. */
  get drawing(): ClipInProgress | null {
    return this.request?.drawing ?? null;
  }

  get trouble(): Trouble | null {
    return this.request?.trouble ?? null;
  }

  get speed(): Speed {
    const duration = this.playback.last?.clip.audio.duration ?? USUAL_DURATION;
    return this.serverSpeed.speed(this.used.numInferenceSteps, duration);
  }

  /** From the next clip to the one after it. Nobody waits any longer for a prompt where the server is slow. */
  get alphaStep(): Share {
    return this.used.alphaStep * (isWandering(this.walked) ? this.speed.wanderStepScale : 1);
  }

  /** What comes after a clip that is heard. */
  upcomingAfter(heard: Clip<S> | undefined): UpcomingPrompts {
    return upcomingAfter(heard, this.position);
  }

  /** Prompts that the jam goes to after a clip and the end it is on its way to, the next one first. */
  promptsAfter(clip: Clip<S>): readonly string[] {
    return promptsAfter(clip, this.position);
  }

  /** Begins to ask and to play. */
  start(): void {
    if (this.isStarted) return;
    this.isStarted = true;
    this.scope.every(TICK, () => this.tick());
    this.requestIfNeeded();
  }

  /** Whether to ask for no more clips for the time being. */
  hold(isHeld: boolean): void {
    this.isHeld = isHeld;
    this.requestIfNeeded();
  }

  /** Other prompts to come. */
  queue(prompts: readonly string[]): void {
    this.walked = withQueue(this.walked, prompts);
    this.replaceReadyClips();
  }

  /** Other settings, for the clips to come. */
  adjust(settings: Settings): void {
    this.used = settings;
    this.replaceReadyClips();
  }

  /** Other prompts in place of those that are open, also of one that clips are on their way to. */
  replaceUpcoming(prompts: readonly string[]): void {
    const { open } = this.upcomingAfter(undefined);
    const numTaken = open.length - this.walked.queue.length;
    if (open.slice(0, numTaken).every((prompt, i) => prompt === prompts[i])) {
      this.queue(prompts.slice(numTaken));
      return;
    }
    const kept = this.ready.findIndex(({ stop, isRepainted }) => !isRepainted && stop.start.prompt !== stop.end.prompt);
    const turning = this.ready[kept];
    if (turning) {
      this.walked = walkBefore(turning);
      this.ready = this.ready.slice(0, kept);
    }
    this.walked = redirect(this.walked, prompts);
    this.requestAgain();
  }

  /**
   * Lets the very next clip be of `prompt`.
   *
   * @param then prompts after it
   */
  jump(prompt: string, then: readonly string[] = this.upcomingAfter(undefined).open): void {
    this.walked = jump(withQueue(this.playback.last?.clip.walk ?? this.walked, then), prompt);
    this.ready = [];
    this.requestAgain();
  }

  /** Lets a clip that was made elsewhere play next. */
  insert(clip: Omit<Clip<S>, "id">): void {
    this.ready = [{ ...clip, id: ++this.lastId }, ...this.ready];
    this.tick();
  }

  dispose(): void {
    this.request?.cancel();
    this.scope.dispose();
  }

  private get position(): Position<S> {
    return { last: this.playback.last?.clip, ready: this.ready, walk: this.walked };
  }

  /** A take-over, if it is time for one. */
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
   * After a change of course: clips that are ready are made again where the server is fast enough for
   * that, so the change is heard soon. The first stays, and so do those that go to a queued prompt.
   */
  private replaceReadyClips(): void {
    const { secondsPerClip } = this.speed;
    const isFast = secondsPerClip !== null && 2 * secondsPerClip < (this.playback.last?.clip.audio.duration ?? 0);
    let kept = this.ready.length;
    if (isFast && staysWithPrompt(this.walked)) {
      while (kept > 1 && staysWithPrompt(walkBefore(this.ready[kept - 1]!))) kept--;
    }
    const last = this.ready[kept - 1];
    if (last && kept < this.ready.length) this.walked = withQueue(last.walk, this.walked.queue);
    this.ready = this.ready.slice(0, kept);
    this.requestAgain();
  }

  /** Gives up what is being asked for, unless it is wanted as it is. */
  private requestAgain(): void {
    if (!this.request?.brings(step(this.walked, this.alphaStep).stop, this.used)) {
      this.request?.cancel();
      this.request = null;
    }
    this.onChange();
    this.requestIfNeeded();
  }

  private requestIfNeeded(): void {
    const isIdle = this.request === null && !this.scope.isClosed;
    if (!this.isStarted || this.isHeld || !isIdle || this.ready.length >= this.speed.clipsAhead) return;
    const want = (): Wanted => ({
      stop: step(this.walked, this.alphaStep).stop, settings: this.used, numSteps: this.speed.numSteps,
    });
    const request = new ClipRequest(this.clipSource, want, this.onChange, this.random);
    this.request = request;
    void request.arrival().then((arrival) => {
      if (arrival === null || this.request !== request) return; // something else is asked for by now
      this.request = null;
      this.take(arrival.wanted, arrival.made);
      this.requestIfNeeded();
    });
  }

  /** A clip has come. */
  private take(wanted: Wanted, { audio, image, timing }: MadeClip<S>): void {
    this.serverSpeed.note(timing);
    this.walked = step(this.walked, this.alphaStep).walk; // its queue may be another by now
    this.ready = [...this.ready, { ...wanted, id: ++this.lastId, walk: this.walked, audio, image, isRepainted: false }];
    this.tick();
    this.onChange();
  }
}

/** Whether a walk is between two seeds of one prompt. */
function staysWithPrompt({ current, target }: Walk): boolean {
  return current.prompt === target.prompt;
}
