/**
 * The camera: a landscape view that can be turned, or a flat view from above. Time runs to the right on wide pages
 * and upwards on tall ones.
 */

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import type { Scope } from "../scope";
import { DEPTH, HEIGHT } from "./geometry";

const FIELD_OF_VIEW_DEGREES = 36;
/** Fraction of a camera movement that remains after one second. */
const REMAINING_AFTER_SECOND = 0.002;
/** Distance at which a camera movement has arrived. */
const ARRIVED = 1e-3;
/** Height of the flat view relative to the image, with room for axes and controls. */
const FLAT_MARGIN = 1.9;
/** Distance from the initial position from which the camera counts as moved. */
const NOTICEABLE = 0.05;

/** Camera position, its target, and the height of the loudest point. */
interface CameraPose {
  readonly position: THREE.Vector3;
  readonly target: THREE.Vector3;
  readonly height: number;
}

export class View {
  readonly camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW_DEGREES, 1, 0.1, 200);
  readonly height = { value: HEIGHT };
  private readonly controls: OrbitControls;
  private flat = false;
  private isTall = false;
  /** The pose that the camera moves to; null when it has arrived. */
  private goal: CameraPose | null = null;

  /**
   * @param onChange called when the user has moved the camera
   * @param hasInertia whether the camera glides on after the user's hand; it does so for about a hundred frames
   */
  constructor(scope: Scope, element: HTMLElement, onChange: () => void, hasInertia: boolean) {
    this.controls = scope.own(new OrbitControls(this.camera, element));
    this.controls.enableDamping = hasInertia;
    this.controls.enablePan = false;
    this.controls.minDistance = 5;
    this.controls.maxDistance = 42;
    this.controls.minPolarAngle = 0.15;
    this.controls.maxPolarAngle = 1.45;
    this.controls.addEventListener("change", onChange);
    this.controls.addEventListener("start", () => (this.goal = null));
  }

  get isFlat(): boolean {
    return this.flat;
  }

  /** Whether time runs away from the viewer rather than to the right. */
  get isUpright(): boolean {
    return this.isTall;
  }

  setFlat(isFlat: boolean, isInstant: boolean): void {
    this.flat = isFlat;
    this.aim(isInstant);
  }

  /** Whether the camera is on its way to another pose. */
  get isMoving(): boolean {
    return this.goal !== null;
  }

  /** Whether the user has turned or zoomed the view. */
  get isMoved(): boolean {
    return this.goal === null && this.camera.position.distanceTo(this.home().position) > NOTICEABLE;
  }

  /** Returns to the initial pose. */
  reset(isInstant: boolean): void {
    this.aim(isInstant);
  }

  /** Adapts the camera to the size of the canvas. */
  resize(width: number, height: number): void {
    this.camera.aspect = width / height;
    this.isTall = height > width;
    this.aim(true);
    this.camera.updateProjectionMatrix();
  }

  /** Moves the camera by one frame. Returns true while it moves towards its goal. */
  advance(seconds: number): boolean {
    if (this.goal === null) {
      if (!this.flat) this.controls.update();
      return false;
    }
    const share = 1 - REMAINING_AFTER_SECOND ** seconds;
    const { position, target, height } = this.goal;
    this.camera.position.lerp(position, share);
    this.controls.target.lerp(target, share);
    this.height.value += share * (height - this.height.value);
    if (this.camera.position.distanceTo(position) < ARRIVED) this.arrive();
    else this.camera.lookAt(this.controls.target);
    return true;
  }

  private aim(isInstant: boolean): void {
    this.controls.enabled = !this.flat;
    this.camera.up.set(0, 1, 0);
    this.goal = this.home();
    if (isInstant) this.arrive();
  }

  private home(): CameraPose {
    return this.flat ? this.flatGoal() : this.landscapeGoal();
  }

  private arrive(): void {
    if (this.goal === null) return;
    this.camera.position.copy(this.goal.position);
    this.controls.target.copy(this.goal.target);
    this.height.value = this.goal.height;
    this.camera.lookAt(this.goal.target);
    this.goal = null;
  }

  private landscapeGoal(): CameraPose {
    const [position, target] = this.isTall
      ? [new THREE.Vector3(-18, 17.5, 0), new THREE.Vector3(3.6, 0, 0)]
      : [new THREE.Vector3(0.6, 8.4, 13.2), new THREE.Vector3(2.9, 0, 1.7)];
    return { position, target, height: HEIGHT };
  }

  /** From above, with a small tilt so that the "up" direction is defined. */
  private flatGoal(): CameraPose {
    const across = this.isTall ? this.camera.aspect : 1;
    const distance = (DEPTH * FLAT_MARGIN) / (2 * across * Math.tan((FIELD_OF_VIEW_DEGREES * Math.PI) / 360));
    const away = this.isTall ? new THREE.Vector3(-0.01, distance, 0) : new THREE.Vector3(0, distance, 0.01);
    const target = this.isTall ? new THREE.Vector3(5, 0, 0) : new THREE.Vector3(3.5, 0, 0.5);
    return { position: target.clone().add(away), target, height: 0 };
  }
}
