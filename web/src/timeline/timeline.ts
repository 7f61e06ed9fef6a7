/** Renders past, present and future clips around a playhead, as the background of the page. It has the only render loop. */

import * as THREE from "three";
import type { Round } from "../jam/playback_timeline";
import { Scope } from "../scope";
import type { CssPixels, Milliseconds, Seconds, Share } from "../units";
import { AdaptiveDetail } from "./adaptive_detail";
import { Axes } from "./axes";
import { ClipTextures } from "./clip_textures";
import { ACCENT_LOUDNESS, colourOf } from "./colour";
import { FramePace, type Situation } from "./frame_pace";
import { FUTURE, PAST } from "./geometry";
import { GpuWork } from "./gpu_work";
import { type HeightMap, HeightMaps } from "./height_map";
import { PendingClip } from "./pending_clip";
import { Playhead } from "./playhead";
import { isRenderedInSoftware } from "./software_rendering";
import { View } from "./view";

interface ClipWithImage {
  readonly id: number;
  readonly image: Blob;
  readonly audio: { readonly duration: Seconds };
}

/** What is drawn in one frame. */
export interface Scene {
  /** The time on the audio clock that is audible now. */
  readonly now: Seconds;
  /** Start time of the jam. */
  readonly origin: Seconds;
  /** The audible round; null in silence. */
  readonly playing: { readonly start: Seconds; readonly duration: Seconds } | null;
  /** Rounds between two times. */
  rounds(from: Seconds, to: Seconds): readonly Round<ClipWithImage>[];
  /** The clip that is being made. */
  readonly pending: { readonly start: Seconds; readonly duration: Seconds; readonly progress: Share } | null;
}

const NIGHT = "#0f0e14";
const LINES = "#4a4658";
/** After a pause, the camera moves no further than in this time. */
const MAX_CAMERA_STEP: Seconds = 0.5;

export class Timeline {
  readonly view: View;
  /** Reduced motion: the view moves once per round instead of continuously, and the camera jumps. */
  isMotionReduced = false;
  /** Time between the playhead and the middle of the view. */
  offset: Seconds = 0;
  /** Whether the music waits for clips. Where rendering takes the processor's time, it then takes less. */
  areClipsLate = false;
  /** Height of what covers the lower part of the page, where no time labels are shown. */
  covered: CssPixels = 0;
  /** Whether the processor renders. */
  readonly isSoftware = isRenderedInSoftware();
  private readonly scope: Scope;
  private readonly renderer: THREE.WebGLRenderer;
  private readonly scene = new THREE.Scene();
  private readonly maps = new Map<string, { map: HeightMap; scope: Scope }>();
  private readonly textures: ClipTextures;
  private readonly heightMaps: HeightMaps;
  private readonly axes: Axes;
  private readonly playhead: Playhead;
  private readonly pending: PendingClip;
  private readonly adaptiveDetail = new AdaptiveDetail(this.isSoftware);
  private readonly pace = new FramePace();
  private readonly gpuWork: GpuWork;
  private readonly playheadTime = { value: 0 };
  private lastFrame: Milliseconds = 0;
  private lastElapsed: Milliseconds = 0;
  private lastNow: Seconds = NaN;
  private lastOffset: Seconds = 0;
  private isStale = true;
  private isUrgent = false;

  /**
   * @param read called for every frame
   * @throws Error if the browser has no WebGL
   */
  constructor(parent: Scope, canvas: HTMLCanvasElement, labels: HTMLElement, private readonly read: () => Scene) {
    this.scope = parent.child();
    this.renderer = this.scope.own(new THREE.WebGLRenderer({ canvas, antialias: !this.isSoftware }));
    this.gpuWork = new GpuWork(this.renderer.getContext() as WebGL2RenderingContext);
    this.renderer.outputColorSpace = THREE.LinearSRGBColorSpace; // the colour map is already sRGB
    const night = new THREE.Color().setStyle(NIGHT, THREE.LinearSRGBColorSpace);
    const accent = rawColour(colourOf(ACCENT_LOUDNESS));
    this.scene.background = night;
    const drawSoon = (): void => this.drawSoon();
    this.view = new View(this.scope, canvas, drawSoon, !this.isSoftware);
    this.textures = new ClipTextures(this.scope, drawSoon);
    const look = { night, accent, height: this.view.height, playhead: this.playheadTime };
    this.heightMaps = new HeightMaps(this.scope, look, this.adaptiveDetail.detail);
    this.axes = new Axes(this.scope, labels, new THREE.Color().setStyle(LINES, THREE.LinearSRGBColorSpace));
    this.playhead = new Playhead(this.scope, rawColour(colourOf(0.9)));
    this.pending = new PendingClip(this.scope, night, accent);
    this.scene.add(this.axes.group, this.playhead.group, this.pending.mesh);
    const observer = new ResizeObserver(() => this.resize(canvas));
    observer.observe(canvas);
    this.scope.add(() => observer.disconnect());
    this.resize(canvas);
    this.renderer.setAnimationLoop((time) => this.frame(time));
    this.scope.add(() => this.renderer.setAnimationLoop(null));
  }

  /** Number of textures and geometries on the GPU. */
  get memory(): { readonly textures: number; readonly geometries: number } {
    const { textures, geometries } = this.renderer.info.memory;
    return { textures, geometries };
  }

  /** Draws again in the next frame, even while the music is paused. */
  invalidate(): void {
    this.isStale = true;
  }

  /** The same, and where only some frames are drawn, sooner than usual. */
  private drawSoon(): void {
    this.isUrgent = true;
    this.invalidate();
  }

  dispose(): void {
    for (const { scope } of this.maps.values()) scope.dispose();
    this.scope.dispose();
  }

  private frame(time: Milliseconds): void {
    const { isSparse } = this.adaptiveDetail.detail;
    if (isSparse && !this.isSparseFrameDue(time)) return;
    const elapsed = time - this.lastFrame;
    this.lastFrame = time;
    const isCameraMoving = this.view.advance(Math.min(MAX_CAMERA_STEP, elapsed / 1000));
    const scene = this.read();
    if (scene.now === this.lastNow && !isCameraMoving && !this.isStale) return;
    if (!isSparse && scene.now !== this.lastNow && this.adaptiveDetail.add(elapsed)) this.applyDetail();
    this.lastNow = scene.now;
    this.lastOffset = this.offset;
    this.lastElapsed = elapsed;
    this.isStale = this.isUrgent = false;
    this.draw(scene);
    if (isSparse) this.gpuWork.watch(time);
  }

  /** Whether the last frame has been finished, and the next one may follow it. */
  private isSparseFrameDue(time: Milliseconds): boolean {
    const cost = this.gpuWork.finished(time);
    if (cost !== null) {
      this.pace.add(cost);
      if (this.adaptiveDetail.add(cost, this.lastElapsed)) this.applyDetail();
    }
    return !this.gpuWork.isUnfinished && time - this.lastFrame >= this.pace.interval(this.situation);
  }

  private get situation(): Situation {
    if (this.view.isMoving || this.isUrgent || this.offset !== this.lastOffset) return "moving";
    return this.areClipsLate ? "late" : "usual";
  }

  private draw(scene: Scene): void {
    const middle = this.offset + (this.isMotionReduced && scene.playing ? roundMiddle(scene) : scene.now);
    this.playheadTime.value = scene.now - middle;
    const rounds = scene.rounds(middle - PAST, middle + FUTURE);
    const kept = new Set(rounds.map(({ key }) => key));
    for (const [key, { scope }] of this.maps) {
      if (kept.has(key)) continue;
      scope.dispose();
      this.maps.delete(key);
    }
    for (const round of rounds) this.mapOf(round).moveTo(round.start - middle);
    this.textures.keepOnly(new Set(rounds.map(({ clip }) => clip.id)));
    if (scene.pending) this.pending.show(scene.pending.start - middle, scene.pending.duration, scene.pending.progress);
    else this.pending.hide();
    this.playhead.place(scene.now - middle, this.view.height.value);
    this.playhead.group.visible = scene.playing !== null;
    this.view.camera.updateMatrixWorld();
    this.axes.place(middle, scene.origin, this.view.isUpright, this.view.camera, this.covered);
    this.renderer.render(this.scene, this.view.camera);
  }

  private mapOf(round: Round<ClipWithImage>): HeightMap {
    const known = this.maps.get(round.key);
    if (known) return known.map;
    const scope = this.scope.child();
    const map = this.heightMaps.make(scope, this.textures.of(round.clip), round.clip.audio.duration);
    this.scene.add(map.mesh);
    this.maps.set(round.key, { map, scope });
    return map;
  }

  private applyDetail(): void {
    const { detail } = this.adaptiveDetail;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, detail.pixelRatio));
    this.heightMaps.setDetail(detail);
    for (const { scope } of this.maps.values()) scope.dispose();
    this.maps.clear();
  }

  private resize(canvas: HTMLCanvasElement): void {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (width === 0 || height === 0) return;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, this.adaptiveDetail.detail.pixelRatio));
    this.renderer.setSize(width, height, false);
    this.view.resize(width, height);
    this.drawSoon(); // the canvas is empty now
  }
}

/** The middle of the audible round. */
function roundMiddle({ playing, now }: Scene): Seconds {
  return playing ? playing.start + playing.duration / 2 : now;
}

/** A colour that three.js must not convert from sRGB. */
function rawColour([red, green, blue]: readonly [number, number, number]): THREE.Color {
  return new THREE.Color(red / 255, green / 255, blue / 255);
}
