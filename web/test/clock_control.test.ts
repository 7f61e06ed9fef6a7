import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type AudioClock, ClockControl } from "../src/audio/clock_control";
import { Scope } from "../src/scope";

/** An audio context in a browser that may refuse to start it. */
class FakeClock extends EventTarget implements AudioClock {
  state = "suspended";
  /** How the browser reacts to `resume`. */
  browser: "allows" | "waits" | "refuses" = "allows";

  async resume(): Promise<void> {
    if (this.browser === "waits") return new Promise(() => undefined);
    if (this.browser === "refuses") throw new DOMException("in a call", "InvalidStateError");
    this.become("running");
  }

  async suspend(): Promise<void> {
    this.become("suspended");
  }

  become(state: string): void {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("statechange"));
  }
}

function control(): { clock: FakeClock; clockControl: ClockControl; seen: boolean[] } {
  const clock = new FakeClock();
  const seen: boolean[] = [];
  const clockControl: ClockControl = new ClockControl(new Scope(), clock, () => seen.push(clockControl.isBlocked));
  return { clock, clockControl, seen };
}

const pass = (seconds: number): Promise<unknown> => vi.advanceTimersByTimeAsync(1000 * seconds);

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("a clock runs until it is stopped", async () => {
  const { clock, clockControl } = control();
  await clockControl.start();
  expect([clock.state, clockControl.isBlocked]).toEqual(["running", false]);
  await clockControl.stop();
  expect([clock.state, clockControl.isBlocked]).toEqual(["suspended", false]);
});

it("a clock that does not start is reported as blocked after a while, until it starts", async () => {
  const { clock, clockControl, seen } = control();
  clock.browser = "waits";
  void clockControl.start();
  await pass(0.9);
  expect(clockControl.isBlocked).toBe(false);
  await pass(0.2);
  expect(seen.at(-1)).toBe(true);
  clock.become("running");
  expect(seen.at(-1)).toBe(false);
});

it("a clock that the browser stopped is started again immediately", async () => {
  const { clock, clockControl } = control();
  await clockControl.start();
  clock.become("suspended");
  await pass(0);
  expect([clock.state, clockControl.isBlocked]).toEqual(["running", false]);
});

it("a blocked clock can be retried, for example after a phone call", async () => {
  const { clock, clockControl, seen } = control();
  await clockControl.start();
  clock.browser = "refuses";
  clock.become("interrupted");
  await pass(0);
  expect(seen.at(-1)).toBe(true);
  clock.browser = "allows";
  clockControl.retry();
  await pass(0);
  expect([clock.state, seen.at(-1)]).toEqual(["running", false]);
});

it("a stopped clock stays stopped, even if the browser starts it", async () => {
  const { clock, clockControl } = control();
  clock.become("running");
  await pass(0);
  expect(clock.state).toBe("suspended");
  clockControl.retry();
  await pass(2);
  expect([clock.state, clockControl.isBlocked]).toEqual(["suspended", false]);
});
