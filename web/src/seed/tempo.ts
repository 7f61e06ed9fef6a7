/**
 * Estimates the tempo of a recording.
 *
 * Onset strength is the increase in loudness from one frame to the next on a logarithmic scale, summed over a
 * few frequency bands. If music has a beat, onsets repeat after one, two, three and four beats, so the
 * autocorrelation of onset strength is high at all four lags. It is also high at half a beat, so moderate
 * tempi are preferred, as in D. P. W. Ellis, "Beat tracking by dynamic programming", JNMR 36, 2007.
 */

import type { Bpm, Hertz, Seconds } from "../units";

const FRAME: Seconds = 0.01;
/** Edges of the frequency bands. */
const EDGES: readonly Hertz[] = [150, 600, 2400];
const SLOWEST: Bpm = 50;
const FASTEST: Bpm = 210;
const PREFERRED: Bpm = 105;
/** Standard deviation of the preference for `PREFERRED`. */
const PREFERENCE_OCTAVES = 0.9;
const NUM_CANDIDATES = 800;
const BEATS = [1, 2, 3, 4];
/** Longest lag, as a fraction of the recording: at longer lags too few frames are compared. */
const KNOWN_SHARE = 0.8;
const SILENCE = 1e-4;

export interface TempoEstimate {
  readonly tempo: Bpm;
  /** Time of the first beat. */
  readonly firstBeat: Seconds;
}

/**
 * Tempo and first beat, or null if no beat is found. The result may also be half or twice the tempo that a
 * listener would tap.
 *
 * @param samples mono, in [-1, 1]
 */
export function findTempo(samples: Float32Array, sampleRate: Hertz): TempoEstimate | null {
  return tempoOf(onsetStrength(samples, sampleRate));
}

/** Tempo and first beat from the onset strength of a recording, as `findTempo`. */
export function tempoOf(strength: Float64Array): TempoEstimate | null {
  const mean = strength.reduce((sum, value) => sum + value, 0) / Math.max(1, strength.length);
  if (mean < SILENCE || strength.length * FRAME < 1.5) return null;
  const correlation = autocorrelation(strength.map((value) => value - mean));
  let best = 0;
  let bestPeriod: Seconds = 0;
  for (let i = 0; i < NUM_CANDIDATES; i++) {
    const tempo = SLOWEST * (FASTEST / SLOWEST) ** (i / (NUM_CANDIDATES - 1));
    const octaves = Math.log2(tempo / PREFERRED) / PREFERENCE_OCTAVES;
    const score = repetition(correlation, 60 / tempo / FRAME) * Math.exp(-0.5 * octaves ** 2);
    if (score > best) [best, bestPeriod] = [score, 60 / tempo];
  }
  if (best <= 0) return null;
  const period = refined(correlation, bestPeriod / FRAME) * FRAME;
  return { tempo: 60 / period, firstBeat: firstBeat(strength, period / FRAME) * FRAME };
}

/** Onset strength, one value per frame of 10 ms; 0 where no band becomes louder. */
export function onsetStrength(samples: Float32Array, sampleRate: Hertz): Float64Array {
  const hop = Math.round(FRAME * sampleRate);
  const strength = new Float64Array(Math.floor(samples.length / hop));
  let rest = samples;
  for (const edge of [...EDGES, sampleRate / 2]) {
    const low = edge < sampleRate / 2 ? lowPassed(rest, edge, sampleRate) : rest;
    addFlux(strength, low, hop);
    rest = rest.map((value, i) => value - (low[i] ?? 0));
  }
  return strength;
}

/** A one-pole low-pass filter: 6 dB per octave is enough to separate a bass drum from a cymbal. */
function lowPassed(samples: Float32Array, edge: Hertz, sampleRate: Hertz): Float32Array {
  const weight = 1 - Math.exp((-2 * Math.PI * edge) / sampleRate);
  let value = 0;
  return samples.map((sample) => (value += weight * (sample - value)));
}

function addFlux(strength: Float64Array, band: Float32Array, hop: number): void {
  let before = 0;
  for (let frame = 0; frame < strength.length; frame++) {
    let energy = 0;
    for (let i = frame * hop; i < (frame + 1) * hop; i++) energy += (band[i] ?? 0) ** 2;
    const loudness = Math.log1p(1000 * Math.sqrt(energy / hop));
    strength[frame] = (strength[frame] ?? 0) + Math.max(0, loudness - before);
    before = loudness;
  }
}

/** Mean product of values that are `lag` apart, for lags up to 5 s. */
function autocorrelation(values: Float64Array): Float64Array {
  const longest = Math.min(values.length, Math.ceil(5 / FRAME));
  return Float64Array.from({ length: longest }, (_, lag) => {
    let sum = 0;
    for (let i = 0; i + lag < values.length; i++) sum += (values[i] ?? 0) * (values[i + lag] ?? 0);
    return sum / (values.length - lag);
  });
}

/** Mean autocorrelation at one to four beats of `period` frames. */
function repetition(correlation: Float64Array, period: number): number {
  const known = BEATS.filter((beats) => beats * period < KNOWN_SHARE * correlation.length);
  return known.reduce((sum, beats) => sum + at(correlation, beats * period), 0) / Math.max(1, known.length);
}

/** Refines the period with the peaks at its multiples: the n-th peak is n times more precise. */
function refined(correlation: Float64Array, period: number): number {
  let lag = period;
  for (let beats = 1; beats * lag < KNOWN_SHARE * correlation.length; beats *= 2) {
    const reach = Math.max(2, Math.round(0.04 * lag));
    let peak = Math.round(beats * lag);
    const centre = peak;
    for (let i = centre - reach; i <= centre + reach; i++) {
      if ((correlation[i] ?? 0) > (correlation[peak] ?? 0)) peak = i;
    }
    const [left, middle, right] = [correlation[peak - 1] ?? 0, correlation[peak] ?? 0, correlation[peak + 1] ?? 0];
    const bend = left - 2 * middle + right;
    if (middle <= 0 || bend >= 0) break;
    lag = (peak + (0.5 * (left - right)) / bend) / beats;
  }
  return lag;
}

/** The frame in the first beat from which beats `period` apart meet the strongest onsets. */
function firstBeat(strength: Float64Array, period: number): number {
  let best = -1;
  let bestPhase = 0;
  for (let phase = 0; phase < period; phase++) {
    let sum = 0;
    for (let i = phase; i < strength.length; i += period) sum += strength[Math.round(i)] ?? 0;
    if (sum > best) [best, bestPhase] = [sum, phase];
  }
  return bestPhase;
}

function at(values: Float64Array, position: number): number {
  const left = Math.floor(position);
  const weight = position - left;
  return (1 - weight) * (values[left] ?? 0) + weight * (values[left + 1] ?? 0);
}
