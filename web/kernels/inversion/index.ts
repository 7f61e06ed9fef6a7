/**
 * The inner loops of the spectrogram inversion, in AssemblyScript.
 *
 * Eight frames are computed at once: frames 0 to 3 in the lanes of one vector, frames 4 to 7 in those of another. So
 * no operation mixes lanes, and a Fourier transform of any length needs no special cases for vectors. The functions
 * work on memory that the caller divides; all arguments that are named after data are addresses.
 *
 * Layouts, for one batch of eight frames (a vector has 16 bytes):
 *
 *   values       per row two vectors: frames 0–3, frames 4–7      magnitudes, gains, mel bands, phases
 *   spectrum     per bin four vectors: re and im of frames 0–3, re and im of frames 4–7
 *   complex      per row two vectors: re, im                      what `transform` computes
 */

export { transform } from "./transform";
export { windowed, split, merged, overlapAdded } from "./frames";
export { weightedSums, bandGains, multiplied, scaled, rotated } from "./bands";
export { regionPhases, polar } from "./phases";
export { divided, advanced } from "./iteration";
export { peaksAround } from "./true_peak";
