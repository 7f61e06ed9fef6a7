/** CLIP's tokenizer: a text to token ids, from a checkpoint's `tokenizer.json`. */

import { Tokenizer } from "@huggingface/tokenizers";

/** A text → token ids. */
export type Tokenize = (text: string) => number[];

/**
 * A tokenizer without start, end and padding tokens.
 *
 * @param file the parsed `tokenizer.json`
 */
export function tokenizerFrom(file: object): Tokenize {
  const tokenizer = new Tokenizer(file, {});
  const following = followingTokens([...tokenizer.get_added_tokens_decoder()].map(([id, { content }]) => [content, id]));
  return (text) => tokenizer.encode(text, { add_special_tokens: false }).ids.flatMap((id) => [id, ...(following.get(id) ?? [])]);
}

/**
 * The tokens that follow the first one of a word that became several by textual inversion (Gal et al. 2022): those of
 * `word_1`, `word_2`, ….
 */
function followingTokens(added: readonly (readonly [string, number])[]): Map<number, number[]> {
  const ids = new Map(added);
  const following = new Map<number, number[]>();
  for (const [word, first] of added) {
    const rest: number[] = [];
    for (let id = ids.get(`${word}_1`); id !== undefined; id = ids.get(`${word}_${rest.length + 1}`)) rest.push(id);
    if (rest.length > 0) following.set(first, rest);
  }
  return following;
}
