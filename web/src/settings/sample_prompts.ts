/** Prompts to begin with: sounds that the embedded checkpoint knows, and moods to mix them with. */

const SOUNDS = [
  "acoustic guitar", "ambient pad", "brass", "church bells", "distorted electric guitar", "flute",
  "hip hop beat", "jazz trio", "marimba", "organ", "piano", "ragtime piano", "rock band", "saxophone",
  "slap bass", "strings", "synth", "techno beat", "trumpet", "violin", "walking bass",
] as const;
const MOODS = ["bright", "calm", "dark", "dreamy", "energetic", "fast", "happy", "sad", "slow", "soft"] as const;
/** Of the dice's prompts, so many have a mood, and so many a second sound. */
const MOOD_SHARE = 0.6;
const PAIR_SHARE = 0.35;

export const SAMPLE_PROMPTS: readonly string[] = [
  "church bells",
  "calm piano",
  "energetic techno beat",
  "jazz trio",
  "dreamy ambient pad",
  "ragtime piano",
  "slap bass and brass",
  "sad violin",
  "marimba and hip hop beat",
  "happy acoustic guitar",
  "dark organ",
  "fast fiddle",
];

/**
 * A prompt by dice, other than `last`.
 *
 * @param random draws from [0, 1)
 */
export function dicePrompt(random: () => number, last = ""): string {
  for (;;) {
    const sound = pick(SOUNDS, random);
    const mood = random() < MOOD_SHARE ? `${pick(MOODS, random)} ` : "";
    const other = random() < PAIR_SHARE ? pick(SOUNDS, random) : sound;
    const prompt = `${mood}${sound}${other === sound ? "" : ` and ${other}`}`;
    if (prompt !== last) return prompt;
  }
}

function pick(words: readonly string[], random: () => number): string {
  return words[Math.floor(random() * words.length)] ?? "";
}
