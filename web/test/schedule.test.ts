import { describe, expect, it } from "vitest";
import { HORIZON, LEAD, boundaryAfter, onSample, roundsBegun, takeOverTime } from "../src/audio/schedule";

const loop = { start: 10, duration: 5.12 };

describe("the end of a round", () => {
  it("is one round after the start at the earliest", () => {
    expect(boundaryAfter(loop, 0)).toBeCloseTo(15.12, 9);
    expect(boundaryAfter(loop, 10)).toBeCloseTo(15.12, 9);
  });

  it("is the given time, if that is an end of a round", () => {
    const errors = Array.from({ length: 2000 }, (_, i) => {
      const boundary = loop.start + (i + 1) * loop.duration;
      return Math.abs(boundaryAfter(loop, boundary) - boundary);
    });
    expect(Math.max(...errors)).toBeLessThan(1e-6);
  });

  it("is whole rounds after the start and less than a round away", () => {
    for (let time = 15.2; time < 600; time += 37.31) {
      const boundary = boundaryAfter(loop, time);
      const rounds = (boundary - loop.start) / loop.duration;
      expect(rounds).toBeCloseTo(Math.round(rounds), 6);
      expect(boundary - time).toBeGreaterThan(-1e-5);
      expect(boundary - time).toBeLessThan(loop.duration + 1e-5);
    }
  });
});

describe("a take-over", () => {
  it("is not scheduled too early", () => {
    expect(takeOverTime(loop, 15.12 - HORIZON - 0.01)).toBeNull();
    expect(takeOverTime(loop, 15.12 - HORIZON + 0.01)).toBeCloseTo(15.12, 9);
  });

  it("waits one more round if it is too late for this one", () => {
    expect(takeOverTime(loop, 15.12 - LEAD / 2)).toBeNull();
    expect(takeOverTime(loop, 15.12 + loop.duration - 1)).toBeCloseTo(20.24, 9);
  });

  it("of a short loop is at the next end of a round", () => {
    const short = { start: 0, duration: 0.5 };
    expect(takeOverTime(short, 10.1)).toBeCloseTo(10.5, 9);
  });
});

it("rounds are counted from 1", () => {
  expect(roundsBegun(loop, 9.99)).toBe(0);
  expect(roundsBegun(loop, 10)).toBe(1);
  expect(roundsBegun(loop, 15.11)).toBe(1);
  expect(roundsBegun(loop, 15.12)).toBe(2);
  expect(roundsBegun(loop, 10 + 5.12 * 3.5)).toBe(4);
});

it("start times are rounded to samples", () => {
  expect(onSample(1.000001, 44_100) * 44_100).toBe(44_100);
  expect(onSample(0.5 / 44_100 + 1e-9, 44_100) * 44_100).toBeCloseTo(1, 9);
});
