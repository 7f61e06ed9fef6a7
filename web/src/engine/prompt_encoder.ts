/**
 * Embeds weighted prompts of any length.
 *
 * CLIP reads a fixed number of tokens (77 in Stable Diffusion: start, 75 of text, end). A longer prompt is split into
 * chunks of 75, each with its own start and end token, and the UNet attends to the concatenation of all chunks.
 */

import type { Floats } from "./arrays";
import { Cache } from "./cache";
import type { Networks } from "./networks";
import { parsePromptWeights } from "./prompt_weights";
import type { Tokenize } from "./tokenizer";

/** Embeddings that are kept: those of a jam's current and next prompts. */
const MAX_CACHED = 32;
/** Mean of an embedding, relative to its mean magnitude, below which it is a rounding error. */
const MEAN_IS_ZERO = 1e-6;

interface WeightedTokens {
  readonly tokens: number[];
  readonly weights: number[];
}

export class PromptEncoder {
  private readonly cache = new Cache<Floats>(MAX_CACHED);

  constructor(
    private readonly networks: Networks,
    private readonly tokenize: Tokenize,
  ) {}

  /**
   * Embeds several prompts to one length, that of the longest one, so that they can be interpolated.
   *
   * @returns for each prompt (tokens, width)
   */
  async embed(prompts: readonly string[]): Promise<Floats[]> {
    const size = this.networks.shape.tokens - 2;
    const tokenized = prompts.map((prompt) => this.weightedTokens(prompt));
    const numChunks = Math.max(1, ...tokenized.map(({ tokens }) => Math.ceil(tokens.length / size)));
    const embeddings: Floats[] = [];
    for (const prompt of tokenized) {
      embeddings.push(await this.cache.get(JSON.stringify([prompt, numChunks]), () => this.embedTokens(prompt, numChunks)));
    }
    return embeddings;
  }

  private weightedTokens(prompt: string): WeightedTokens {
    const tokens: number[] = [];
    const weights: number[] = [];
    for (const { text, weight } of parsePromptWeights(prompt)) {
      const ids = this.tokenize(text);
      tokens.push(...ids);
      weights.push(...ids.map(() => weight));
    }
    return { tokens, weights };
  }

  private async embedTokens({ tokens, weights }: WeightedTokens, numChunks: number): Promise<Floats> {
    const { tokens: length, start_token: start, end_token: end, padding_token: padding, text_width: width } = this.networks.shape;
    const size = length - 2;
    const ids: number[] = [];
    const factors: number[] = [];
    for (let chunk = 0; chunk < numChunks; chunk++) {
      ids.push(start);
      factors.push(1);
      for (let i = chunk * size; i < (chunk + 1) * size; i++) {
        // The end token, which CLIP's pooling needs, follows the text; then the padding.
        ids.push(tokens[i] ?? (i === tokens.length ? end : padding));
        factors.push(weights[i] ?? 1);
      }
      ids.push(end);
      factors.push(1);
    }
    const embedding = await this.networks.embed(ids);
    return weights.some((weight) => weight !== 1) ? weighed(embedding, factors, width) : embedding;
  }
}

/**
 * Scales tokens by their weights, then the whole embedding to its original mean.
 *
 * Keeping the mean is the convention of the web interfaces that this syntax comes from. If the weighted mean is zero, no
 * scaling can restore it; then the weighted tokens are used as they are.
 */
function weighed(embedding: Floats, factors: readonly number[], width: number): Floats {
  const scaled = embedding.map((value, index) => value * Math.fround(factors[Math.floor(index / width)]!));
  const [before, after] = [mean(embedding), mean(scaled)];
  if (Math.abs(after) <= MEAN_IS_ZERO * mean(scaled.map(Math.abs))) return scaled;
  const ratio = Math.fround(before / after);
  return scaled.map((value) => value * ratio);
}

function mean(values: Floats): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
