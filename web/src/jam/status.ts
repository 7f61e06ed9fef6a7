/** One line of text for the user that says what the jam is doing. */

import type { Backend } from "../backend/backend";
import type { Seconds, Share } from "../units";
import type { Speed } from "./server_speed";
import type { Trouble } from "./types";

/** blocked: the jam should play, but the browser blocks audio */
export type Phase = "idle" | "playing" | "paused" | "blocked";

export interface JamFacts {
  readonly phase: Phase;
  /** Whether a clip has been played. */
  readonly hasPlayed: boolean;
  readonly numReady: number;
  /** Rounds of the audible clip so far; more than 1 means that the next clip is late. */
  readonly rounds: number;
  readonly clipDuration: Seconds;
  readonly wantedSteps: number;
  readonly speed: Speed;
  /** Factor by which the alpha step is reduced; 1 if it is as set. */
  readonly stepScale: Share;
  readonly trouble: Trouble | null;
  /** Whether the jam waits for the answer to "Still listening?". */
  readonly isOnHold: boolean;
  /** Whether the preset `instant` is possible and off. */
  readonly isInstantOff: boolean;
  /** What makes the clips. */
  readonly maker: Backend["maker"];
  readonly preparation: Backend["preparation"];
}

export interface Status {
  readonly tone: "calm" | "busy" | "warning";
  readonly text: string;
}

/** The jam's status. */
export function statusOf(facts: JamFacts): Status {
  const { phase, trouble, speed, hasPlayed, rounds, preparation } = facts;
  if (phase === "idle") return idleStatus(preparation);
  if (phase === "blocked") return { tone: "warning", text: "The browser has stopped the audio. Press play to continue." };
  if (!preparation.isReady && preparation.text !== null && trouble?.failure.kind !== "refused") return preparing(preparation);
  if (trouble) return { tone: "warning", text: troubleText(trouble, hasPlayed) };
  if (phase === "paused") return { tone: "calm", text: "Paused" };
  if (!hasPlayed) return { tone: "busy", text: "Making the first clip …" };
  if (facts.isOnHold) return { tone: "calm", text: "Repeating this clip until you confirm that you are listening" };
  if (speed.isBehind) return { tone: "warning", text: behindText(facts) };
  if (rounds > 1 && facts.numReady === 0) {
    return { tone: "busy", text: `The next clip is late, so this one plays ${times(rounds)}` };
  }
  if (speed.isReduced) {
    return { tone: "calm", text: `Using ${speed.numSteps} instead of ${facts.wantedSteps} steps per clip to keep up` };
  }
  if (facts.maker === "device" && speed.secondsPerClip !== null) return { tone: "calm", text: drawnText(facts, speed.secondsPerClip) };
  return { tone: "calm", text: facts.numReady === 0 ? "Playing" : `${clips(facts.numReady)} ready` };
}

/** Before the first press of play: what is missing or worth knowing, and that play may be pressed already. */
function idleStatus(preparation: Backend["preparation"]): Status {
  const { text, isReady } = preparation;
  if (text === null) return { tone: "calm", text: "Press play to start" };
  return isReady && !preparation.isProblem ? { tone: "calm", text: `${text} Press play to start` } : preparing(preparation);
}

function preparing({ text, isProblem }: Backend["preparation"]): Status {
  return { tone: isProblem ? "warning" : "busy", text: text ?? "" };
}

/** How fast this device is. */
function drawnText({ clipDuration, numReady }: JamFacts, secondsPerClip: Seconds): string {
  const ready = numReady === 0 ? "" : ` · ${clips(numReady)} ready`;
  return `Drawn on this device, ${secondsPerClip.toFixed(1)} s for a clip of ${clipDuration.toFixed(1)} s${ready}`;
}

function behindText({ speed, clipDuration, wantedSteps, stepScale, maker, isInstantOff }: JamFacts): string {
  const secondsPerClip = speed.secondsPerClip ?? 0;
  const rounds = Math.ceil(secondsPerClip / clipDuration);
  const steps = speed.isReduced ? `, even with only ${speed.numSteps} instead of ${wantedSteps} steps` : "";
  const change = stepScale < 1 ? `, and the step between clips is ${Math.round(100 * stepScale)} % of your setting` : "";
  return `${maker === "server" ? "The server" : "This device"} is too slow: it needs ${secondsPerClip.toFixed(1)} s for a clip of ${clipDuration.toFixed(1)} s${steps}. Each clip plays ${times(rounds)}${change}.${isInstantOff ? " Switch on Instant in the settings to make clips faster." : ""}`;
}

function troubleText({ failure }: Trouble, hasPlayed: boolean): string {
  const meanwhile = hasPlayed ? " The last clip keeps playing." : "";
  const message = sentence(failure.message);
  if (failure.kind === "refused") return `${message} Change this setting to continue.${meanwhile}`;
  if (failure.kind === "forbidden") return `${message} Then reload this page.${meanwhile}`;
  if (failure.kind === "busy") return `The server is busy. Trying again soon.${meanwhile}`;
  return `${message} Trying again.${meanwhile}`;
}

/** Adds a full stop to a server's message if it has no end mark. */
function sentence(message: string): string {
  return /[.!?…]$/.test(message) ? message : `${message}.`;
}

function times(count: number): string {
  return count === 2 ? "twice" : `${count} times`;
}

function clips(count: number): string {
  return count === 1 ? "1 clip" : `${count} clips`;
}
