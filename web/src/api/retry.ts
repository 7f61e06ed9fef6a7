/** When to ask again after failures. */

import type { Seconds } from "../units";

const FIRST: Seconds = 1;
const LONGEST: Seconds = 30;
/** A server may ask for more patience than that, but the music waits. */
const LONGEST_ASKED_FOR: Seconds = 120;

/**
 * Time to wait after so many failures in a row: 1, 2, 4 … 30 s, each between half and all of it by
 * chance, so that many browsers don't come back at once. What the server asks for goes first.
 *
 * @param numFailures at least 1
 * @param random draws from [0, 1)
 * @param retryAfter what the server asked for
 */
export function retryDelay(numFailures: number, random: () => number, retryAfter?: Seconds): Seconds {
  const jitter = 0.5 + 0.5 * random();
  if (retryAfter !== undefined) return Math.min(LONGEST_ASKED_FOR, retryAfter) + jitter * FIRST;
  return Math.min(LONGEST, FIRST * 2 ** (numFailures - 1)) * jitter;
}
