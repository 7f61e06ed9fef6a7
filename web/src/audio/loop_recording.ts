/**
 * What was heard, put together again sample by sample: loops, take-overs and crossfades as the player
 * made them, without the limiter. Every loop's part is handed on as soon as its end is known, in pieces,
 * so a long recording needs little memory here.
 */

import type { Hertz, Seconds } from "../units";
import { JOIN_FADE, gainIn, gainOut } from "./fade";
import { pcm16, wavHeader } from "./wav";

/** Samples with a rate; an `AudioBuffer` is one. */
export interface Samples {
  readonly sampleRate: Hertz;
  readonly numberOfChannels: number;
  readonly length: number;
  getChannelData(channel: number): Float32Array;
}

/** A loop that plays for an hour, since no clip comes, would fill the memory of a phone. */
const LONGEST_PIECE: Seconds = 30;

export class LoopRecording {
  private loop: Samples | null = null;
  private position = 0;
  /** What a loop that has just begun takes over from: null is silence. */
  private outgoing: { loop: Samples; position: number } | null = null;
  private isJoining = false;
  private parts: Blob[] = [];
  private frames = 0;

  /** @param sampleRate of all loops */
  constructor(
    readonly sampleRate: Hertz,
    private readonly numChannels = 2,
  ) {}

  get duration(): Seconds {
    return this.frames / this.sampleRate;
  }

  /** Begins in the middle of a loop, `offset` after one of its rounds began. */
  begin(loop: Samples, offset: Seconds): void {
    this.loop = loop;
    this.position = Math.round(offset * this.sampleRate) % loop.length;
    this.isJoining = true;
  }

  /** The loop that sounds goes on for `seconds`; then `next` takes over, or the recording ends. */
  advance(seconds: Seconds, next: Samples | null): void {
    const { loop } = this;
    if (loop === null) return;
    const longest = Math.round(LONGEST_PIECE * this.sampleRate);
    for (let left = Math.round(seconds * this.sampleRate); left > 0; left -= longest) {
      this.put(loop, Math.min(longest, left), next === null && left <= longest);
    }
    this.outgoing = { loop, position: this.position };
    this.isJoining = true;
    this.loop = next;
    this.position = 0;
  }

  /** The recording so far. */
  wav(): Blob {
    const header = wavHeader(this.frames, this.numChannels, this.sampleRate);
    return new Blob([header, ...this.parts], { type: "audio/wav" });
  }

  private put(loop: Samples, numFrames: number, isLast: boolean): void {
    const channels = render(loop, this.position, numFrames, this.numChannels);
    if (this.isJoining) this.fadeIn(channels);
    if (isLast) this.fadeOut(channels);
    this.parts.push(new Blob([pcm16(channels)])); // blobs may lie on disk
    this.frames += numFrames;
    this.position = (this.position + numFrames) % loop.length;
    this.isJoining = false;
  }

  private get fadeFrames(): number {
    return Math.round(JOIN_FADE * this.sampleRate);
  }

  private fadeIn(channels: Float32Array[]): void {
    const { outgoing, fadeFrames } = this;
    const tail = outgoing && render(outgoing.loop, outgoing.position, fadeFrames, this.numChannels);
    channels.forEach((samples, channel) => {
      for (let i = 0; i < Math.min(fadeFrames, samples.length); i++) {
        const x = i / fadeFrames;
        samples[i] = gainIn(x) * (samples[i] ?? 0) + gainOut(x) * (tail?.[channel]?.[i] ?? 0);
      }
    });
  }

  private fadeOut(channels: Float32Array[]): void {
    const { fadeFrames } = this;
    for (const samples of channels) {
      const first = samples.length - fadeFrames;
      for (let i = Math.max(0, first); i < samples.length; i++) {
        samples[i] = gainOut((i - first) / fadeFrames) * (samples[i] ?? 0);
      }
    }
  }
}

/** `numFrames` of a loop from `position` on, around its end; mono goes to all channels. */
function render(loop: Samples, position: number, numFrames: number, numChannels: number): Float32Array[] {
  return Array.from({ length: numChannels }, (_, channel) => {
    const source = loop.getChannelData(Math.min(channel, loop.numberOfChannels - 1));
    const samples = new Float32Array(numFrames);
    for (let done = 0, from = position; done < numFrames; from = 0) {
      const part = source.subarray(from, from + numFrames - done);
      samples.set(part, done);
      done += part.length;
    }
    return samples;
  });
}
