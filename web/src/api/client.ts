/** Requests clips from the server. Nothing here throws: errors are returned as a `Failure`. */

import { Scope } from "../scope";
import type { Seconds } from "../units";
import { jsonText } from "./json_text";
import { LineSplitter } from "./lines";
import { type InferenceInput, type InferenceOutput, isInferenceOutput } from "./messages";

/**
 * Why a request returned no clip.
 *
 * refused: the request is invalid; sending it again cannot help
 * forbidden: the server is not for this page, or lacks a key; no request can help
 * busy: the server has too much work; try again later
 * away: no response, or a broken one; a retry may succeed
 * cancelled: the page aborted the request
 */
export interface Failure {
  readonly kind: "refused" | "forbidden" | "busy" | "away" | "cancelled";
  /** For the user: what is wrong and what to do. */
  readonly message: string;
  readonly retryAfter?: Seconds;
}

export type AnswerOf<T> = { readonly ok: true; readonly output: T } | { readonly ok: false; readonly failure: Failure };
export type Answer = AnswerOf<InferenceOutput>;

export interface AskOptions {
  signal?: AbortSignal;
  /** Called with the number of completed steps and the total number of steps. */
  onProgress?: (step: number, steps: number) => void;
}

/**
 * A request fails when no data arrives for this long. A stream reports progress every 5 s, even while the
 * request is queued. Before the stream begins, the gateway may wait up to 30 s for an unreachable endpoint.
 */
export const SILENCE_TIMEOUT: Seconds = 45;
/** Statuses that a retry cannot change. 404 is not one of them: hosts that are still starting also send it. */
const REFUSALS = [400, 413, 415, 422];
/** Statuses that neither a retry nor another request can change. */
const PROHIBITIONS = [401, 403];

export class Client {
  readonly clipFormat = "flac";

  /**
   * @param url address of `/run_inference/`
   * @param silenceTimeout longest time without data from the server
   */
  constructor(
    private readonly url: string,
    private readonly silenceTimeout: Seconds = SILENCE_TIMEOUT,
    private readonly fetcher: typeof fetch = (...request) => fetch(...request),
  ) {}

  /** Requests one clip, without retries. */
  ask(request: InferenceInput, options: AskOptions = {}): Promise<Answer> {
    return this.askFor(isInferenceOutput, request, options);
  }

  /** Sends any request, without retries. `isOutput` checks the response. */
  async askFor<T>(isOutput: (answer: unknown) => answer is T, request: object, options: AskOptions = {}): Promise<AnswerOf<T>> {
    const scope = new Scope();
    try {
      return await this.exchange(isOutput, request, options, scope);
    } catch (error) {
      return { ok: false, failure: failureFrom(error, options.signal, this.silenceTimeout) };
    } finally {
      scope.dispose();
    }
  }

  private async exchange<T>(
    isOutput: (answer: unknown) => answer is T, request: object, options: AskOptions, scope: Scope,
  ): Promise<AnswerOf<T>> {
    const abort = new AbortController();
    let stopTimer = (): void => undefined;
    const restartTimeout = (): void => {
      stopTimer();
      stopTimer = scope.after(this.silenceTimeout, () => abort.abort(new SilenceError()));
    };
    const cancel = (): void => abort.abort(options.signal?.reason);
    if (options.signal?.aborted) cancel();
    else if (options.signal) scope.listen(options.signal, "abort", cancel);
    restartTimeout();
    const response = await this.fetcher(this.url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: jsonText({ ...request, stream: true }),
      signal: abort.signal,
    });
    restartTimeout();
    if (!response.ok) return { ok: false, failure: await failureFromResponse(response) };
    const answer = response.headers.get("content-type")?.startsWith("application/x-ndjson")
      ? await lastEvent(response, restartTimeout, options.onProgress)
      : await response.json();
    if (isOutput(answer)) return { ok: true, output: answer };
    const message = errorText(answer) ?? "The server's response is not a clip. Check the server's address and version.";
    return { ok: false, failure: { kind: "away", message } };
  }
}

class SilenceError extends Error {}

/** Reads a stream of JSON lines and returns the last event. Each new step is reported once; repeated reports are ignored. */
async function lastEvent(
  response: Response,
  restartTimeout: () => void,
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
    restartTimeout();
    read(splitter.push(value));
  }
  read(splitter.end());
  return last;
}

async function failureFromResponse(response: Response): Promise<Failure> {
  const text = await response.text();
  let serverMessage: string | null = null;
  try {
    serverMessage = errorText(JSON.parse(text));
  } catch {
    serverMessage = null; // for example, the HTML page of a proxy
  }
  const message = serverMessage ?? `The server answered with status ${response.status}.`;
  if (REFUSALS.includes(response.status)) return { kind: "refused", message };
  if (PROHIBITIONS.includes(response.status)) return { kind: "forbidden", message };
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
    return { kind: "away", message: `The server has not responded for ${timeout} s.` };
  }
  if (signal?.aborted) return { kind: "cancelled", message: "The request was cancelled." };
  if (error instanceof SyntaxError) {
    return { kind: "away", message: "The server's response is incomplete or is not JSON." };
  }
  return { kind: "away", message: "The server cannot be reached. Is `riffusion serve` running?" };
}

function errorText(answer: unknown): string | null {
  const error = (answer as Record<string, unknown> | null)?.["error"];
  return typeof error === "string" ? error : null;
}
