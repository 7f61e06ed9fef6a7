/**
 * What was heard, put together again sample by sample: loops, take-overs and crossfades as the player
 * made them, without the limiter. Every loop's part is handed on as soon as its end is known, so a long
 * recording needs little memory here.
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

export class Tape {
  private loop: Samples | null = null;
  private position = 0;
  private outgoing: { loop: Samples; position: number } | null = null;
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
  }

  /** The loop that sounds goes on for `seconds`; then `next` takes over, or the recording ends. */
  advance(seconds: Seconds, next: Samples | null): void {
    if (this.loop === null) return;
    const numFrames = Math.round(seconds * this.sampleRate);
    const channels = render(this.loop, this.position, numFrames, this.numChannels);
    if (this.outgoing) this.fadeOver(channels, this.outgoing);
    this.parts.push(new Blob([pcm16(channels)])); // blobs may lie on disk
    this.frames += numFrames;
    this.outgoing = { loop: this.loop, position: (this.position + numFrames) % this.loop.length };
    this.loop = next;
    this.position = 0;
  }

  /** The recording so far. */
  wav(): Blob {
    const header = wavHeader(this.frames, this.numChannels, this.sampleRate);
    return new Blob([header, ...this.parts], { type: "audio/wav" });
  }

  private fadeOver(channels: Float32Array[], outgoing: { loop: Samples; position: number }): void {
    const numFrames = Math.round(JOIN_FADE * this.sampleRate);
    const tail = render(outgoing.loop, outgoing.position, numFrames, this.numChannels);
    channels.forEach((samples, channel) => {
      for (let i = 0; i < Math.min(numFrames, samples.length); i++) {
        const x = i / numFrames;
        samples[i] = gainIn(x) * (samples[i] ?? 0) + gainOut(x) * (tail[channel]?.[i] ?? 0);
      }
    });
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

