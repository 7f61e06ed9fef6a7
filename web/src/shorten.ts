/** The beginning of a text, where there is no room for all of it. */

const LONGEST = 40;

/** `text`, or its first characters and a sign that there are more. */
export function shortened(text: string): string {
  const characters = [...text]; // an emoji is one, and stays whole
  return characters.length <= LONGEST ? text : `${characters.slice(0, LONGEST).join("")}…`;
}
