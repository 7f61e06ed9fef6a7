/** Delays between retries. */

import type { Seconds } from "../units";

const FIRST_DELAY: Seconds = 1;
const MAX_DELAY: Seconds = 30;
/** The longest `Retry-After` that is respected: the music must not wait longer. */
const MAX_RETRY_AFTER: Seconds = 120;

/**
 * Time to wait after `numFailures` failures in a row: 1, 2, 4 … 30 s, times a random factor from 0.5 to 1,
 * so that many browsers do not retry at the same moment. If the server sent `Retry-After`, that time plus up
 * to 1 s is used instead.
 *
 * @param numFailures at least 1
 * @param random returns a number in [0, 1)
 * @param retryAfter time that the server asked for
 */
export function retryDelay(numFailures: number, random: () => number, retryAfter?: Seconds): Seconds {
  const jitter = 0.5 + 0.5 * random();
  if (retryAfter !== undefined) return Math.min(MAX_RETRY_AFTER, retryAfter) + jitter * FIRST_DELAY;
  return Math.min(MAX_DELAY, FIRST_DELAY * 2 ** (numFailures - 1)) * jitter;
}
