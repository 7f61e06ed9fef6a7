/** A translucent pane at the audible time. */

import * as THREE from "three";
import type { Scope } from "../scope";
import type { Seconds } from "../units";
import { DEPTH, HEIGHT, xOf } from "./geometry";

export class Playhead {
  readonly group = new THREE.Group();

  constructor(scope: Scope, colour: THREE.Color) {
    const pane = scope.own(new THREE.PlaneGeometry(DEPTH, 1).rotateY(Math.PI / 2).translate(0, 0.5, 0));
    const glass = scope.own(
      new THREE.MeshBasicMaterial({
        color: colour, transparent: true, opacity: 0.16, side: THREE.DoubleSide, depthWrite: false,
      }),
    );
    const edge = scope.own(new THREE.EdgesGeometry(pane));
    const line = scope.own(new THREE.LineBasicMaterial({ color: colour, transparent: true, opacity: 0.9 }));
    this.group.add(new THREE.Mesh(pane, glass), new THREE.LineSegments(edge, line));
  }

  /** @param time audible time, relative to the middle of the view */
  place(time: Seconds, height: number): void {
    this.group.position.x = xOf(time, 0);
    this.group.scale.y = 0.05 + 1.15 * Math.max(height, 0.1 * HEIGHT);
  }
}
