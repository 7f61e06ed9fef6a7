/**
 * The page's one AudioContext and what all sound goes through:
 *
 *     jam ──▶ gain ──┐
 *                    ├──▶ limiter ──▶ loudspeaker
 *     preview ───────┘          └────▶ recording
 *
 * Its clock runs while the jam or a preview is to be heard. During a preview in a pause, the jam goes on
 * unheard.
 */

import { Scope } from "../scope";
import type { Hertz, Seconds } from "../units";
import { ClockControl } from "./clock_control";

/** Of clips as they come, so that nothing is resampled in the page. */
const SAMPLE_RATE: Hertz = 44_100;
const PAUSE_FADE: Seconds = 0.06;
const DUCK_FADE: Seconds = 0.15;
/** The jam's gain below a preview: -20 dB. */
const DUCKED = 0.1;
/** Of the wait for the end of a fade; headphones without a wire are 0.3 s late. */
const LONGEST_WAIT: Seconds = 1;
const LOOK: Seconds = 0.01;

export class Mixer {
  readonly context: AudioContext;
  /** Where the jam's clips go. */
  readonly jam: GainNode;
  private readonly limiter: DynamicsCompressorNode;
  private readonly scope = new Scope();
  private readonly clockControl: ClockControl;
  private isJamHeard = false;
  private isPreviewHeard = false;
  private turns = 0;

  /** @param onChange called when `isBlocked` may have changed */
  constructor(onChange: () => void) {
    playDespiteMuteSwitch();
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
    this.jam.connect(this.limiter).connect(this.context.destination);
  }

  /** Where a preview goes. */
  get preview(): AudioNode {
    return this.limiter;
  }

  /** The audio clock, which stands still in a pause. */
  get now(): Seconds {
    return this.context.currentTime;
  }

  /** What the ear hears now, on the audio clock: sound takes a while to the loudspeaker. */
  get heardNow(): Seconds {
    return this.context.currentTime - (this.context.outputLatency || this.context.baseLatency || 0);
  }

  /** Whether nothing is heard, as the browser doesn't let the clock run. */
  get isBlocked(): boolean {
    return this.clockControl.isBlocked;
  }

  /** Some browsers allow sound that comes later only if it is started once within a click or a key. */
  unlock(): void {
    this.context.resume().catch(() => undefined); // there may be a phone call
  }

  /** Fades the jam in, or out. */
  async setJamAudible(isHeard: boolean): Promise<void> {
    this.isJamHeard = isHeard;
    await this.settle(PAUSE_FADE);
  }

  /** Lets the jam step back behind a preview, or come forward again. */
  async setPreviewAudible(isHeard: boolean): Promise<void> {
    this.isPreviewHeard = isHeard;
    await this.settle(DUCK_FADE);
  }

  /** A stream of all that is heard. */
  stream(): MediaStreamAudioDestinationNode {
    const destination = this.context.createMediaStreamDestination();
    this.limiter.connect(destination);
    return destination;
  }

  dispose(): void {
    this.scope.dispose();
  }

  private async settle(fade: Seconds): Promise<void> {
    const turn = ++this.turns;
    const isHeard = this.isJamHeard || this.isPreviewHeard;
    if (isHeard) await this.clockControl.start();
    if (turn !== this.turns) return;
    const end = this.now + fade;
    this.ramp(this.isJamHeard ? (this.isPreviewHeard ? DUCKED : 1) : 0, end);
    if (isHeard) return;
    await this.untilHeard(end);
    if (turn === this.turns) await this.clockControl.rest();
  }

  private ramp(value: number, end: Seconds): void {
    const { gain } = this.jam;
    gain.cancelScheduledValues(this.now);
    gain.setValueAtTime(gain.value, this.now);
    gain.linearRampToValueAtTime(value, end);
  }

  /** A clock that is stopped earlier cuts off what is on its way to the loudspeaker. */
  private async untilHeard(time: Seconds): Promise<void> {
    for (let waited = 0; waited < LONGEST_WAIT && this.context.state === "running" && this.heardNow < time; waited += LOOK) {
      await new Promise((done) => setTimeout(done, 1000 * LOOK));
    }
  }
}

/** On an iPhone, Web Audio follows the ring switch unless a page says that it plays music. */
function playDespiteMuteSwitch(): void {
  const session = (navigator as Navigator & { audioSession?: { type: string } }).audioSession;
  if (session) session.type = "playback";
}
