/** What the jam is doing, in a line for people. Nothing is said that isn't so. */

import type { Seconds, Share } from "../units";
import type { Speed } from "./server_speed";
import type { Trouble } from "./types";

/** cut off: it should play, but the browser lets no sound out */
export type Phase = "idle" | "playing" | "paused" | "blocked";

export interface JamFacts {
  readonly phase: Phase;
  /** Whether a clip has been heard. */
  readonly hasPlayed: boolean;
  readonly numReady: number;
  /** Rounds of the clip that is heard; more than 1 means that the next one is late. */
  readonly rounds: number;
  readonly clipDuration: Seconds;
  readonly wantedSteps: number;
  readonly speed: Speed;
  /** Of the wanted step, how much the jam goes from clip to clip. */
  readonly stepShare: Share;
  readonly trouble: Trouble | null;
  /** Whether the jam waits to hear that somebody listens. */
  readonly isHeld: boolean;
}

export interface Status {
  readonly tone: "calm" | "busy" | "warning";
  readonly text: string;
}

/** The jam's status. */
export function statusOf(facts: JamFacts): Status {
  const { phase, trouble, speed, hasPlayed, rounds } = facts;
  if (phase === "idle") return { tone: "calm", text: "Ready when you are" };
  if (phase === "blocked") return { tone: "warning", text: "The browser has stopped the sound. Press play to go on." };
  if (trouble) return { tone: "warning", text: troubleText(trouble, hasPlayed) };
  if (phase === "paused") return { tone: "calm", text: "Paused" };
  if (!hasPlayed) return { tone: "busy", text: "ClipInProgress the first clip …" };
  if (facts.isHeld) return { tone: "calm", text: "Looping until you say that you are listening" };
  if (speed.isBehind) return { tone: "warning", text: behindText(facts) };
  if (rounds > 1 && facts.numReady === 0) {
    return { tone: "busy", text: `The next clip is late; this one plays ${times(rounds)}` };
  }
  if (speed.isReduced) {
    return { tone: "calm", text: `${speed.numSteps} of ${facts.wantedSteps} steps a clip, to keep up` };
  }
  return { tone: "calm", text: facts.numReady === 0 ? "Playing" : `${clips(facts.numReady)} ahead` };
}

function behindText({ speed, clipDuration, wantedSteps, stepShare }: JamFacts): string {
  const secondsPerClip = speed.secondsPerClip ?? 0;
  const rounds = Math.ceil(secondsPerClip / clipDuration);
  const steps = speed.isReduced ? `, even with ${speed.numSteps} of ${wantedSteps} steps` : "";
  const change = stepShare < 1 ? `, and changes ${Math.round(100 * stepShare)} % as much as set` : "";
  return `Falling behind: a clip of ${clipDuration.toFixed(1)} s takes ${secondsPerClip.toFixed(1)} s to make${steps}. Each plays ${times(rounds)}${change}.`;
}

function troubleText({ failure }: Trouble, hasPlayed: boolean): string {
  const meanwhile = hasPlayed ? " The last clip plays on." : "";
  const message = sentence(failure.message);
  if (failure.kind === "refused") return `${message} Change it, and the jam goes on.${meanwhile}`;
  if (failure.kind === "busy") return `The server is busy; asking again soon.${meanwhile}`;
  return `${message} Trying again.${meanwhile}`;
}

/** A server's message, ended as sentences are. */
function sentence(message: string): string {
  return /[.!?…]$/.test(message) ? message : `${message}.`;
}

function times(count: number): string {
  return count === 2 ? "twice" : `${count} times`;
}

function clips(count: number): string {
  return count === 1 ? "1 clip" : `${count} clips`;
}
