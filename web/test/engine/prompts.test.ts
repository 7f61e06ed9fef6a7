/** Prompts: weights, tokens and chunks against Python's. */

import { beforeAll, describe, expect, test } from "vitest";
import type { CheckpointFiles } from "../../src/engine/checkpoint";
import type { Networks } from "../../src/engine/networks";
import { PromptEncoder } from "../../src/engine/prompt_encoder";
import { parsePromptWeights } from "../../src/engine/prompt_weights";
import { tokenizerFrom } from "../../src/engine/tokenizer";
import { golden } from "./golden";
import { embeddedCheckpoint } from "./node_engine";

interface GoldenPrompt {
  readonly prompt: string;
  readonly stretches: readonly (readonly [string, number, number[]])[];
}

let files: CheckpointFiles;

beforeAll(async () => {
  files = await embeddedCheckpoint();
});

describe.each(golden<GoldenPrompt[]>("prompts"))("prompt $prompt", ({ prompt, stretches }) => {
  test("stretches and weights are Python's", () => {
    expect(parsePromptWeights(prompt)).toEqual(stretches.map(([text, weight]) => ({ text, weight })));
  });

  test("tokens are Python's", () => {
    for (const [text, , ids] of stretches) expect(files.tokenize(text)).toEqual(ids);
  });
});

test("a weight that is too large is refused", () => {
  expect(() => parsePromptWeights("(loud:100.5)")).toThrow("prompt weight 100.5 must be from -100 to 100");
  expect(() => parsePromptWeights("((loud:10):20)")).toThrow("prompt weight 200");
});

test("a word of textual inversion stands for all of its tokens", () => {
  const file = {
    ...({ normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null } as object),
    added_tokens: ["<bells>", "<bells>_1", "<bells>_2"].map((content, index) => ({
      id: 3 + index, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: false,
    })),
    model: { type: "BPE", vocab: { a: 0, b: 1, c: 2 }, merges: [], unk_token: null },
  };
  expect(tokenizerFrom(file)("<bells>b")).toEqual([3, 4, 5, 1]);
});

describe("PromptEncoder", () => {
  /** Embeds a token as its id, twice. */
  function encoder(): { encoder: PromptEncoder; calls: number[][] } {
    const calls: number[][] = [];
    const shape = { tokens: 6, start_token: 100, end_token: 101, padding_token: 102, text_width: 2 };
    const networks = {
      shape,
      embed: (ids: readonly number[]) => {
        calls.push([...ids]);
        return Promise.resolve(Float32Array.from(ids.flatMap((id) => [id, id])));
      },
    } as unknown as Networks;
    return { encoder: new PromptEncoder(networks, (text) => text.split(" ").filter(Boolean).map(Number)), calls };
  }

  test("a prompt has its end token, then padding; all have the length of the longest", async () => {
    const { encoder: used, calls } = encoder();
    await used.embed(["1 2 3 4 5", "6"]);
    expect(calls).toEqual([
      [100, 1, 2, 3, 4, 101, 100, 5, 101, 102, 102, 101],
      [100, 6, 101, 102, 102, 101, 100, 102, 102, 102, 102, 101],
    ]);
  });

  test("equal prompts are embedded once", async () => {
    const { encoder: used, calls } = encoder();
    await used.embed(["1", "1"]);
    await used.embed(["1"]);
    expect(calls).toHaveLength(1);
  });

  test("weights scale their tokens, and the mean stays", async () => {
    const { encoder: used } = encoder();
    const [plain, weighted] = (await used.embed(["7 9", "7 (9:2)"])) as [Float32Array, Float32Array];
    const mean = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean(weighted)).toBeCloseTo(mean(plain), 4);
    expect(weighted[4]! / weighted[2]!).toBeCloseTo((2 * 9) / 7, 5);
  });
});
