import { describe, expect, it } from "vitest";
import { jsonText } from "../src/api/json_text";

describe("JSON", () => {
  it.each([
    null, true, 0, -1.5e-7, "", 'a"b\\c\n\u2028\u0000', [], {}, [1, [null, { "ä b": [{}] }]], { a: undefined, b: [undefined], c: NaN },
  ])("of %j is that of JSON.stringify", (value) => {
    expect(jsonText(value)).toBe(JSON.stringify(value));
  });

  it("has whole numbers of any size", () => {
    expect(jsonText({ seeds: [2n ** 63n - 1n, -5n] })).toBe('{"seeds":[9223372036854775807,-5]}');
  });
});
