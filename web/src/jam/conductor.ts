/**
 * Keeps the music going: asks the walk for the next stop, the server for its clip, and the deck to play
 * it at the end of a round.
 *
 *     walk ──stop──▶ studio ──clip──▶ ready, a few clips ahead ──▶ deck, on the audio clock
 *
 * The walk moves on only when a clip has come, so nothing is left out when something fails. What sounds
 * is a loop and needs nobody; whatever happens here, it goes on.
 */

import { takeOverTime } from "../audio/schedule";
import { Scope } from "../scope";
import type { Settings } from "../settings/settings";
import type { Seconds, Share } from "../units";
import { type Walk, isWandering, jump, redirect, step, withQueue } from "../walk/walk";
import { type Clip, type Sound, walkBefore } from "./clip";
import { type Itinerary, type Position, itineraryAfter, promptsAfter } from "./itinerary";
import { Order, type Wanted } from "./order";
import { Pace, type Speed } from "./pace";
import type { Deck, Drawing, Made, Studio, Trouble } from "./parts";
import { Score } from "./score";

const TICK: Seconds = 0.2;
const FIRST_START: Seconds = 0.15;
/** Until a clip has come, they are thought to be as long as the published checkpoint's. */
const USUAL_DURATION: Seconds = 5.12;

export class Conductor<S extends Sound> {
  readonly score = new Score<Clip<S>>();
  ready: Clip<S>[] = [];
  private readonly pace = new Pace();
  private readonly scope = new Scope();
  private order: Order<S> | null = null;
  private isHeld = false;
  private isStarted = false;
  private lastId = 0;

  /**
   * @param onChange called after every change of what can be read here
   * @param onTakeOver told each clip and when it begins, ahead of time
   * @param random draws from [0, 1)
   */
  constructor(
    private readonly studio: Studio<S>,
    private readonly deck: Deck<S>,
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
  get drawing(): Drawing | null {
    return this.order?.drawing ?? null;
  }

  get trouble(): Trouble | null {
    return this.order?.trouble ?? null;
  }

  get speed(): Speed {
    const duration = this.score.last?.clip.sound.duration ?? USUAL_DURATION;
    return this.pace.speed(this.used.numInferenceSteps, duration);
  }

  /** From the next clip to the one after it. Nobody waits any longer for a prompt where the server is slow. */
  get alphaStep(): Share {
    return this.used.alphaStep * (isWandering(this.walked) ? this.speed.wanderShare : 1);
  }

  /** What comes after a clip that is heard. */
  itineraryAfter(heard: Clip<S> | undefined): Itinerary {
    return itineraryAfter(heard, this.position);
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
    this.askIfNeeded();
  }

  /** Whether to ask for no more clips for the time being. */
  hold(isHeld: boolean): void {
    this.isHeld = isHeld;
    this.askIfNeeded();
  }

  /** Other prompts to come. */
  queue(prompts: readonly string[]): void {
    this.walked = withQueue(this.walked, prompts);
    this.freshen();
  }

  /** Other settings, for the clips to come. */
  adjust(settings: Settings): void {
    this.used = settings;
    this.freshen();
  }

  /** Other prompts in place of those that are open, also of one that clips are on their way to. */
  reroute(prompts: readonly string[]): void {
    const { open } = this.itineraryAfter(undefined);
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
    this.askAnew();
  }

  /**
   * Lets the very next clip be of `prompt`.
   *
   * @param then prompts after it
   */
  jump(prompt: string, then: readonly string[] = this.itineraryAfter(undefined).open): void {
    this.walked = jump(withQueue(this.score.last?.clip.walk ?? this.walked, then), prompt);
    this.ready = [];
    this.askAnew();
  }

  /** Lets a clip that was made elsewhere play next. */
  insert(clip: Omit<Clip<S>, "id">): void {
    this.ready = [{ ...clip, id: ++this.lastId }, ...this.ready];
    this.tick();
  }

  dispose(): void {
    this.order?.cancel();
    this.scope.dispose();
  }

  private get position(): Position<S> {
    return { last: this.score.last?.clip, ready: this.ready, walk: this.walked };
  }

  /** A take-over, if it is time for one. */
  private tick(): void {
    const { now } = this.deck;
    const { last } = this.score;
    const [clip, ...ready] = this.ready;
    if (clip === undefined) return;
    const start = last
      ? last.start > now ? null : takeOverTime({ start: last.start, duration: last.clip.sound.duration }, now)
      : now + FIRST_START;
    if (start === null) return;
    this.ready = ready;
    const exact = this.deck.play(clip.sound, start);
    this.score.add(clip, exact);
    this.onTakeOver(clip, exact);
    this.onChange();
    this.askIfNeeded();
  }

  /**
   * After a change of course: clips that are ready are made again where the server is fast enough for
   * that, so the change is heard soon. The first stays, and so do those that go to a queued prompt.
   */
  private freshen(): void {
    const { perClip } = this.speed;
    const isFast = perClip !== null && 2 * perClip < (this.score.last?.clip.sound.duration ?? 0);
    let kept = this.ready.length;
    if (isFast && staysWithPrompt(this.walked)) {
      while (kept > 1 && staysWithPrompt(walkBefore(this.ready[kept - 1]!))) kept--;
    }
    const last = this.ready[kept - 1];
    if (last && kept < this.ready.length) this.walked = withQueue(last.walk, this.walked.queue);
    this.ready = this.ready.slice(0, kept);
    this.askAnew();
  }

  /** Gives up what is being asked for, unless it is wanted as it is. */
  private askAnew(): void {
    if (!this.order?.brings(step(this.walked, this.alphaStep).stop, this.used)) {
      this.order?.cancel();
      this.order = null;
    }
    this.onChange();
    this.askIfNeeded();
  }

  private askIfNeeded(): void {
    const isIdle = this.order === null && !this.scope.isClosed;
    if (!this.isStarted || this.isHeld || !isIdle || this.ready.length >= this.speed.clipsAhead) return;
    const want = (): Wanted => ({
      stop: step(this.walked, this.alphaStep).stop, settings: this.used, numSteps: this.speed.numSteps,
    });
    const order = new Order(this.studio, want, this.onChange, this.random);
    this.order = order;
    void order.arrival().then((arrival) => {
      if (arrival === null || this.order !== order) return; // something else is asked for by now
      this.order = null;
      this.take(arrival.wanted, arrival.made);
      this.askIfNeeded();
    });
  }

  /** A clip has come. */
  private take(wanted: Wanted, { sound, picture, timing }: Made<S>): void {
    this.pace.note(timing);
    this.walked = step(this.walked, this.alphaStep).walk; // its queue may be another by now
    this.ready = [...this.ready, { ...wanted, id: ++this.lastId, walk: this.walked, sound, picture, isRepainted: false }];
    this.tick();
    this.onChange();
  }
}

/** Whether a walk is between two seeds of one prompt. */
function staysWithPrompt({ current, target }: Walk): boolean {
  return current.prompt === target.prompt;
}
