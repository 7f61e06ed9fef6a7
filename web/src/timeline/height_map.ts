/** Draws clips as landscapes: a grid whose heights and colours come from the spectrogram image. */

import * as THREE from "three";
import { Scope } from "../scope";
import type { Seconds } from "../units";
import type { Detail } from "./adaptive_detail";
import { colourTable } from "./colour";
import { DEPTH, FUTURE, PAST, UNITS_PER_SECOND } from "./geometry";

/** Heights and slopes are sampled without anisotropic filtering, which is too slow in software rendering. */
const LOUDNESS = /* glsl */ `
  // Dark is loud. Mono is in all channels, stereo in green and blue.
  float loudness(vec4 pixel) { return 1.0 - 0.5 * (pixel.g + pixel.b); }
  // Row 0 is the highest pitch.
  vec2 turned(vec2 at) { return vec2(at.x, 1.0 - at.y); }
  float nearby(vec2 at) { return loudness(textureLod(image, turned(at), 1.0)); }
`;

const VERTEX = /* glsl */ `
  uniform sampler2D image;
  uniform float start, duration, height;
  varying vec2 place;
  varying float time;

  ${LOUDNESS}

  void main() {
    place = position.xy;
    time = start + place.x * duration;
    float rise = pow(max(0.0, nearby(place) - 0.2) / 0.8, 1.7);
    rise *= step(1e-4, place.x) * step(1e-4, 1.0 - place.x); // height 0 at both ends, so that clips join without a gap
    vec3 at = vec3(time * ${UNITS_PER_SECOND.toFixed(2)}, height * rise, (0.5 - place.y) * ${DEPTH.toFixed(2)});
    gl_Position = projectionMatrix * viewMatrix * vec4(at, 1.0);
  }
`;

const FRAGMENT = /* glsl */ `
  uniform sampler2D image, colours;
  uniform vec3 night, accent;
  uniform float height, playhead;
  varying vec2 place;
  varying float time;

  ${LOUDNESS}

  void main() {
    float loud = loudness(texture2D(image, turned(place)));
    vec2 cell = vec2(1.0 / 200.0, 1.0 / 140.0);
    float alongTime = nearby(place + vec2(cell.x, 0.0)) - nearby(place - vec2(cell.x, 0.0));
    float alongPitch = nearby(place + vec2(0.0, cell.y)) - nearby(place - vec2(0.0, cell.y));
    vec3 normal = normalize(vec3(-2.2 * alongTime, 1.0, 2.2 * alongPitch));
    float lit = mix(1.0, 0.6 + 0.55 * max(0.0, dot(normal, normalize(vec3(-0.5, 0.8, 0.35)))), min(1.0, height));
    vec3 colour = texture2D(colours, vec2(loud, 0.5)).rgb * lit;
    float away = time - playhead;
    float heard = smoothstep(0.0, ${PAST.toFixed(1)}, -away);
    float ahead = smoothstep(4.0, ${FUTURE.toFixed(1)}, away);
    colour = mix(colour, night, max(0.30 * step(away, 0.0) + 0.65 * heard, 0.9 * ahead));
    colour += accent * loud * 0.9 * exp(-away * away * 900.0);
    gl_FragColor = vec4(colour, 1.0);
  }
`;

/** Uniforms that all height maps share. */
export interface SharedLook {
  readonly night: THREE.Color;
  readonly accent: THREE.Color;
  /** Current height of the loudest point; 0 gives a flat image. */
  readonly height: { value: number };
  /** The audible time, relative to the middle of the view. */
  readonly playhead: { value: Seconds };
}

/** Makes the height maps of clips. They share a grid and a colour table. */
export class HeightMaps {
  private readonly scope: Scope;
  private readonly colours: THREE.DataTexture;
  private grid: THREE.BufferGeometry;

  constructor(
    scope: Scope,
    private readonly look: SharedLook,
    detail: Detail,
  ) {
    this.scope = scope.child();
    this.colours = this.scope.own(new THREE.DataTexture(colourTable(256), 256, 1));
    this.colours.magFilter = THREE.LinearFilter;
    this.colours.minFilter = THREE.LinearFilter;
    this.colours.needsUpdate = true;
    this.grid = gridOf(detail);
    this.scope.add(() => this.grid.dispose());
  }

  /** Sets the detail of height maps that are made later. */
  setDetail(detail: Detail): void {
    this.grid.dispose();
    this.grid = gridOf(detail);
  }

  make(scope: Scope, image: THREE.Texture, duration: Seconds): HeightMap {
    return new HeightMap(scope, this.grid, this.look, this.colours, image, duration);
  }
}

export class HeightMap {
  readonly mesh: THREE.Mesh<THREE.BufferGeometry, THREE.ShaderMaterial>;
  private readonly start = { value: 0 };

  constructor(
    scope: Scope,
    grid: THREE.BufferGeometry,
    look: SharedLook,
    colours: THREE.Texture,
    image: THREE.Texture,
    duration: Seconds,
  ) {
    const material = scope.own(
      new THREE.ShaderMaterial({
        vertexShader: VERTEX,
        fragmentShader: FRAGMENT,
        side: THREE.DoubleSide,
        uniforms: {
          image: { value: image },
          colours: { value: colours },
          night: { value: look.night },
          accent: { value: look.accent },
          height: look.height,
          playhead: look.playhead,
          start: this.start,
          duration: { value: duration },
        },
      }),
    );
    this.mesh = new THREE.Mesh(grid, material);
    this.mesh.frustumCulled = false; // the vertex shader moves it
    scope.add(() => this.mesh.removeFromParent());
  }

  /** @param time start time, relative to the middle of the view */
  moveTo(time: Seconds): void {
    this.start.value = time;
  }
}

/** A grid from (0, 0), the first frame and the lowest pitch, to (1, 1). */
function gridOf({ columns, rows }: Detail): THREE.BufferGeometry {
  const grid = new THREE.PlaneGeometry(1, 1, columns, rows);
  return grid.translate(0.5, 0.5, 0);
}

