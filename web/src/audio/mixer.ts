/**
 * The page's only AudioContext and its output graph:
 *
 *     jam ──▶ gain ──┐
 *                    ├──▶ limiter ──▶ volume ──▶ loudspeaker
 *     preview ───────┘          └────▶ recording
 *
 * The context runs while the jam or a preview is audible and is suspended otherwise. If a preview is played
 * while the jam is paused, the jam runs on with gain 0.
 */

import { Scope } from "../scope";
import type { Hertz, Seconds, Share } from "../units";
import { ClockControl } from "./clock_control";

/** Sample rate of the clips, so that the browser does not resample them. */
const SAMPLE_RATE: Hertz = 44_100;
const PAUSE_FADE: Seconds = 0.06;
const DUCK_FADE: Seconds = 0.15;
/** Time constant of a change of the volume. */
const VOLUME_FADE: Seconds = 0.015;
/** Gain of the jam while a preview plays: -20 dB. */
const DUCKED_GAIN = 0.1;
/** Longest wait for the end of a fade. Wireless headphones have 0.3 s of latency. */
const MAX_FADE_WAIT: Seconds = 1;
const POLL_INTERVAL: Seconds = 0.01;

export class Mixer {
  readonly context: AudioContext;
  /** Input for the clips of the jam. */
  readonly jam: GainNode;
  private readonly limiter: DynamicsCompressorNode;
  private readonly volume: GainNode;
  private readonly scope = new Scope();
  private readonly clockControl: ClockControl;
  private isJamAudible = false;
  private isPreviewAudible = false;
  private numChanges = 0;

  /**
   * @param onChange called when `isBlocked` may have changed
   * @param volume from 0 to 1
   */
  constructor(onChange: () => void, volume: Share) {
    ignoreMuteSwitch();
    this.context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: "playback" });
    this.scope.add(() => void this.context.close());
    this.clockControl = new ClockControl(this.scope, this.context, onChange);
    this.scope.listen(document, "visibilitychange", () => {
      if (!document.hidden) this.clockControl.retry();
    });
    this.jam = new GainNode(this.context, { gain: 0 });
    this.limiter = new DynamicsCompressorNode(this.context, {
      threshold: -4,
      knee: 4,
      ratio: 12,
      attack: 0.002,
      release: 0.12,
    });
    this.volume = new GainNode(this.context, { gain: volume });
    this.jam.connect(this.limiter).connect(this.volume).connect(this.context.destination);
  }

  /** Sets the volume of the loudspeaker, from 0 to 1. A recording is not affected. */
  setVolume(volume: Share): void {
    this.volume.gain.setTargetAtTime(volume, this.now, VOLUME_FADE);
  }

  /** Input for a preview. */
  get preview(): AudioNode {
    return this.limiter;
  }

  /** Time on the audio clock, which stops while the context is suspended. */
  get now(): Seconds {
    return this.context.currentTime;
  }

  /** The time on the audio clock that is audible now: `now` minus the output latency. */
  get heardNow(): Seconds {
    return this.context.currentTime - (this.context.outputLatency || this.context.baseLatency || 0);
  }

  /** Whether the browser keeps the context from running although something should be audible. */
  get isBlocked(): boolean {
    return this.clockControl.isBlocked;
  }

  /** Resumes the context. Some browsers allow later playback only if this is called once from a click or key event. */
  unlock(): void {
    this.context.resume().catch(() => undefined); // fails during a phone call, for example
  }

  /** Fades the jam in or out. */
  async setJamAudible(isAudible: boolean): Promise<void> {
    this.isJamAudible = isAudible;
    await this.applyLevels(PAUSE_FADE);
  }

  /** Lowers the jam while a preview plays, or restores its level. */
  async setPreviewAudible(isAudible: boolean): Promise<void> {
    this.isPreviewAudible = isAudible;
    await this.applyLevels(DUCK_FADE);
  }

  /** A media stream of the whole output. */
  stream(): MediaStreamAudioDestinationNode {
    const destination = this.context.createMediaStreamDestination();
    this.limiter.connect(destination);
    return destination;
  }

  dispose(): void {
    this.scope.dispose();
  }

  private async applyLevels(fade: Seconds): Promise<void> {
    const change = ++this.numChanges;
    const isAudible = this.isJamAudible || this.isPreviewAudible;
    if (isAudible) await this.clockControl.start();
    if (change !== this.numChanges) return;
    const end = this.now + fade;
    this.ramp(this.isJamAudible ? (this.isPreviewAudible ? DUCKED_GAIN : 1) : 0, end);
    if (isAudible) return;
    await this.untilAudible(end);
    if (change === this.numChanges) await this.clockControl.stop();
  }

  private ramp(value: number, end: Seconds): void {
    const { gain } = this.jam;
    gain.cancelScheduledValues(this.now);
    gain.setValueAtTime(gain.value, this.now);
    gain.linearRampToValueAtTime(value, end);
  }

  /** Waits until `time` is audible. Suspending the context earlier would cut off audio in the output buffer. */
  private async untilAudible(time: Seconds): Promise<void> {
    for (let waited = 0; waited < MAX_FADE_WAIT && this.context.state === "running" && this.heardNow < time; waited += POLL_INTERVAL) {
      await new Promise((done) => setTimeout(done, 1000 * POLL_INTERVAL));
    }
  }
}

/** On an iPhone, the mute switch silences Web Audio unless the page declares that it plays media. */
function ignoreMuteSwitch(): void {
  const session = (navigator as Navigator & { audioSession?: { type: string } }).audioSession;
  if (session) session.type = "playback";
}
