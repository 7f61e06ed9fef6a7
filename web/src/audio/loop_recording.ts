/**
 * Rebuilds what was played, sample by sample: loops, take-overs and crossfades as the player made them,
 * without the limiter. Each section is written to a blob as soon as its end is known, in pieces, so a long
 * recording needs little memory.
 */

import type { Hertz, Seconds } from "../units";
import { JOIN_FADE, gainIn, gainOut } from "./fade";
import { pcm16, wavHeader } from "./wav";

/** Audio samples with their rate, for example an `AudioBuffer`. */
export interface Samples {
  readonly sampleRate: Hertz;
  readonly numberOfChannels: number;
  readonly length: number;
  getChannelData(channel: number): Float32Array;
}

/** Longest piece that is rendered at once: one loop may play for an hour, which would fill the memory of a phone. */
const MAX_PIECE: Seconds = 30;

export class LoopRecording {
  private loop: Samples | null = null;
  private position = 0;
  /** The loop that the current one replaced; null for silence. */
  private outgoing: { loop: Samples; position: number } | null = null;
  private isJoining = false;
  private parts: Blob[] = [];
  private frames = 0;

  /** @param sampleRate sample rate of all loops */
  constructor(
    readonly sampleRate: Hertz,
    private readonly numChannels = 2,
  ) {}

  get duration(): Seconds {
    return this.frames / this.sampleRate;
  }

  /** Starts recording inside a loop, `offset` after the beginning of a round. */
  begin(loop: Samples, offset: Seconds): void {
    this.loop = loop;
    this.position = Math.round(offset * this.sampleRate) % loop.length;
    this.isJoining = true;
  }

  /** Records the current loop for `seconds`. Then `next` takes over, or the recording ends if it is null. */
  advance(seconds: Seconds, next: Samples | null): void {
    const { loop } = this;
    if (loop === null) return;
    const longest = Math.round(MAX_PIECE * this.sampleRate);
    for (let left = Math.round(seconds * this.sampleRate); left > 0; left -= longest) {
      this.put(loop, Math.min(longest, left), next === null && left <= longest);
    }
    this.outgoing = { loop, position: this.position };
    this.isJoining = true;
    this.loop = next;
    this.position = 0;
  }

  /** The recording so far, as a WAV file. */
  wav(): Blob {
    const header = wavHeader(this.frames, this.numChannels, this.sampleRate);
    return new Blob([header, ...this.parts], { type: "audio/wav" });
  }

  private put(loop: Samples, numFrames: number, isLast: boolean): void {
    const channels = render(loop, this.position, numFrames, this.numChannels);
    if (this.isJoining) this.fadeIn(channels);
    if (isLast) this.fadeOut(channels);
    this.parts.push(new Blob([pcm16(channels)])); // browsers may keep blobs on disk
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

/** `numFrames` of a loop starting at `position`, continuing at its start after its end. Mono is copied to all channels. */
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
