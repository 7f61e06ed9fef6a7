/** Measurements of audio, and test signals with known properties. */

import type { Hertz, Seconds } from "../src/units";

/** The mean power of a signal in decibels; 0 dB is a full-scale square wave. */
export function levelDb(samples: Float32Array): number {
  const sum = samples.reduce((total, sample) => total + sample ** 2, 0);
  return 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-12);
}

/** The level of the quietest window. */
export function quietestDb(samples: Float32Array, sampleRate: Hertz, window: Seconds): number {
  const size = Math.round(window * sampleRate);
  let quietest = Infinity;
  for (let from = 0; from + size <= samples.length; from += size >> 1) {
    quietest = Math.min(quietest, levelDb(samples.subarray(from, from + size)));
  }
  return quietest;
}

/** Integrated loudness of a mono signal in LUFS: ITU-R BS.1770-4, with both gates. */
export function loudnessLufs(samples: Float32Array, sampleRate: Hertz): number {
  const weighted = biquad(biquad(samples, shelf(sampleRate)), highPass(sampleRate));
  const [block, hop] = [Math.round(0.4 * sampleRate), Math.round(0.1 * sampleRate)];
  const powers: number[] = [];
  for (let from = 0; from + block <= weighted.length; from += hop) {
    powers.push(10 ** (levelDb(weighted.subarray(from, from + block)) / 10));
  }
  const gated = (gate: number): number[] => powers.filter((power) => lufs(power) > gate);
  return lufs(mean(gated(lufs(mean(gated(-70))) - 10)));
}

function lufs(power: number): number {
  return -0.691 + 10 * Math.log10(power + 1e-12);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

type Biquad = readonly [b0: number, b1: number, b2: number, a1: number, a2: number];

/** The high shelf of BS.1770: its analogue prototype, transformed to the sample rate. */
function shelf(sampleRate: Hertz): Biquad {
  const k = Math.tan((Math.PI * 1681.974450955533) / sampleRate);
  const q = 0.7071752369554196;
  const high = 10 ** (3.999843853973347 / 20);
  const band = high ** 0.4996667741545416;
  const a0 = 1 + k / q + k * k;
  return [
    (high + (band * k) / q + k * k) / a0, (2 * (k * k - high)) / a0, (high - (band * k) / q + k * k) / a0,
    (2 * (k * k - 1)) / a0, (1 - k / q + k * k) / a0,
  ];
}

/** The high-pass filter of BS.1770, transformed in the same way. */
function highPass(sampleRate: Hertz): Biquad {
  const k = Math.tan((Math.PI * 38.13547087602444) / sampleRate);
  const q = 0.5003270373238773;
  const a0 = 1 + k / q + k * k;
  return [1, -2, 1, (2 * (k * k - 1)) / a0, (1 - k / q + k * k) / a0];
}

function biquad(samples: Float32Array, [b0, b1, b2, a1, a2]: Biquad): Float32Array {
  let [x1, x2, y1, y2] = [0, 0, 0, 0];
  return samples.map((x) => {
    const y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2;
    [x1, x2, y1, y2] = [x, x1, y, y1];
    return y;
  });
}

/** The strongest frequency from `from` to `to`, found with Goertzel's algorithm at every `step`. */
export function strongestFrequency(samples: Float32Array, sampleRate: Hertz, from: Hertz, to: Hertz, step: Hertz): Hertz {
  let [best, bestPower] = [0, -1];
  for (let frequency = from; frequency <= to; frequency += step) {
    const turn = 2 * Math.cos((2 * Math.PI * frequency) / sampleRate);
    let [s1, s2] = [0, 0];
    for (const sample of samples) [s1, s2] = [sample + turn * s1 - s2, s1];
    const power = s1 ** 2 + s2 ** 2 - turn * s1 * s2;
    if (power > bestPower) [best, bestPower] = [frequency, power];
  }
  return best;
}

/** A steady sine tone with an amplitude of 0.3. */
export function tone(frequency: Hertz, duration: Seconds, sampleRate: Hertz): Float32Array {
  const turn = (2 * Math.PI * frequency) / sampleRate;
  return Float32Array.from({ length: Math.round(duration * sampleRate) }, (_, i) => 0.3 * Math.sin(turn * i));
}

/** Clicks of noise that fade within 60 ms, one per beat. */
export function clickTrack(tempo: number, duration: Seconds, sampleRate: Hertz): Float32Array {
  const samples = new Float32Array(Math.round(duration * sampleRate));
  let noise = 1;
  return samples.map((_, i) => {
    noise = (noise * 16807) % 2147483647; // Park-Miller generator: the same noise in every run
    const sinceBeat = (i / sampleRate) % (60 / tempo);
    return 0.8 * Math.exp(-sinceBeat / 0.012) * ((2 * noise) / 2147483647 - 1);
  });
}
