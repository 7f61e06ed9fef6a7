/** Sample prompts: instruments, styles and moods that the embedded checkpoint was trained on. */

const SOUNDS = [
  "accordion", "acoustic guitar", "ambient pad", "baroque ensemble", "bossa nova", "brass", "choir",
  "church bells", "clarinet", "distorted guitar", "fiddle", "flute", "folk duo", "harpsichord",
  "hip hop beat", "jazz drums", "jazz trio", "latin percussion", "lofi hip hop", "marimba", "organ",
  "piano", "ragtime piano", "rock band", "rock drums", "saxophone", "slap bass", "strings", "synth",
  "synthwave", "techno beat", "trumpet", "vibraphone", "violin",
] as const;
const MOODS = ["bright", "calm", "dark", "dreamy", "energetic", "fast", "happy", "sad", "slow"] as const;
/** Probability that a random prompt has a mood. */
const MOOD_PROBABILITY = 0.6;

export const SAMPLE_PROMPTS: readonly string[] = [
  "church bells",
  "lofi hip hop",
  "calm piano",
  "energetic techno beat",
  "jazz trio",
  "dreamy ambient pad",
  "ragtime piano",
  "bossa nova",
  "sad violin",
  "funk slap bass",
  "dark organ",
];

/**
 * A random prompt that differs from `last`.
 *
 * @param random returns a number in [0, 1)
 */
export function randomSamplePrompt(random: () => number, last = ""): string {
  for (;;) {
    const mood = random() < MOOD_PROBABILITY ? `${pick(MOODS, random)} ` : "";
    const prompt = `${mood}${pick(SOUNDS, random)}`;
    if (prompt !== last) return prompt;
  }
}

function pick(words: readonly string[], random: () => number): string {
  return words[Math.floor(random() * words.length)] ?? "";
}
