/** The clip that is being made: an area that fills with grain from left to right as the server makes progress. */

import * as THREE from "three";
import type { Scope } from "../scope";
import type { Seconds, Share } from "../units";
import { DEPTH, UNITS_PER_SECOND } from "./geometry";

const VERTEX = /* glsl */ `
  varying vec2 place;
  void main() {
    place = uv;
    gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
  }
`;

const FRAGMENT = /* glsl */ `
  uniform vec3 night, accent;
  uniform float progress;
  varying vec2 place;

  float grain(vec2 cell) {
    return fract(sin(dot(cell, vec2(127.1, 311.7))) * 43758.5453);
  }

  void main() {
    float noise = grain(floor(place * vec2(96.0, 72.0)));
    float done = step(place.x, progress);
    float edge = exp(-abs(place.x - progress) * 60.0);
    float strength = mix(0.05 + 0.10 * noise, 0.10 + 0.22 * noise * noise, done) + 0.35 * edge * step(0.001, progress);
    gl_FragColor = vec4(mix(night, accent, strength), 1.0);
  }
`;

export class PendingClip {
  readonly mesh: THREE.Mesh;
  private readonly progress = { value: 0 };

  constructor(scope: Scope, night: THREE.Color, accent: THREE.Color) {
    const material = scope.own(
      new THREE.ShaderMaterial({
        vertexShader: VERTEX,
        fragmentShader: FRAGMENT,
        uniforms: { night: { value: night }, accent: { value: accent }, progress: this.progress },
      }),
    );
    const plane = scope.own(new THREE.PlaneGeometry(1, 1).rotateX(-Math.PI / 2).translate(0.5, 0, 0));
    this.mesh = new THREE.Mesh(plane, material);
  }

  /**
   * Shows the progress of the clip.
   *
   * @param time start time, relative to the middle of the view
   */
  show(time: Seconds, duration: Seconds, progress: Share): void {
    this.mesh.visible = true;
    this.mesh.position.x = time * UNITS_PER_SECOND;
    this.mesh.scale.set(duration * UNITS_PER_SECOND, 1, DEPTH);
    this.progress.value = progress;
  }

  hide(): void {
    this.mesh.visible = false;
  }
}
