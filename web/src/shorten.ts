/** Shortens long texts for messages. */

const MAX_CHARACTERS = 40;

/** `text`, or its first 40 characters followed by `…` if it is longer. */
export function shortened(text: string): string {
  const characters = [...text]; // by code point, so that an emoji is never cut in half
  return characters.length <= MAX_CHARACTERS ? text : `${characters.slice(0, MAX_CHARACTERS).join("")}…`;
}
