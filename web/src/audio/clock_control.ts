/**
 * Starts and stops an AudioContext, and detects when the browser blocks it: browsers suspend contexts during
 * a phone call or while another app plays audio, and do not start them before the user has touched the page.
 */

import type { Scope } from "../scope";
import type { Seconds } from "../units";

/** The part of `AudioContext` that is used here. */
export interface AudioClock extends EventTarget {
  readonly state: string;
  resume(): Promise<void>;
  suspend(): Promise<void>;
}

/** A start that takes longer than this is blocked: browsers do not report that themselves. */
const START_TIMEOUT: Seconds = 1;

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
    scope.listen(clock, "statechange", () => this.onStateChange());
  }

  /** Whether the clock should run but does not. */
  get isBlocked(): boolean {
    return this.isWanted && !this.isTrying && !this.isRunning;
  }

  /** Starts the clock. The promise resolves when it runs, or never if the browser blocks it. */
  async start(): Promise<void> {
    this.isWanted = true;
    if (!this.isRunning) await this.tryToStart();
  }

  /** Stops the clock. */
  async stop(): Promise<void> {
    this.isWanted = false;
    await this.clock.suspend();
  }

  /** Tries again to start a blocked clock. */
  retry(): void {
    if (this.isBlocked) void this.tryToStart();
  }

  private get isRunning(): boolean {
    return this.clock.state === "running";
  }

  /** The clock has started or stopped, either on request or by the browser. */
  private onStateChange(): void {
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
    const cancel = this.scope.after(START_TIMEOUT, giveUp);
    try {
      await this.clock.resume();
    } catch {
      // For example, during a phone call. When the call ends, the state changes and `retry` runs.
    } finally {
      cancel();
      giveUp();
    }
  }
}
