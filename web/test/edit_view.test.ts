import { describe, expect, it } from "vitest";
import { clickTrack, tone } from "../e2e/signals";
import { findBeats } from "../src/edit/beats";
import { Fft } from "../src/edit/fft";
import { MelColumns, NUM_ROWS, TILE_COLUMNS, hopOf, tileRange, windowOf } from "../src/edit/mel_columns";
import { type Selection, bandOf, beatsIn, dragged, gripAt, nextPlace, snapped } from "../src/edit/selection";
import { Spectrogram, levelFor } from "../src/edit/spectrogram";
import { type ViewWindow, fitted, following, including, labelStep, panned, timeAt, timeText, xOf, zoomed } from "../src/edit/view_window";
import { withMovedBand } from "../src/ui/edit/edit_keys";
import { secondsFrom, withValue } from "../src/ui/edit/section_fields";
import { frequencyAt, heightOf } from "../src/timeline/pitch";

const TOTAL = 180;
const BEATS = Array.from({ length: 360 }, (_, i) => 0.25 + 0.5 * i);

describe("the zoomed view", () => {
  const view: ViewWindow = { from: 30, span: 20 };

  it("keeps the time under the pointer while it zooms", () => {
    for (const factor of [1.5, 4, 1 / 3]) {
      const x = xOf(view, 800, 41);
      expect(timeAt(zoomed(view, TOTAL, factor, 41), 800, x)).toBeCloseTo(41, 9);
    }
  });

  it("stays inside the recording, and shows half a second at least", () => {
    expect(zoomed(view, TOTAL, 0.001, 41)).toEqual({ from: 0, span: TOTAL });
    expect(zoomed(view, TOTAL, 1e9, 41).span).toBe(0.5);
    expect(panned(view, TOTAL, 1000)).toEqual({ from: 160, span: 20 });
    expect(panned(view, TOTAL, -1000)).toEqual({ from: 0, span: 20 });
    expect(fitted({ from: 3, span: 20 }, 7)).toEqual({ from: 0, span: 7 });
    expect(zoomed({ from: 0, span: 0.3 }, 0.3, 2, 0.1)).toEqual({ from: 0, span: 0.3 });
  });

  it("shows what it must with the least movement", () => {
    expect(including(view, TOTAL, 35, 40)).toEqual(view);
    expect(including(view, TOTAL, 45, 55)).toEqual({ from: 35, span: 20 });
    expect(including(view, TOTAL, 25, 30)).toEqual({ from: 25, span: 20 });
    const wide = including(view, TOTAL, 60, 100);
    expect([wide.from < 60, wide.from + wide.span > 100]).toEqual([true, true]);
  });

  it("turns like a page when playback leaves it", () => {
    expect(following(view, TOTAL, 50)).toBe(view);
    expect(following(view, TOTAL, 50.1)).toEqual({ from: 49.1, span: 20 });
  });

  it("has labels that are round and far enough apart", () => {
    expect(labelStep(view, 800, 70)).toBe(2);
    expect(labelStep({ from: 0, span: TOTAL }, 320, 70)).toBe(60);
    expect([timeText(61.5, 0.5), timeText(59.96, 0.1), timeText(59.999, 1), timeText(5.25, 0.25), timeText(125, 5)])
      .toEqual(["1:01.5", "1:00.0", "1:00", "0:05.25", "2:05"]);
  });
});

describe("marking", () => {
  const marked: Selection = { start: 10, stop: 20, band: null };
  const banded: Selection = { ...marked, band: { low: 200, high: 1000 } };
  const reach = { time: 0.5, height: 0.03 };
  const at = (time: number, height = 0.5): { time: number; height: number } => ({ time, height });

  it("snaps to the nearest beat, to the ends, and to nothing without a grid", () => {
    expect([9.9, 10.01, 0.1, 179.99, -3, 500].map((time) => snapped(time, BEATS, TOTAL))).toEqual([9.75, 10.25, 0, 180, 0, 180]);
    expect(snapped(9.9, null, TOTAL)).toBe(9.9);
    expect(snapped(100, [], TOTAL)).toBe(180);
  });

  it("goes from beat to beat with the keys", () => {
    expect(nextPlace(10.25, 1, BEATS, TOTAL, 1)).toBe(10.75);
    expect(nextPlace(10.25, -1, BEATS, TOTAL, 1)).toBe(9.75);
    expect([nextPlace(0.1, -1, BEATS, TOTAL, 1), nextPlace(179.9, 1, BEATS, TOTAL, 1)]).toEqual([0, 180]);
    expect([nextPlace(0.4, -1, null, TOTAL, 1), nextPlace(7, 1, null, TOTAL, 0.1)]).toEqual([0, 7.1]);
  });

  it.each([
    ["outside marks a section", marked, at(30), "time"],
    ["at the start moves it", marked, at(10.2), "start"],
    ["before the start moves it", marked, at(9.6), "start"],
    ["at the end moves it", marked, at(20.3), "stop"],
    ["inside marks a band", marked, at(15), "band"],
    ["inside, at an edge of the band, moves that", banded, at(15, heightOf(1000) + 0.02), "high"],
    ["and at the lower one, too", banded, at(15, heightOf(200)), "low"],
    ["in the middle of a section of 0.2 s still marks a band", { ...marked, stop: 10.2 }, at(10.1), "band"],
    ["with nothing marked marks a section", null, at(15), "time"],
  ] as const)("a drag %s", (_, selection, point, grip) => {
    expect(gripAt(point, selection, reach)).toBe(grip);
  });

  it("works in both directions", () => {
    const section = { start: 12.25, stop: 14.25, band: null };
    expect(dragged("time", at(12.2), at(14.3), null, BEATS, TOTAL)).toEqual(section);
    expect(dragged("time", at(14.3), at(12.2), marked, BEATS, TOTAL)).toEqual(section);
    expect(dragged("time", at(12.2), at(12.22), marked, null, TOTAL)).toBeNull();
    expect(dragged("start", at(10), at(25), banded, null, TOTAL)).toEqual({ ...banded, start: 20, stop: 25 });
    expect(dragged("stop", at(20), at(10.01), marked, null, TOTAL)).toEqual(marked);
  });

  it("marks a band of a section, and a rectangle at once", () => {
    const band = { low: Math.round(frequencyAt(0.2)), high: Math.round(frequencyAt(0.6)) };
    expect(dragged("band", at(15, 0.6), at(16, 0.2), marked, BEATS, TOTAL)).toEqual({ ...marked, band });
    expect(dragged("rectangle", at(12, 0.2), at(14, 0.6), null, null, TOTAL)).toEqual({ start: 12, stop: 14, band });
    expect(dragged("low", at(15, heightOf(200)), at(15, 0.2), banded, null, TOTAL)?.band).toEqual({ low: band.low, high: 1000 });
    expect(dragged("band", at(15, 0.5), at(15, 0.505), banded, null, TOTAL)?.band).toBeNull(); // a click takes the band away
    expect(bandOf(-1, 2)).toBeNull(); // everything is no band
  });

  it("by keys moves the band inside the pitches, and makes it wider", () => {
    const upper = withMovedBand(marked, 1, false);
    expect([upper.band!.low, withMovedBand(marked, -1, false).band!.low]).toEqual([Math.round(frequencyAt(0.5)), 0]);
    const heights = ({ band }: Selection): number[] => [heightOf(band!.low), heightOf(band!.high)].map((height) => Math.round(100 * height));
    expect(heights(withMovedBand(upper, -1, false))).toEqual([45, 93]);
    expect(heights(withMovedBand(upper, 1, false))).toEqual([52, 100]);
    expect(heights(withMovedBand(upper, -1, true))).toEqual([50, 93]);
  });

  it("by numbers takes what makes sense, and leaves the rest", () => {
    expect([secondsFrom("1:02.5"), secondsFrom(" 12,25 "), secondsFrom("3"), secondsFrom("soon"), secondsFrom("-1")]).toEqual([62.5, 12.25, 3, NaN, NaN]);
    expect(withValue(null, "start", 12, 60)).toEqual({ start: 12, stop: 60, band: null });
    expect(withValue(banded, "stop", 500, 60)).toEqual({ ...banded, stop: 60 });
    expect(withValue(marked, "start", 20, 60)).toEqual(marked); // it would have no length
    expect(withValue(marked, "start", null, 60)).toBeNull();
    expect(withValue(marked, "low", 300, 60)?.band).toEqual({ low: 300, high: 10_000 });
    expect(withValue(banded, "high", 100, 60)).toEqual(banded); // it is below the lowest
    expect(withValue({ ...marked, band: { low: 0, high: 500 } }, "high", null, 60)?.band).toBeNull();
  });

  it("counts beats", () => {
    expect(beatsIn({ start: 10.25, stop: 14.25, band: null }, BEATS)).toBe(8);
    expect(beatsIn({ start: 10.3, stop: 14.2, band: null }, BEATS)).toBe(8);
    expect(beatsIn({ start: 10.3, stop: 10.5, band: null }, BEATS)).toBe(1);
    expect(beatsIn(marked, null)).toBeNull();
  });
});

describe("the beats", () => {
  const RATE = 16_000;

  it.each([93, 120])("of clicks at %d per minute are found, from the start to the end", (tempo) => {
    const { beats } = findBeats(clickTrack(tempo, 30, RATE), RATE)!;
    const period = 60 / tempo;
    const errors = beats.map((beat) => Math.abs(beat - period * Math.round(beat / period)));
    expect(Math.max(...errors)).toBeLessThan(0.025);
    expect([beats[0]! < period, beats.at(-1)! > 30 - 1.1 * period, beats.length >= Math.floor(30 / period) - 1]).toEqual([true, true, true]);
  });

  it("follow a tempo that rises", () => {
    const samples = new Float32Array(30 * RATE);
    const clicks: number[] = [];
    const click = clickTrack(60, 0.1, RATE);
    for (let time = 0.2; time < 29.8; time += 60 / (100 + time / 3)) {
      samples.set(click, Math.round(time * RATE));
      clicks.push(time);
    }
    const { beats } = findBeats(samples, RATE)!;
    const near = clicks.filter((time) => beats.some((beat) => Math.abs(beat - time) < 0.03));
    expect(near.length / clicks.length).toBeGreaterThan(0.95);
  });

  it("of silence are not found", () => {
    expect(findBeats(new Float32Array(5 * RATE), RATE)).toBeNull();
  });
});

describe("the spectrogram", () => {
  it("has the magnitudes of the discrete Fourier transform", () => {
    const size = 64;
    const input = clickTrack(600, size / 1000, 1000);
    const output = new Float64Array(size / 2 + 1);
    new Fft(size).magnitudes(input, new Float64Array(size).fill(1), output);
    const expected = [...output.keys()].map((k) => {
      let [re, im] = [0, 0];
      input.forEach((value, i) => {
        re += value * Math.cos((2 * Math.PI * k * i) / size);
        im -= value * Math.sin((2 * Math.PI * k * i) / size);
      });
      return Math.hypot(re, im);
    });
    expect(Math.max(...expected.map((value, k) => Math.abs(value - output[k]!)))).toBeLessThan(1e-9);
  });

  it.each([22_050, 44_100, 48_000, 96_000])("shows a tone at its pitch and its time, at %d Hz", (rate) => {
    const { start, stop } = tileRange(0, rate);
    expect([stop - start, (-start * 2) / windowOf(rate)]).toEqual([(TILE_COLUMNS - 1) * hopOf(rate) + windowOf(rate), 1]);
    const samples = new Float32Array(stop - start);
    samples.set(tone(880, 1, rate), -start); // from the column 0 to 100
    const columns = new MelColumns(rate).tile(samples);
    const column = (index: number): Uint8Array => columns.subarray(index * NUM_ROWS, (index + 1) * NUM_ROWS);
    const loudest = column(50).indexOf(Math.max(...column(50)));
    expect(Math.abs((loudest + 0.5) / NUM_ROWS - heightOf(880))).toBeLessThan(1.5 / NUM_ROWS);
    expect(Math.max(...column(106))).toBe(0);
  });

  it("keeps coarser levels, and takes over what is the same in another version", () => {
    const first = new Spectrogram(600);
    expect([first.numTiles, first.nextTile(1, 1), first.nextTile(1, 1, new Set([1]))]).toEqual([3, 1, 0]);
    first.put(1, new Uint8Array(TILE_COLUMNS * NUM_ROWS).fill(80));
    expect([...new Set(first.columns(2, 16, 32))]).toEqual([80]);
    expect([...new Set(first.columns(2, 0, 16))]).toEqual([0]);
    expect(first.nextTile(1, 1)).toBe(0);
    const second = new Spectrogram(600);
    second.adopt(first, (tile) => tile === 1);
    expect([second.isKnown(1), second.isKnown(0), second.columns(0, 300, 301)[0]]).toEqual([true, false, 80]);
  });

  it("draws no more columns than there are pixels", () => {
    expect([levelFor(4, 1.5), levelFor(0.4, 1.5), levelFor(0.3, 1.5), levelFor(0.08, 1.5), levelFor(0.001, 1.5)]).toEqual([0, 0, 1, 2, 3]);
  });
});
