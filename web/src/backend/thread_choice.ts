/**
 * Chooses how many threads compute.
 *
 * Threads wait for each other in every operation. When another program takes one of the processors, several threads are
 * slower than one. Nothing tells a page about that but its own speed, so when steps become slow, one thread is tried
 * for some clips, and the faster choice is kept. Later, the other one is tried again.
 */

import type { Seconds } from "../units";

/** Steps are slow if they take this many times as long as the fastest ones did. */
const SLOWDOWN = 1.5;
/** Clips that decide. The first one after a change warms up, and does not count. */
const NUM_COMPARED = 2;
/** Clips after which the other choice is tried again, if steps are slow. */
const TRIAL_INTERVAL = 24;

export class ThreadChoice {
  private current: number;
  private readonly fastest = new Map<number, Seconds>();
  private readonly latest = new Map<number, Seconds>();
  private times: Seconds[] = [];
  private isWarm = false;
  private isTrial = false;
  private clipsSinceTrial = TRIAL_INTERVAL;

  /** @param most threads that this device has for us */
  constructor(private readonly most: number) {
    this.current = most;
  }

  /** The number of threads to use now. */
  get threads(): number {
    return this.current;
  }

  /**
   * Adds a clip that was made with `threads` threads.
   *
   * @param perStep seconds per diffusion step
   * @param isLate whether making the clip took longer than playing it
   */
  add(perStep: Seconds, isLate: boolean): void {
    if (this.most === 1) return;
    if (!this.isWarm) {
      this.isWarm = true;
      return;
    }
    this.clipsSinceTrial++;
    this.times = [...this.times, perStep].slice(-NUM_COMPARED);
    if (this.times.length < NUM_COMPARED) return;
    const recent = Math.min(...this.times);
    this.latest.set(this.current, recent);
    if (this.isTrial) return this.endTrial();
    const fastest = Math.min(recent, this.fastest.get(this.current) ?? Infinity);
    this.fastest.set(this.current, fastest);
    const isSlow = recent > SLOWDOWN * fastest || isLate || this.current === 1;
    if (isSlow && this.clipsSinceTrial >= TRIAL_INTERVAL) this.change(true);
  }

  private endTrial(): void {
    this.isTrial = false;
    this.clipsSinceTrial = 0;
    const [own, other] = [this.latest.get(this.current) ?? Infinity, this.latest.get(this.other) ?? Infinity];
    if (other <= own) this.change(false);
  }

  private get other(): number {
    return this.current === 1 ? this.most : 1;
  }

  private change(isTrial: boolean): void {
    this.current = this.other;
    this.isTrial = isTrial;
    this.isWarm = false;
    this.times = [];
  }
}

/**
 * Threads that a device has for the networks: half of its logical processors, as two of them often share one core, and
 * at most four, as more gain little. With two processors both are used.
 *
 * @param isIsolated whether the page is cross-origin isolated; others have no threads
 */
export function threadsOf(isIsolated: boolean, numProcessors: number): number {
  if (!isIsolated) return 1;
  return numProcessors <= 2 ? Math.max(1, numProcessors) : Math.min(4, Math.ceil(numProcessors / 2));
}
