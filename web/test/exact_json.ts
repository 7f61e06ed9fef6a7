/** JSON with whole numbers that a JavaScript number cannot hold. */

/** A whole number of 16 digits or more, outside of texts that look like one of their own. */
const LONG_NUMBER = /(?<=[[:,]\s*)\d{16,}(?=\s*[,\]}])/g;

/** As `JSON.parse`, but whole numbers of 16 digits or more become texts, which `BigInt` reads exactly. */
export function parseExactly<T>(json: string): T {
  return JSON.parse(json.replace(LONG_NUMBER, '"$&"')) as T;
}
