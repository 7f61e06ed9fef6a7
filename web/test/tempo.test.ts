import { describe, expect, it } from "vitest";
import { cutToBeats, whyNoLoop } from "../src/seed/cut_to_beats";
import { findTempo } from "../src/seed/tempo";

const RATE = 8000;
/** Relative tolerance of a tempo: less than a twentieth of a beat over a clip. */
const TOLERANCE = 0.01;

/** Decaying clicks from time `first`; every second one is softer. */
function clicks(tempo: number, seconds: number, first = 0): Float32Array {
  const samples = new Float32Array(RATE * seconds);
  for (let beat = 0; ; beat++) {
    const start = Math.round((first + (beat * 60) / tempo) * RATE);
    if (start >= samples.length) return samples;
    for (let i = 0; i < 0.08 * RATE && start + i < samples.length; i++) {
      const loudness = (beat % 2 === 0 ? 0.9 : 0.6) * Math.exp(-i / (0.02 * RATE));
      samples[start + i] = (samples[start + i] ?? 0) + loudness * Math.sin((2 * Math.PI * 440 * i) / RATE);
    }
  }
}

describe("the tempo", () => {
  it.each([75, 93.75, 120, 140.625])("of clicks at %d per minute is found", (tempo) => {
    const pulse = findTempo(clicks(tempo, 8, 0.2), RATE);
    expect(Math.abs(pulse!.tempo / tempo - 1)).toBeLessThan(TOLERANCE);
    const beat = 60 / tempo;
    const offset = (pulse!.firstBeat - 0.2 + 10 * beat) % beat;
    expect(Math.min(offset, beat - offset)).toBeLessThan(0.03);
  });

  it("of silence and of very short audio is null", () => {
    expect(findTempo(new Float32Array(5 * RATE), RATE)).toBeNull();
    expect(findTempo(clicks(120, 1), RATE)).toBeNull();
  });
});

describe("a loop", () => {
  it("needs at least one second of audible sound", () => {
    expect(whyNoLoop(clicks(120, 1), RATE)).toBeNull();
    expect(whyNoLoop(clicks(120, 1).subarray(1), RATE)).toMatch(/lasts 1.0 s; choose/);
    expect(whyNoLoop(new Float32Array(6 * RATE).fill(0.0009), RATE)).toMatch(/silent for its first 6 s; choose/);
    expect(whyNoLoop(new Float32Array(6 * RATE).fill(-0.0011), RATE)).toBeNull();
  });
});

describe("a loop cut to beats", () => {
  it("has whole bars from the first beat and fits into a clip", () => {
    const { samples, beats, tempo } = cutToBeats(clicks(120, 12, 0.25), RATE);
    expect(beats).toBe(8);
    expect(Math.abs(tempo! / 120 - 1)).toBeLessThan(TOLERANCE);
    expect(Math.abs(samples.length / RATE - 4)).toBeLessThan(0.04);
    const loudest = samples.slice(0, 0.05 * RATE).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(loudest).toBeGreaterThan(0.4);
  });

  it("is continuous at its seam", () => {
    const tone = Float32Array.from({ length: 10 * RATE }, (_, i) => 0.5 * Math.sin((2 * Math.PI * 100.3 * i) / RATE));
    const { samples } = cutToBeats(tone, RATE);
    const largestStep = (0.5 * 2 * Math.PI * 100.3) / RATE;
    expect(Math.abs(samples[0]! - samples.at(-1)!)).toBeLessThan(1.1 * largestStep);
  });

  it("is the whole recording if that is short", () => {
    const { samples, beats } = cutToBeats(clicks(120, 1), RATE);
    expect([samples.length, beats]).toEqual([RATE, null]);
  });
});
