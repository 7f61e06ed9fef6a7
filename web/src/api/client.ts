/** Asks the server for clips. Nothing here throws: what goes wrong comes back as a `Failure`. */

import { Scope } from "../scope";
import type { Seconds } from "../units";
import { LineSplitter } from "./lines";
import { type InferenceInput, type InferenceOutput, isInferenceOutput } from "./messages";

/**
 * Why there is no clip.
 *
 * refused: the server won't ever take this request; asking again is no use
 * busy: it asks to be left alone for a while
 * away: no answer, or a broken one, that may be better next time
 * cancelled: by us
 */
export interface Failure {
  readonly kind: "refused" | "busy" | "away" | "cancelled";
  /** For people: what is wrong, and what to do. */
  readonly message: string;
  readonly retryAfter?: Seconds;
}

export type Answer = { readonly ok: true; readonly output: InferenceOutput } | { readonly ok: false; readonly failure: Failure };

export interface AskOptions {
  signal?: AbortSignal;
  /** Told how many of how many steps are done. */
  onProgress?: (step: number, steps: number) => void;
}

/**
 * With no sign of life for so long, an answer isn't waited for any more. A stream tells its progress every
 * 5 s, queued or not; before it begins, the gateway may wait half a minute for an endpoint that is away.
 */
export const SILENCE_TIMEOUT: Seconds = 45;
/** Statuses that asking again doesn't change; 404 and the like come from hosts that are being set up, too. */
const REFUSALS = [400, 413, 415, 422];

export class Client {
  /**
   * @param url of `/run_inference/`
   * @param silenceTimeout between two signs of life of the server
   */
  constructor(
    private readonly url: string,
    private readonly silenceTimeout: Seconds = SILENCE_TIMEOUT,
    private readonly fetcher: typeof fetch = (...request) => fetch(...request),
  ) {}

  /** Asks for one clip, once. */
  async ask(request: InferenceInput, options: AskOptions = {}): Promise<Answer> {
    const scope = new Scope();
    try {
      return await this.exchange(request, options, scope);
    } catch (error) {
      return { ok: false, failure: failureFrom(error, options.signal, this.silenceTimeout) };
    } finally {
      scope.dispose();
    }
  }

  private async exchange(request: InferenceInput, options: AskOptions, scope: Scope): Promise<Answer> {
    const abort = new AbortController();
    let stopTimer = (): void => undefined;
    const signOfLife = (): void => {
      stopTimer();
      stopTimer = scope.after(this.silenceTimeout, () => abort.abort(new SilenceError()));
    };
    const cancel = (): void => abort.abort(options.signal?.reason);
    if (options.signal?.aborted) cancel();
    else if (options.signal) scope.listen(options.signal, "abort", cancel);
    signOfLife();
    const response = await this.fetcher(this.url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...request, stream: true }),
      signal: abort.signal,
    });
    signOfLife();
    if (!response.ok) return { ok: false, failure: await failureFromResponse(response) };
    const answer = response.headers.get("content-type")?.startsWith("application/x-ndjson")
      ? await lastEvent(response, signOfLife, options.onProgress)
      : await response.json();
    if (isInferenceOutput(answer)) return { ok: true, output: answer };
    const message = errorText(answer) ?? "The server answered with something that is no clip. Check its address and version.";
    return { ok: false, failure: { kind: "away", message } };
  }
}

class SilenceError extends Error {}

/** The last event of a stream of JSON lines; progress is reported on the way, what is told again isn't. */
async function lastEvent(
  response: Response,
  signOfLife: () => void,
  onProgress?: (step: number, steps: number) => void,
): Promise<unknown> {
  const splitter = new LineSplitter();
  let last: unknown = null;
  let stepsDone = 0;
  const read = (lines: string[]): void => {
    for (const line of lines) {
      last = JSON.parse(line);
      const { event, step, steps } = (last ?? {}) as Record<string, unknown>;
      if (event !== "progress" || typeof step !== "number" || typeof steps !== "number" || step <= stepsDone) continue;
      stepsDone = step;
      onProgress?.(step, steps);
    }
  };
  const reader = response.body?.getReader();
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
    if (done || value === undefined) break;
    signOfLife();
    read(splitter.push(value));
  }
  read(splitter.end());
  return last;
}

async function failureFromResponse(response: Response): Promise<Failure> {
  const text = await response.text();
  let said: string | null = null;
  try {
    said = errorText(JSON.parse(text));
  } catch {
    said = null; // a proxy's page, say
  }
  const message = said ?? `The server answered with status ${response.status}.`;
  if (REFUSALS.includes(response.status)) return { kind: "refused", message };
  const seconds = Number(response.headers.get("retry-after") ?? "");
  const isBusy = response.status === 503 || response.status === 429;
  return {
    kind: isBusy ? "busy" : "away",
    message,
    ...(seconds > 0 ? { retryAfter: seconds } : {}),
  };
}

function failureFrom(error: unknown, signal: AbortSignal | undefined, timeout: Seconds): Failure {
  if (error instanceof SilenceError) {
    return { kind: "away", message: `The server said nothing for ${timeout} s.` };
  }
  if (signal?.aborted) return { kind: "cancelled", message: "No longer wanted." };
  if (error instanceof SyntaxError) {
    return { kind: "away", message: "The server's answer broke off or is no JSON." };
  }
  return { kind: "away", message: "The server is out of reach. Is `riffusion serve` running?" };
}

function errorText(answer: unknown): string | null {
  const error = (answer as Record<string, unknown> | null)?.["error"];
  return typeof error === "string" ? error : null;
}
