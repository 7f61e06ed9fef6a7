/** What is heard and what comes next, in the words of the prompts. */

import type { Stop, Walk } from "../walk/walk";

export interface Outlook {
  /** The prompt that is heard, or left. */
  readonly now: string;
  /** The next other prompt; null while none is known. */
  readonly next: string | null;
  /** How far the music is on its way there, from 0 to 1; 0 if the way has not begun. */
  readonly progress: number;
}

/**
 * @param heard the stop that is heard; null in silence
 * @param ready stops of the clips to come
 * @param walk after them
 */
export function outlookOf(heard: Stop | null, ready: readonly Stop[], walk: Walk): Outlook {
  const now = heard?.start.prompt ?? ready[0]?.start.prompt ?? walk.current.prompt;
  if (heard && heard.end.prompt !== now) return { now, next: heard.end.prompt, progress: heard.alpha };
  const coming = [...ready.flatMap(({ start, end }) => [start, end]), walk.current, walk.target];
  const next = coming.find(({ prompt }) => prompt !== now)?.prompt ?? walk.queue.find((prompt) => prompt !== now);
  return { now, next: next ?? null, progress: 0 };
}
