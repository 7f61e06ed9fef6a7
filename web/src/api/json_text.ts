/** Values as JSON, with whole numbers of any size: `JSON.stringify` throws at a bigint. */

/** The JSON of a value. A bigint becomes a number with all its digits; properties that are undefined are left out. */
export function jsonText(value: unknown): string {
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) return `[${value.map(jsonText).join()}]`;
  const properties = Object.entries(value).filter(([, property]) => property !== undefined);
  return `{${properties.map(([name, property]) => `${JSON.stringify(name)}:${jsonText(property)}`).join()}}`;
}
