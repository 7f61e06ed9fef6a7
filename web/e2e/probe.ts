/**
 * Measurements inside the page, installed before the code of the app and independent of it: taps in the audio
 * graph and in WebGL.
 *
 *     clips ──▶ … ──▶ compressor ──▶ … ──▶ destination
 *                 │                    │
 *                "mix"              "heard"
 */

import type { Seconds } from "../src/units";

/** Mono audio at a tap. `samples` begin at `time` on the audio clock. */
export interface Tapped {
  readonly time: Seconds;
  readonly sampleRate: number;
  readonly samples: Float32Array;
}

/** An audio buffer that was started. */
export interface Started {
  readonly index: number;
  readonly start: Seconds;
  /** Time at which the start was scheduled. */
  readonly orderedAt: Seconds;
  /** null while no stop is scheduled. */
  readonly stop: Seconds | null;
  readonly duration: Seconds;
  readonly numSamples: number;
  readonly isLoop: boolean;
}

/** A clip in one rendered frame. Times are relative to the middle of the view. */
export interface Drawn {
  readonly start: Seconds;
  readonly playhead: Seconds;
  /** The audible time on the audio clock when the frame began. */
  readonly heardNow: Seconds;
}

/** Number of living GPU and audio objects. */
export interface Living {
  readonly textures: number;
  readonly buffers: number;
  readonly sources: number;
}

export interface Probe {
  /** The audio context of the page; null before it is made. */
  readonly context: AudioContext | null;
  readonly now: Seconds;
  readonly outputLatency: Seconds;
  readonly started: readonly Started[];
  readonly drawn: readonly Drawn[];
  readonly living: Living;
  /** The first channel of a started audio buffer, 16 bits in base64. */
  audio(index: number): string;
  /** Whether there is a tap at a place. */
  isTapped(place: "mix" | "heard"): boolean;
  /** The time up to which a tap has samples. */
  tappedUntil(place: "mix" | "heard"): Seconds;
  /** The samples at a tap from a time on, 16 bits in base64. They are halved, so that samples above 1 are not clipped. */
  tapped(place: "mix" | "heard", from: Seconds): { time: Seconds; sampleRate: number; halved: string };
}

declare global {
  interface Window {
    probe: Probe;
  }
}

/**
 * Installs the probe. It must run before all other scripts of the page.
 *
 * @param speed factor for all clocks of the page, including the audio clock; with 60, an hour takes a minute
 * @param patience factor by which waits longer than 20 s are shortened
 */
export function installProbe({ speed, patience }: { speed: number; patience: number }): void {
  const LONG_WAIT_MS = 20_000;
  const MAX_TAPPED_S = 240;
  const MOST_SOUNDS = 40;
  const sources: { source: AudioBufferSourceNode; start: number; orderedAt: number; stop: number | null }[] = [];
  const tapped: Record<string, { frame: number; samples: Float32Array }[]> = { mix: [], heard: [] };
  const drawn: Drawn[] = [];
  const counts = { textures: 0, buffers: 0, sources: 0 };
  const taps = new Map<string, Promise<AudioWorkletNode>>();
  let context: BaseAudioContext | null = null;

  const clock = Object.getOwnPropertyDescriptor(BaseAudioContext.prototype, "currentTime")!.get!;
  const realNow = (): number => (context ? (clock.call(context) as number) : 0);

  // Clocks.
  const { setTimeout: realSetTimeout, setInterval: realSetInterval } = window;
  const wait = (ms = 0): number => (ms > LONG_WAIT_MS ? ms / patience : ms) / speed;
  window.setTimeout = ((call: () => void, ms?: number) => realSetTimeout(call, wait(ms))) as typeof setTimeout;
  window.setInterval = ((call: () => void, ms?: number) => realSetInterval(call, wait(ms))) as typeof setInterval;
  if (speed !== 1) {
    const realPerformanceNow = performance.now.bind(performance);
    performance.now = () => realPerformanceNow() * speed;
    const faster = (prototype: object, name: string): void => {
      const get = Object.getOwnPropertyDescriptor(prototype, name)!.get!;
      Object.defineProperty(prototype, name, { get: function (this: unknown) { return (get.call(this) as number) * speed; } });
    };
    faster(BaseAudioContext.prototype, "currentTime");
    faster(AudioContext.prototype, "outputLatency");
    faster(AudioContext.prototype, "baseLatency");
    const param = AudioParam.prototype;
    const { setValueCurveAtTime, cancelScheduledValues, setValueAtTime, linearRampToValueAtTime } = param;
    param.setValueCurveAtTime = function (curve, time, seconds) { return setValueCurveAtTime.call(this, curve, time / speed, seconds / speed); };
    param.cancelScheduledValues = function (time) { return cancelScheduledValues.call(this, time / speed); };
    param.setValueAtTime = function (value, time) { return setValueAtTime.call(this, value, time / speed); };
    param.linearRampToValueAtTime = function (value, time) { return linearRampToValueAtTime.call(this, value, time / speed); };
  }

  // Audio buffers.
  const { start } = AudioBufferSourceNode.prototype;
  const { stop } = AudioScheduledSourceNode.prototype;
  AudioBufferSourceNode.prototype.start = function (when = 0) {
    sources.push({ source: this, start: when, orderedAt: realNow() * speed, stop: null });
    counts.sources++;
    this.addEventListener("ended", () => counts.sources--);
    if (speed !== 1) this.playbackRate.value = speed;
    if (sources.length > MOST_SOUNDS) sources.shift();
    start.call(this, when / speed);
  };
  AudioScheduledSourceNode.prototype.stop = function (when = 0) {
    const known = sources.find(({ source }) => source === this);
    if (known) known.stop = when;
    stop.call(this, when / speed);
  };

  // Taps. A tap begins to listen a moment after the graph was built, long before the first clip. The browser may
  // leave out some frames where the context is suspended or resumed; they count as silence.
  const WORKLET = `registerProcessor("tap", class extends AudioWorkletProcessor {
    constructor() { super(); this.samples = new Float32Array(4096); this.filled = 0; this.frame = 0; }
    process([[channel]]) {
      while (this.filled > 0 && currentFrame > this.frame + this.filled) this.add(null); // frames that it wasn't called for
      if (this.filled === 0) this.frame = currentFrame;
      this.add(channel);
      return true;
    }
    add(channel) {
      if (channel) this.samples.set(channel, this.filled); else this.samples.fill(0, this.filled, this.filled + 128);
      this.filled += 128;
      if (this.filled === 4096) {
        this.port.postMessage({ frame: this.frame, samples: this.samples.slice() });
        this.filled = 0;
      }
    }
  });`;
  const { connect } = AudioNode.prototype as unknown as { connect: (...target: unknown[]) => unknown };
  let worklet: Promise<void> | null = null;
  const tapOf = (place: string, ctx: BaseAudioContext): Promise<AudioWorkletNode> => {
    context = ctx;
    worklet ??= ctx.audioWorklet.addModule(URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" })));
    const known = taps.get(place);
    if (known) return known;
    const made = worklet.then(() => {
      const tap = new AudioWorkletNode(ctx, "tap");
      connect.call(tap, ctx.destination);
      tap.port.onmessage = ({ data }: MessageEvent<{ frame: number; samples: Float32Array }>) => {
        const chunks = tapped[place]!;
        chunks.push(data);
        if (chunks.length * 4096 > MAX_TAPPED_S * ctx.sampleRate) chunks.shift();
      };
      return tap;
    });
    taps.set(place, made);
    return made;
  };
  AudioNode.prototype.connect = function (this: AudioNode, ...target: unknown[]) {
    const to = target[0];
    const place = to instanceof DynamicsCompressorNode ? "mix" : to === this.context.destination ? "heard" : null;
    if (place && speed === 1) void tapOf(place, this.context).then((tap) => connect.call(this, tap));
    context ??= this.context;
    return connect.apply(this, target);
  } as typeof AudioNode.prototype.connect;

  // WebGL.
  const gl = WebGL2RenderingContext.prototype;
  const names = new WeakMap<WebGLUniformLocation, { program: WebGLProgram; name: string }>();
  const uniforms = new WeakMap<WebGLProgram, Record<string, number>>();
  let program: WebGLProgram | null = null;
  const { getUniformLocation, uniform1f, useProgram, drawElements, createTexture, deleteTexture, createBuffer, deleteBuffer } = gl;
  gl.getUniformLocation = function (of, name) {
    const location = getUniformLocation.call(this, of, name);
    if (location) names.set(location, { program: of, name });
    return location;
  };
  gl.uniform1f = function (location, value) {
    const known = location && names.get(location);
    if (known) uniforms.set(known.program, { ...uniforms.get(known.program), [known.name]: value });
    uniform1f.call(this, location, value);
  };
  gl.useProgram = function (next) {
    program = next;
    useProgram.call(this, next);
  };
  let heardNow = 0;
  const { requestAnimationFrame: realFrame } = window;
  window.requestAnimationFrame = (draw) => realFrame((time) => {
    const { outputLatency = 0, baseLatency = 0 } = (context ?? {}) as Partial<AudioContext>;
    heardNow = realNow() * speed - (outputLatency || baseLatency);
    draw(time);
  });
  gl.drawElements = function (...call) {
    const values = program && uniforms.get(program);
    if (values && "duration" in values) {
      drawn.push({ start: values["start"] ?? 0, playhead: values["playhead"] ?? 0, heardNow });
      if (drawn.length > 2000) drawn.shift();
    }
    drawElements.apply(this, call);
  };
  gl.createTexture = function () { counts.textures++; return createTexture.call(this); };
  gl.deleteTexture = function (texture) { if (texture) counts.textures--; deleteTexture.call(this, texture); };
  gl.createBuffer = function () { counts.buffers++; return createBuffer.call(this); };
  gl.deleteBuffer = function (buffer) { if (buffer) counts.buffers--; deleteBuffer.call(this, buffer); };

  const base64 = (samples: Float32Array, scale: number): string => {
    const bytes = new Uint8Array(Int16Array.from(samples, (value) => Math.max(-32768, Math.min(32767, Math.round(value * scale)))).buffer);
    let text = "";
    for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
    return btoa(text);
  };
  window.probe = {
    get context() { return context as AudioContext | null; },
    get now() { return realNow() * speed; },
    get outputLatency() { return (context as AudioContext | null)?.outputLatency ?? 0; },
    get started() {
      return sources.map(({ source, ...times }, index) => ({
        index, ...times, duration: source.buffer?.duration ?? 0, numSamples: source.buffer?.length ?? 0, isLoop: source.loop,
      }));
    },
    get drawn() { return drawn; },
    get living() { return counts; },
    audio: (index) => base64(sources[index]!.source.buffer!.getChannelData(0), 32767),
    isTapped: (place) => taps.has(place),
    tappedUntil: (place) => {
      const last = tapped[place]!.at(-1);
      return last ? (last.frame + 4096) / (context?.sampleRate ?? 44_100) : 0;
    },
    tapped: (place, from) => {
      const sampleRate = context?.sampleRate ?? 44_100;
      const chunks = tapped[place]!.filter(({ frame }) => frame + 4096 > from * sampleRate);
      const first = chunks[0]?.frame ?? 0;
      const all = new Float32Array((chunks.at(-1)?.frame ?? first) + 4096 - first);
      for (const { frame, samples } of chunks) all.set(samples, frame - first);
      return { time: first / sampleRate, sampleRate, halved: base64(all, 16384) };
    },
  };
}
