/** An order for a clip: asked for again after failures, until it has come or is cancelled. */

import { retryDelay } from "../api/retry";
import { Scope } from "../scope";
import type { Settings } from "../settings/settings";
import type { Stop } from "../walk/walk";
import type { ClipAudio } from "./clip";
import type { ClipInProgress, MadeClip, ClipSource, Trouble } from "./types";

/** What a clip is to be. */
export interface Wanted {
  readonly stop: Stop;
  readonly settings: Settings;
  readonly numSteps: number;
}

export class ClipRequest<S extends ClipAudio> {
  /** null where none is in the making: before it is asked for, and while a failure is waited out. */
  drawing: ClipInProgress | null = null;
  trouble: Trouble | null = null;
  private readonly scope = new Scope();
  private readonly abort = new AbortController();
  private asked: Wanted | null = null;

  /**
   * @param want called whenever it is asked for: what is wanted may be another by then
   * @param onChange called after every change of what can be read here
   * @param random draws from [0, 1)
   */
  constructor(
    private readonly clipSource: ClipSource<S>,
    private readonly want: () => Wanted,
    private readonly onChange: () => void,
    private readonly random: () => number,
  ) {
    this.scope.add(() => this.abort.abort());
  }

  /** The clip, with what it was wanted to be; null if the order was cancelled. */
  async arrival(): Promise<{ readonly wanted: Wanted; readonly made: MadeClip<S> } | null> {
    for (;;) {
      const wanted = this.want();
      this.asked = wanted;
      this.show(wanted, 0, wanted.numSteps);
      const answer = await this.clipSource.make(wanted.stop, wanted.settings, wanted.numSteps, this.abort.signal, (step, steps) =>
        this.show(wanted, step, steps),
      );
      if (this.scope.isClosed) return null;
      if ("made" in answer) return { wanted, made: answer.made };
      this.trouble = { failure: answer.failure, numFailures: (this.trouble?.numFailures ?? 0) + 1 };
      this.drawing = null;
      this.onChange();
      await this.untilRetry(this.trouble);
      if (this.scope.isClosed) return null;
    }
  }

  /** Whether it will bring this clip, and nothing has gone wrong so far. */
  brings(stop: Stop, settings: Settings): boolean {
    return this.trouble === null && this.asked?.settings === settings && sameStop(this.asked.stop, stop);
  }

  cancel(): void {
    this.scope.dispose();
  }

  private show({ stop }: Wanted, step: number, steps: number): void {
    if (this.scope.isClosed) return;
    this.drawing = { stop, step, steps };
    this.onChange();
  }

  /** A refusal is waited out until something is changed, which cancels the order. */
  private untilRetry({ failure, numFailures }: Trouble): Promise<void> {
    return new Promise((resolve) => {
      const wait = this.scope.child();
      wait.add(resolve);
      if (failure.kind === "refused") return;
      wait.after(retryDelay(numFailures, this.random, failure.retryAfter), () => wait.dispose());
    });
  }
}

function sameStop(a: Stop, b: Stop): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
