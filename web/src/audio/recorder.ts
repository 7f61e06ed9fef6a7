/**
 * Records the jam in two ways: the whole output, compressed by the browser; and the clips alone, sample for
 * sample, as WAV.
 */

import { Scope } from "../scope";
import type { Seconds } from "../units";
import { type Samples, LoopRecording } from "./loop_recording";
import type { Mixer } from "./mixer";

/** The WAV header has 32-bit sizes, and memory is limited. */
export const MAX_RECORDING: Seconds = 3600;
const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];

export interface Recording {
  /** The clips as WAV, without the limiter. */
  readonly exact: Blob;
  /** The whole output, compressed; null where the browser cannot record. */
  readonly heard: Blob | null;
  readonly duration: Seconds;
}

export class Recorder {
  private readonly scope = new Scope();
  private readonly loopRecording: LoopRecording;
  private readonly chunks: Blob[] = [];
  private readonly recorder: MediaRecorder | null;
  private since: Seconds;

  /** Starts recording immediately. `loop` is playing; its current round began at `roundStart`. */
  constructor(mixer: Mixer, loop: Samples, roundStart: Seconds) {
    this.since = mixer.heardNow;
    this.loopRecording = new LoopRecording(mixer.context.sampleRate);
    this.loopRecording.begin(loop, Math.max(0, this.since - roundStart));
    this.recorder = this.startRecorder(mixer);
  }

  /** Registers that `next` replaces the current loop at `time`. */
  takeOver(next: Samples, time: Seconds): void {
    if (time < this.since) return;
    this.loopRecording.advance(time - this.since, next);
    this.since = time;
  }

  /** Length of the recording at `now` on the audio clock. */
  durationAt(now: Seconds): Seconds {
    return this.loopRecording.duration + Math.max(0, now - this.since);
  }

  /** Ends the recording at `now` on the audio clock. */
  async finish(now: Seconds): Promise<Recording> {
    if (now > this.since) this.loopRecording.advance(now - this.since, null);
    const heard = await this.stopRecorder();
    this.scope.dispose();
    return { exact: this.loopRecording.wav(), heard, duration: this.loopRecording.duration };
  }

  private startRecorder(mixer: Mixer): MediaRecorder | null {
    const type = typeof MediaRecorder === "undefined" ? undefined : TYPES.find((t) => MediaRecorder.isTypeSupported(t));
    if (type === undefined) return null;
    const destination = mixer.stream();
    this.scope.add(() => destination.disconnect());
    const recorder = new MediaRecorder(destination.stream, { mimeType: type, audioBitsPerSecond: 160_000 });
    recorder.addEventListener("dataavailable", ({ data }) => this.chunks.push(data));
    recorder.start(5000);
    return recorder;
  }

  private async stopRecorder(): Promise<Blob | null> {
    const { recorder } = this;
    if (recorder === null) return null;
    if (recorder.state !== "inactive") {
      const stopped = new Promise((done) => recorder.addEventListener("stop", done, { once: true }));
      recorder.stop();
      await stopped;
    }
    return new Blob(this.chunks, { type: recorder.mimeType });
  }
}
