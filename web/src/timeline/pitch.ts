/** Positions of pitches in a spectrogram: the HTK mel scale, as in the server's images. */

import type { Hertz, Share } from "../units";

/** Frequency range of the images of the published checkpoint. */
export const LOWEST: Hertz = 0;
export const HIGHEST: Hertz = 10_000;

/** mel = 2595 · log10(1 + f / 700) (S. Young et al., The HTK Book, 5.4). */
export function melFromHertz(frequency: Hertz): number {
  return 2595 * Math.log10(1 + frequency / 700);
}

export function hertzFromMel(mel: number): Hertz {
  return 700 * (10 ** (mel / 2595) - 1);
}

/** The height of a frequency in the image, as a fraction from the bottom. */
export function heightOf(frequency: Hertz): Share {
  return (melFromHertz(frequency) - melFromHertz(LOWEST)) / (melFromHertz(HIGHEST) - melFromHertz(LOWEST));
}

/** The frequency at a height in the image: the inverse of `heightOf`. */
export function frequencyAt(height: Share): Hertz {
  return hertzFromMel(melFromHertz(LOWEST) + height * (melFromHertz(HIGHEST) - melFromHertz(LOWEST)));
}

/** Frequencies with labels for the pitch axis: the octaves of A, and a round number above them. */
export const PITCH_MARKS: readonly { readonly frequency: Hertz; readonly label: string }[] = [
  { frequency: 110, label: "A2" },
  { frequency: 220, label: "A3" },
  { frequency: 440, label: "A4" },
  { frequency: 880, label: "A5" },
  { frequency: 1760, label: "A6" },
  { frequency: 3520, label: "A7" },
  { frequency: 7040, label: "7 kHz" },
];

const NOTES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];

/** The nearest note of equal temperament at A4 = 440 Hz, such as `A4`. */
export function noteName(frequency: Hertz): string {
  const number = Math.round(69 + 12 * Math.log2(frequency / 440));
  return `${NOTES[((number % 12) + 12) % 12]}${Math.floor(number / 12) - 1}`;
}
