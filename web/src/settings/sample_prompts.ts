/** Prompts to begin with: sounds, moods and styles that the embedded checkpoint was taught. */

const SOUNDS = [
  "accordion", "acoustic guitar", "ambient pad", "baroque ensemble", "bossa nova", "brass", "choir",
  "church bells", "clarinet", "distorted guitar", "fiddle", "flute", "folk duo", "harpsichord",
  "hip hop beat", "jazz drums", "jazz trio", "latin percussion", "lofi hip hop", "marimba", "organ",
  "piano", "ragtime piano", "rock band", "rock drums", "saxophone", "slap bass", "strings", "synth",
  "synthwave", "techno beat", "trumpet", "vibraphone", "violin",
] as const;
const MOODS = ["bright", "calm", "dark", "dreamy", "energetic", "fast", "happy", "sad", "slow"] as const;
/** Of the dice's prompts, so many have a mood. */
const MOOD_SHARE = 0.6;

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
 * A prompt by dice, other than `last`.
 *
 * @param random draws from [0, 1)
 */
export function randomSamplePrompt(random: () => number, last = ""): string {
  for (;;) {
    const mood = random() < MOOD_SHARE ? `${pick(MOODS, random)} ` : "";
    const prompt = `${mood}${pick(SOUNDS, random)}`;
    if (prompt !== last) return prompt;
  }
}

function pick(words: readonly string[], random: () => number): string {
  return words[Math.floor(random() * words.length)] ?? "";
}
