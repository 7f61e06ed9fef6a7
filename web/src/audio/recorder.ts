/**
 * Records the jam twice: all that is heard, compressed by the browser; and the clips alone, exactly,
 * as WAV.
 */

import { Scope } from "../scope";
import type { Seconds } from "../units";
import type { Mixer } from "./mixer";
import { type Samples, LoopRecording } from "./loop_recording";

/** WAV files count their bytes in 32 bits, and memory is finite. */
export const LONGEST_RECORDING: Seconds = 3600;
const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];

export interface Recording {
  readonly exact: Blob;
  /** null where the browser cannot record. */
  readonly heard: Blob | null;
  readonly duration: Seconds;
}

export class Recorder {
  private readonly scope = new Scope();
  private readonly loopRecording: LoopRecording;
  private readonly chunks: Blob[] = [];
  private readonly recorder: MediaRecorder | null;
  private since: Seconds;

  /** Begins at once, in the round of `loop` that began at `roundStart`. */
  constructor(mixer: Mixer, loop: Samples, roundStart: Seconds) {
    this.since = mixer.heardNow;
    this.loopRecording = new LoopRecording(mixer.context.sampleRate);
    this.loopRecording.begin(loop, Math.max(0, this.since - roundStart));
    this.recorder = this.startRecorder(mixer);
  }

  /** Notes that `next` takes over at `time`. */
  takeOver(next: Samples, time: Seconds): void {
    if (time < this.since) return;
    this.loopRecording.advance(time - this.since, next);
    this.since = time;
  }

  /** How long it is, at `now` on the audio clock. */
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
