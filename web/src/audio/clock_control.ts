/**
 * Keeps an audio clock running or at rest, as is wanted, and knows where the browser has its way: it stops
 * clocks for a phone call or another app's audio, and starts none before the page was touched.
 */

import type { Scope } from "../scope";
import type { Seconds } from "../units";

/** What is needed of an `AudioContext`. */
export interface AudioClock extends EventTarget {
  readonly state: string;
  resume(): Promise<void>;
  suspend(): Promise<void>;
}

/** A start that takes longer is held up by the browser, which doesn't say so. */
const PATIENCE: Seconds = 1;

export class ClockControl {
  private isWanted = false;
  private attempt = 0;
  private isTrying = false;

  /** @param onChange called when `isBlocked` may have changed */
  constructor(
    private readonly scope: Scope,
    private readonly clock: AudioClock,
    private readonly onChange: () => void,
  ) {
    scope.listen(clock, "statechange", () => this.settle());
  }

  /** Whether the clock stands still though it should run. */
  get isBlocked(): boolean {
    return this.isWanted && !this.isTrying && !this.isRunning;
  }

  /** Starts the clock; done when it runs, which may be never. */
  async start(): Promise<void> {
    this.isWanted = true;
    if (!this.isRunning) await this.tryToStart();
  }

  /** Stops the clock. */
  async rest(): Promise<void> {
    this.isWanted = false;
    await this.clock.suspend();
  }

  /** Tries again to start a clock that was cut off. */
  retry(): void {
    if (this.isBlocked) void this.tryToStart();
  }

  private get isRunning(): boolean {
    return this.clock.state === "running";
  }

  /** The browser has started or stopped the clock, by our wish or its own. */
  private settle(): void {
    if (this.isRunning && !this.isWanted) void this.clock.suspend();
    this.retry();
    this.onChange();
  }

  private async tryToStart(): Promise<void> {
    const attempt = ++this.attempt;
    const giveUp = (): void => {
      if (attempt !== this.attempt || !this.isTrying) return;
      this.isTrying = false;
      this.onChange();
    };
    this.isTrying = true;
    const cancel = this.scope.after(PATIENCE, giveUp);
    try {
      await this.clock.resume();
    } catch {
      // Not during a phone call, say. Its end is a change of state.
    } finally {
      cancel();
      giveUp();
    }
  }
}
