/** Which clip plays when on the audio clock: past, present and scheduled clips. */

import { boundaryAfter, roundsBegun, LEAD } from "../audio/schedule";
import type { Seconds } from "../units";

/** The part of a clip that the timeline uses. */
export interface Playable {
  readonly id: number;
  readonly audio: { readonly duration: Seconds };
}

/** The time in which one clip plays: from its start until the next clip takes over, or infinitely long. */
export interface Slot<C extends Playable> {
  readonly clip: C;
  readonly start: Seconds;
  readonly end: Seconds;
}

/** One pass through a looped clip. */
export interface Round<C extends Playable> {
  /** Identifies the round; it stays the same in later calls. */
  readonly key: string;
  readonly clip: C;
  readonly start: Seconds;
  /** 0 for the first round of a slot. */
  readonly repeat: number;
}

/** How long past slots are kept. */
const MAX_HISTORY: Seconds = 60;

export class PlaybackTimeline<C extends Playable> {
  private slots: Slot<C>[] = [];

  /** Adds a clip that takes over at `start`, which must be later than all starts before. */
  add(clip: C, start: Seconds): void {
    const last = this.slots.at(-1);
    if (last) this.slots[this.slots.length - 1] = { ...last, end: start };
    this.slots = [...this.slots.filter(({ end }) => end > start - MAX_HISTORY), { clip, start, end: Infinity }];
  }

  /** The last scheduled slot. It has no end yet and may begin in the future. */
  get last(): Slot<C> | undefined {
    return this.slots.at(-1);
  }

  /** The slot that plays at `time`. */
  at(time: Seconds): Slot<C> | undefined {
    return this.slots.find(({ start, end }) => start <= time && time < end);
  }

  /** Number of rounds of the playing clip that have begun at `time`; 0 in silence. */
  roundsAt(time: Seconds): number {
    const slot = this.at(time);
    return slot ? roundsBegun(loopOf(slot), time) : 0;
  }

  /** Start time of a clip that becomes ready at `now`. */
  nextStart(now: Seconds): Seconds {
    return this.last ? boundaryAfter(loopOf(this.last), now + LEAD) : now;
  }

  /**
   * All rounds between `from` and `to`: past rounds, the current one, and future rounds as if the clips in
   * `ready` take over one after the other, each for one round.
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
