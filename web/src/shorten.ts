/** Shortens long texts for messages. */

const MAX_CHARACTERS = 40;

/** `text`, or its first characters followed by `…` if it is longer. */
export function shortened(text: string, most = MAX_CHARACTERS): string {
  const characters = [...text]; // by code point, so that an emoji is never cut in half
  return characters.length <= most ? text : `${characters.slice(0, most).join("")}…`;
}
