import { describe, expect, it, vi } from "vitest";
import { JOIN_FADE, curve, gainIn, gainOut } from "../src/audio/fade";
import { type Samples, LoopRecording } from "../src/audio/loop_recording";
import { pcm16, wavBlob } from "../src/audio/wav";

const RATE = 1000;
const FADE_FRAMES = Math.round(JOIN_FADE * RATE);
/** Tolerance for 16-bit rounding, in steps. */
const ROUNDING = 1;

function loopOf(...channels: number[][]): Samples {
  return {
    sampleRate: RATE,
    numberOfChannels: channels.length,
    length: channels[0]!.length,
    getChannelData: (i) => Float32Array.from(channels[i]!),
  };
}

/** Reads the samples of a WAV file, one array per channel. */
async function framesOf(file: Blob): Promise<{ rate: number; channels: number[][] }> {
  const view = new DataView(await file.arrayBuffer());
  const text = (offset: number): string => String.fromCharCode(...new Uint8Array(view.buffer, offset, 4));
  expect([text(0), text(8), text(36)]).toEqual(["RIFF", "WAVE", "data"]);
  expect(view.getUint32(4, true)).toBe(view.byteLength - 8);
  expect(view.getUint32(40, true)).toBe(view.byteLength - 44);
  const numChannels = view.getUint16(22, true);
  expect(view.getUint16(32, true)).toBe(2 * numChannels);
  expect(view.getUint32(28, true)).toBe(view.getUint32(24, true) * 2 * numChannels);
  const samples = Array.from({ length: (view.byteLength - 44) / 2 }, (_, i) => view.getInt16(44 + 2 * i, true));
  const channels = Array.from({ length: numChannels }, (_, c) => samples.filter((_, i) => i % numChannels === c));
  return { rate: view.getUint32(24, true), channels };
}

describe("WAV files", () => {
  it("contain the samples", async () => {
    const { rate, channels } = await framesOf(wavBlob([Float32Array.of(0, 0.5, -1), Float32Array.of(1, -0.25, 0)], 44_100));
    expect(rate).toBe(44_100);
    expect(channels).toEqual([[0, 16384, -32767], [32767, -8192, 0]]);
  });

  it("clip samples outside [-1, 1]", () => {
    expect([...pcm16([Float32Array.of(1.5, -1.5)])]).toEqual([32767, -32768]);
  });
});

describe("crossfades", () => {
  it("have constant power", () => {
    const powers = Array.from({ length: 101 }, (_, i) => gainIn(i / 100) ** 2 + gainOut(i / 100) ** 2);
    expect(Math.max(...powers) - Math.min(...powers)).toBeLessThan(1e-12);
    expect(powers[50]).toBeCloseTo(1, 12);
  });

  it("go from silence to full and back", () => {
    const [up, down] = [curve(gainIn), curve(gainOut)];
    expect([up[0], up.at(-1), down[0]]).toEqual([0, 1, 1]);
    expect(down.at(-1)).toBeCloseTo(0, 6);
  });
});

describe("a recording of loops", () => {
  const ramp = Array.from({ length: 100 }, (_, i) => i / 200);
  const constant = Array.from({ length: 80 }, () => -0.5);

  it("starts inside a round and continues at the start of the loop", async () => {
    const loopRecording = new LoopRecording(RATE, 1);
    loopRecording.begin(loopOf(ramp), 0.09);
    loopRecording.advance(0.12, null);
    const { channels } = await framesOf(loopRecording.wav());
    expect(loopRecording.duration).toBeCloseTo(0.12, 9);
    const expected = Array.from({ length: 120 }, (_, i) => Math.round(ramp[(90 + i) % 100]! * 32767));
    expect(channels[0]!.slice(FADE_FRAMES, -FADE_FRAMES)).toEqual(expected.slice(FADE_FRAMES, -FADE_FRAMES));
  });

  it("starts and ends with a fade", async () => {
    const loopRecording = new LoopRecording(RATE, 1);
    loopRecording.begin(loopOf(constant), 0.03);
    loopRecording.advance(0.05, null);
    const [samples] = (await framesOf(loopRecording.wav())).channels;
    const levels = samples!.map((sample) => sample / (-0.5 * 32767));
    for (let i = 0; i < FADE_FRAMES; i++) {
      expect(levels[i]).toBeCloseTo(gainIn(i / FADE_FRAMES), 3);
      expect(levels.at(i - FADE_FRAMES)).toBeCloseTo(gainOut(i / FADE_FRAMES), 3);
    }
  });

  it("is written in pieces while a loop plays for a long time", async () => {
    const sizes: number[] = [];
    vi.stubGlobal("Blob", class extends Blob {
      constructor(parts: BlobPart[] = [], options?: BlobPropertyBag) {
        super(parts, options);
        for (const part of parts) if (part instanceof Int16Array) sizes.push(part.length);
      }
    });
    const loopRecording = new LoopRecording(RATE, 1);
    loopRecording.begin(loopOf(ramp), 0);
    loopRecording.advance(75, loopOf(constant));
    loopRecording.advance(0.5, null);
    vi.unstubAllGlobals();
    expect(sizes).toEqual([30_000, 30_000, 15_000, 500]);
    const [samples] = (await framesOf(loopRecording.wav())).channels;
    const expected = Array.from({ length: 75_000 }, (_, i) => Math.round(ramp[i % 100]! * 32767));
    expect(samples!.slice(FADE_FRAMES, 75_000)).toEqual(expected.slice(FADE_FRAMES));
    expect(samples![75_000 + FADE_FRAMES]).toBe(Math.round(-0.5 * 32767));
  });

  it("joins loops without a gap and with the crossfade of the player", async () => {
    const loopRecording = new LoopRecording(RATE, 2);
    loopRecording.begin(loopOf(ramp), 0);
    loopRecording.advance(0.1, loopOf(constant));
    loopRecording.advance(0.16, null);
    const [left, right] = (await framesOf(loopRecording.wav())).channels;
    expect(left).toHaveLength(260);
    expect(right).toEqual(left); // mono in both
    for (let i = 0; i < FADE_FRAMES; i++) {
      const x = i / FADE_FRAMES;
      const expected = 32767 * (gainIn(x) * -0.5 + gainOut(x) * ramp[i]!); // the old loop's next round
      expect(Math.abs(left![100 + i]! - expected)).toBeLessThanOrEqual(ROUNDING);
    }
    expect(new Set(left!.slice(100 + FADE_FRAMES, -FADE_FRAMES))).toEqual(new Set([Math.round(-0.5 * 32767)]));
  });

  it("is as long as its sections together", () => {
    const loopRecording = new LoopRecording(RATE);
    loopRecording.begin(loopOf(ramp), 0);
    for (let i = 0; i < 40; i++) loopRecording.advance(0.513, loopOf(constant));
    expect(loopRecording.duration).toBeCloseTo(40 * 0.513, 9);
  });
});
