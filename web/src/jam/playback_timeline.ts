/** Which clip sounds when: what has been, is and will be heard, on the audio clock. */

import { boundaryAfter, roundsBegun, LEAD } from "../audio/schedule";
import type { Seconds } from "../units";

/** What the score needs to know of a clip. */
export interface Playable {
  readonly id: number;
  readonly audio: { readonly duration: Seconds };
}

/** A clip from its start until the next one takes over, or for ever. */
export interface Slot<C extends Playable> {
  readonly clip: C;
  readonly start: Seconds;
  readonly end: Seconds;
}

/** One round of a clip. */
export interface Round<C extends Playable> {
  /** The same for the same round at any time. */
  readonly key: string;
  readonly clip: C;
  readonly start: Seconds;
  /** 0 for the first round of a slot. */
  readonly repeat: number;
}

/** The past that is remembered. */
const MEMORY: Seconds = 60;

export class PlaybackTimeline<C extends Playable> {
  private slots: Slot<C>[] = [];

  /** `clip` takes over at `start`, which is after every start before it. */
  add(clip: C, start: Seconds): void {
    const last = this.slots.at(-1);
    if (last) this.slots[this.slots.length - 1] = { ...last, end: start };
    this.slots = [...this.slots.filter(({ end }) => end > start - MEMORY), { clip, start, end: Infinity }];
  }

  /** The slot that nothing takes over from yet; it may begin in the future. */
  get last(): Slot<C> | undefined {
    return this.slots.at(-1);
  }

  /** What sounds at `time`. */
  at(time: Seconds): Slot<C> | undefined {
    return this.slots.find(({ start, end }) => start <= time && time < end);
  }

  /** How many rounds of what sounds at `time` have begun; 0 in silence. */
  roundsAt(time: Seconds): number {
    const slot = this.at(time);
    return slot ? roundsBegun(loopOf(slot), time) : 0;
  }

  /** Where a clip that becomes ready at `now` would begin. */
  nextStart(now: Seconds): Seconds {
    return this.last ? boundaryAfter(loopOf(this.last), now + LEAD) : now;
  }

  /**
   * All rounds that touch a span of time: those heard, those to come if `ready` take over one after the
   * other, and no more of the last one than one round.
   */
  rounds(from: Seconds, to: Seconds, now: Seconds, ready: readonly C[]): Round<C>[] {
    const next = this.nextStart(now);
    const rounds: Round<C>[] = [];
    for (const { clip, start, end } of this.slots) {
      const until = Math.min(end, next);
      const { duration } = clip.audio;
      for (let repeat = Math.max(0, Math.floor((from - start) / duration)); ; repeat++) {
        const begin = start + repeat * duration;
        if (begin > until - duration / 2 || begin >= to) break;
        if (begin + duration > from) rounds.push({ key: `${clip.id}@${start}+${repeat}`, clip, start: begin, repeat });
      }
    }
    let start = next;
    for (const clip of ready) {
      if (start >= to) break;
      rounds.push({ key: `${clip.id}@ready`, clip, start, repeat: 0 });
      start += clip.audio.duration;
    }
    return rounds;
  }
}

function loopOf<C extends Playable>(slot: Slot<C>): { start: Seconds; duration: Seconds } {
  return { start: slot.start, duration: slot.clip.audio.duration };
}
