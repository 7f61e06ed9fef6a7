/**
 * Weights inside a prompt: the syntax that users of Stable Diffusion's web interfaces know.
 *
 *     (text)       weight × 1.1         (text:1.5)   weight × 1.5
 *     [text]       weight ÷ 1.1         \( \) \[ \] \\   the character itself
 *
 * Brackets nest and multiply; one that is never closed reaches to the end of the prompt.
 */

/** Factor of one pair of brackets. */
const EMPHASIS = 1.1;
/** Far beyond any useful weight (0 to 2); keeps embeddings finite. */
export const MAX_WEIGHT = 100;

const TOKEN =
  /\\(?<escaped>[()[\]\\])|(?<open>[([])|:\s*(?<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)|(?<close>[)\]])|(?<text>[^\\()[\]:]+|[\\:])/gu;

/** A stretch of a prompt and its weight. */
export interface WeightedText {
  readonly text: string;
  readonly weight: number;
}

/**
 * Splits a prompt into stretches of equal weight, at least one.
 *
 * @throws RangeError if a weight exceeds `MAX_WEIGHT` in size
 */
export function parsePromptWeights(prompt: string): WeightedText[] {
  const stretches: { text: string; weight: number }[] = [];
  const opened: Record<"(" | "[", number[]> = { "(": [], "[": [] }; // where each open bracket's text starts
  const close = (bracket: "(" | "[", factor: number): void => {
    for (let index = opened[bracket].pop() ?? stretches.length; index < stretches.length; index++) {
      stretches[index]!.weight *= factor;
    }
  };
  for (const { 0: token, groups = {} } of prompt.matchAll(TOKEN)) {
    const { open, weight, escaped } = groups;
    if (open) opened[open as "(" | "["].push(stretches.length);
    else if (weight !== undefined && opened["("].length > 0) close("(", Number(weight));
    else if (token === ")" && opened["("].length > 0) close("(", EMPHASIS);
    else if (token === "]" && opened["["].length > 0) close("[", 1 / EMPHASIS);
    else stretches.push({ text: escaped ?? token, weight: 1 });
  }
  while (opened["("].length > 0) close("(", EMPHASIS);
  while (opened["["].length > 0) close("[", 1 / EMPHASIS);
  return merged(stretches);
}

function merged(stretches: readonly WeightedText[]): WeightedText[] {
  const result: WeightedText[] = [];
  for (const { text, weight } of stretches) {
    if (!(Math.abs(weight) <= MAX_WEIGHT)) {
      throw new RangeError(`prompt weight ${weight} must be from -${MAX_WEIGHT} to ${MAX_WEIGHT}`);
    }
    const last = result.at(-1);
    if (last?.weight === weight) result[result.length - 1] = { text: last.text + text, weight };
    else result.push({ text, weight });
  }
  return result.length > 0 ? result : [{ text: "", weight: 1 }];
}
