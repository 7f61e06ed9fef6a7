/**
 * The page's one AudioContext and what all sound goes through:
 *
 *     jam ──▶ duck ──┐
 *                    ├──▶ limiter ──▶ volume ──▶ loudspeaker
 *     preview ───────┘                    └────▶ recording
 */

import { Scope } from "../scope";
import type { Hertz, Seconds } from "../units";

/** Of clips as they come, so that nothing is resampled in the page. */
const SAMPLE_RATE: Hertz = 44_100;
const PAUSE_FADE: Seconds = 0.06;
const DUCK_FADE: Seconds = 0.15;
/** The jam's gain below a preview: -20 dB. */
const DUCKED = 0.1;

export class Mixer {
  readonly context: AudioContext;
  /** Where the jam's clips go. */
  readonly jam: GainNode;
  /** Where a preview goes. */
  readonly preview: GainNode;
  private readonly volume: GainNode;
  private readonly scope = new Scope();
  private turns = 0;

  constructor() {
    playDespiteMuteSwitch();
    this.context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: "playback" });
    this.scope.add(() => void this.context.close());
    this.jam = this.context.createGain();
    this.preview = this.context.createGain();
    this.volume = this.context.createGain();
    const limiter = new DynamicsCompressorNode(this.context, {
      threshold: -4,
      knee: 4,
      ratio: 12,
      attack: 0.002,
      release: 0.12,
    });
    this.jam.connect(limiter);
    this.preview.connect(limiter);
    limiter.connect(this.volume).connect(this.context.destination);
  }

  /** The audio clock, which stands still in a pause. */
  get now(): Seconds {
    return this.context.currentTime;
  }

  /** What the ear hears now, on the audio clock: sound takes a while to the loudspeaker. */
  get heardNow(): Seconds {
    return this.context.currentTime - (this.context.outputLatency || this.context.baseLatency || 0);
  }

  /** Fades out and stops the clock. */
  async pause(): Promise<void> {
    const turn = ++this.turns;
    this.ramp(this.volume, 0, PAUSE_FADE);
    await new Promise((done) => setTimeout(done, 1000 * PAUSE_FADE + 40));
    if (turn === this.turns) await this.context.suspend();
  }

  /** Starts the clock and fades in. Browsers allow it only after a click or a key. */
  async resume(): Promise<void> {
    this.turns++;
    await this.context.resume();
    this.ramp(this.volume, 1, PAUSE_FADE);
  }

  /** Lets the jam step back behind a preview, or come forward again. */
  duck(isDucked: boolean): void {
    this.ramp(this.jam, isDucked ? DUCKED : 1, DUCK_FADE);
  }

  /** A stream of all that is heard. */
  stream(): MediaStreamAudioDestinationNode {
    const destination = this.context.createMediaStreamDestination();
    this.volume.connect(destination);
    return destination;
  }

  dispose(): void {
    this.scope.dispose();
  }

  private ramp(node: GainNode, value: number, seconds: Seconds): void {
    const { gain } = node;
    gain.cancelScheduledValues(this.now);
    gain.setValueAtTime(gain.value, this.now);
    gain.linearRampToValueAtTime(value, this.now + seconds);
  }
}

/** On an iPhone, Web Audio follows the ring switch unless a page says that it plays music. */
function playDespiteMuteSwitch(): void {
  const session = (navigator as Navigator & { audioSession?: { type: string } }).audioSession;
  if (session) session.type = "playback";
}
