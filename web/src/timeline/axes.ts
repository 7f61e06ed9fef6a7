/** Grid lines of equal pitch and equal time on the ground. The labels are HTML text over the canvas. */

import * as THREE from "three";
import type { Scope } from "../scope";
import type { CssPixels, Seconds } from "../units";
import { DEPTH, FUTURE, PAST, clockText, spacedApart, timeMarks, xOf, zOf } from "./geometry";
import { PITCH_MARKS, heightOf } from "./pitch";

const TIME_MARK_EVERY: Seconds = 5;
const MAX_TIME_MARKS = 16;
/** Height of the grid lines: slightly below the clips. */
const GROUND = -0.02;
const MARGIN = 0.35;
/** Position of the pitch labels in normalized device coordinates, from -1 to 1 across the view. */
const LEFT_EDGE = -0.94;
const LOWER_EDGE = -0.38;
/** Half the width of the widest pitch label, and the height of a label, in pixels. */
const HALF_LABEL_PX = 20;
const LABEL_HEIGHT_PX = 13;

export class Axes {
  readonly group = new THREE.Group();
  private readonly ticks: Float32Array;
  private readonly tickGeometry: THREE.BufferGeometry;
  private readonly timeLabels: HTMLElement[];
  private readonly pitchLabels: HTMLElement[];
  private readonly point = new THREE.Vector3();

  constructor(
    scope: Scope,
    private readonly layer: HTMLElement,
    colour: THREE.Color,
  ) {
    const material = scope.own(new THREE.LineBasicMaterial({ color: colour, transparent: true, opacity: 0.5 }));
    const pitches = PITCH_MARKS.flatMap(({ frequency }) => {
      const z = zOf(heightOf(frequency));
      return [new THREE.Vector3(xOf(-PAST, 0), GROUND, z), new THREE.Vector3(xOf(FUTURE, 0), GROUND, z)];
    });
    this.group.add(
      new THREE.LineSegments(scope.own(new THREE.BufferGeometry().setFromPoints(pitches)), material),
    );
    this.ticks = new Float32Array(MAX_TIME_MARKS * 6);
    this.tickGeometry = scope.own(new THREE.BufferGeometry());
    this.tickGeometry.setAttribute("position", new THREE.BufferAttribute(this.ticks, 3));
    const ticks = new THREE.LineSegments(this.tickGeometry, material);
    ticks.frustumCulled = false;
    this.group.add(ticks);
    this.timeLabels = labels(scope, layer, Array.from({ length: MAX_TIME_MARKS }, () => ""));
    this.pitchLabels = labels(scope, layer, PITCH_MARKS.map(({ label }) => label));
  }

  /**
   * Moves the grid lines and labels.
   *
   * @param middle the time at x = 0
   * @param origin start time of the jam
   * @param isUpright whether time runs upwards, so that the pitch labels are along the lower edge
   * @param covered height of what covers the lower part of the view; time labels there are hidden
   */
  place(middle: Seconds, origin: Seconds, isUpright: boolean, camera: THREE.Camera, covered: CssPixels): void {
    const times = timeMarks(middle - PAST, middle + FUTURE, origin, TIME_MARK_EVERY).slice(0, MAX_TIME_MARKS);
    this.ticks.fill(0);
    const [near, far] = [DEPTH / 2 + MARGIN, -DEPTH / 2];
    times.forEach((time, i) => {
      const x = xOf(time, middle);
      this.ticks.set([x, GROUND, near, x, GROUND, far], 6 * i);
    });
    this.tickGeometry.attributes["position"]!.needsUpdate = true;
    const size = { width: this.layer.clientWidth, height: this.layer.clientHeight };
    this.timeLabels.forEach((label, i) => {
      const time = times[i];
      label.hidden = time === undefined;
      if (time === undefined) return;
      label.textContent = clockText(time - origin);
      const [, top] = this.put(label, this.point.set(xOf(time, middle), 0, near + 0.2), camera, size);
      if (top + LABEL_HEIGHT_PX / 2 > size.height - covered) label.hidden = true;
    });
    const places = this.pitchLabels.map((label, i) => {
      const z = zOf(heightOf(PITCH_MARKS[i]?.frequency ?? 0));
      const [left, top] = this.put(label, this.point.set(this.edgeX(z, isUpright, camera), 0, z), camera, size, HALF_LABEL_PX);
      return isUpright ? left : top;
    });
    spacedApart(places, isUpright ? 2 * HALF_LABEL_PX : LABEL_HEIGHT_PX).forEach((isFar, i) => {
      if (!isFar && this.pitchLabels[i]) this.pitchLabels[i].hidden = true;
    });
  }

  /**
   * The x at which a line of equal pitch meets the edge of the view. Its projection is a + x · b in homogeneous
   * coordinates. At the edge, its coordinate along the axis is s, so x = (s · a.w - a.s) / (b.s - s · b.w).
   */
  private edgeX(z: number, isUpright: boolean, camera: THREE.Camera): number {
    const axis = isUpright ? "y" : "x";
    const edge = isUpright ? LOWER_EDGE : LEFT_EDGE;
    const project = (x: number, w: number): THREE.Vector4 =>
      new THREE.Vector4(x, 0, w * z, w).applyMatrix4(camera.matrixWorldInverse).applyMatrix4(camera.projectionMatrix);
    const a = project(0, 1);
    const b = project(1, 0);
    return (edge * a.w - a[axis]) / (b[axis] - edge * b.w);
  }

  /** @param room smallest distance from the left edge, in pixels */
  private put(
    label: HTMLElement,
    point: THREE.Vector3,
    camera: THREE.Camera,
    { width, height }: { width: number; height: number },
    room = -Infinity,
  ): [left: number, top: number] {
    const { x, y, z } = point.project(camera);
    label.hidden = z > 1 || Math.abs(x) > 1 || Math.abs(y) > 1;
    const [left, top] = [Math.max(room, ((x + 1) / 2) * width), ((1 - y) / 2) * height];
    label.style.transform = `translate(${left.toFixed(1)}px, ${top.toFixed(1)}px) translate(-50%, -50%)`;
    return [left, top];
  }
}

function labels(scope: Scope, layer: HTMLElement, texts: readonly string[]): HTMLElement[] {
  return texts.map((text) => {
    const label = document.createElement("span");
    label.className = "axis-label";
    label.textContent = text;
    layer.append(label);
    scope.add(() => label.remove());
    return label;
  });
}
