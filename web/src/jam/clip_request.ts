/** A request for one clip. It is retried after failures until it succeeds or is cancelled. */

import { jsonText } from "../api/json_text";
import { retryDelay } from "../api/retry";
import { Scope } from "../scope";
import type { Settings } from "../settings/settings";
import type { Stop } from "../walk/walk";
import type { ClipAudio } from "./clip";
import type { ClipInProgress, MadeClip, ClipSource, Trouble } from "./types";

/** Specification of a clip. */
export interface ClipSpec {
  readonly stop: Stop;
  readonly settings: Settings;
  readonly numSteps: number;
}

export class ClipRequest<S extends ClipAudio> {
  /** null before the request is sent and while it waits for a retry. */
  inProgress: ClipInProgress | null = null;
  trouble: Trouble | null = null;
  private readonly scope = new Scope();
  private readonly abort = new AbortController();
  private sentSpec: ClipSpec | null = null;

  /**
   * @param currentSpec called before every attempt, as the specification may have changed since the last one
   * @param onChange called after every change of the public fields
   * @param random returns a number in [0, 1)
   */
  constructor(
    private readonly clipSource: ClipSource<S>,
    private readonly currentSpec: () => ClipSpec,
    private readonly onChange: () => void,
    private readonly random: () => number,
  ) {
    this.scope.add(() => this.abort.abort());
  }

  /** Sends the request. Returns the clip and its specification, or null if the request was cancelled. */
  async send(): Promise<{ readonly spec: ClipSpec; readonly made: MadeClip<S> } | null> {
    for (;;) {
      const spec = this.currentSpec();
      this.sentSpec = spec;
      this.showProgress(spec, 0, spec.numSteps);
      const result = await this.clipSource.make(spec.stop, spec.settings, spec.numSteps, this.abort.signal, (step, steps) =>
        this.showProgress(spec, step, steps),
      );
      if (this.scope.isClosed) return null;
      if ("made" in result) return { spec, made: result.made };
      this.trouble = { failure: result.failure, numFailures: (this.trouble?.numFailures ?? 0) + 1 };
      this.inProgress = null;
      this.onChange();
      await this.untilRetry(this.trouble);
      if (this.scope.isClosed) return null;
    }
  }

  /** Whether this request is for this clip and has not failed so far. */
  isFor(stop: Stop, settings: Settings): boolean {
    return this.trouble === null && this.sentSpec?.settings === settings && sameStop(this.sentSpec.stop, stop);
  }

  cancel(): void {
    this.scope.dispose();
  }

  private showProgress({ stop }: ClipSpec, step: number, steps: number): void {
    if (this.scope.isClosed) return;
    this.inProgress = { stop, step, steps };
    this.onChange();
  }

  /** Waits before the next attempt. A refused or forbidden request waits until the user changes something, which cancels it. */
  private untilRetry({ failure, numFailures }: Trouble): Promise<void> {
    return new Promise((resolve) => {
      const delay = this.scope.child();
      delay.add(resolve);
      if (failure.kind === "refused" || failure.kind === "forbidden") return;
      delay.after(retryDelay(numFailures, this.random, failure.retryAfter), () => delay.dispose());
    });
  }
}

function sameStop(a: Stop, b: Stop): boolean {
  return jsonText(a) === jsonText(b);
}
