/** Textures of clip images. Each is loaded once and kept while any round of its clip is drawn. */

import * as THREE from "three";
import { Scope } from "../scope";

interface Entry {
  readonly scope: Scope;
  readonly texture: THREE.Texture;
}

export class ClipTextures {
  private readonly entries = new Map<number, Entry>();

  /** @param onArrival called when an image has been decoded */
  constructor(
    private readonly parent: Scope,
    private readonly onArrival: () => void,
  ) {}

  /** Number of textures. */
  get size(): number {
    return this.entries.size;
  }

  /** The texture of a clip. It shows silence until the image has been decoded. */
  of(clip: { readonly id: number; readonly image: Blob }): THREE.Texture {
    const known = this.entries.get(clip.id);
    if (known) return known.texture;
    const scope = this.parent.child();
    const texture = scope.own(silentTexture());
    this.entries.set(clip.id, { scope, texture });
    void this.load(clip.image, texture, scope);
    return texture;
  }

  /** Frees the textures of all other clips. */
  keepOnly(ids: ReadonlySet<number>): void {
    for (const [id, { scope }] of this.entries) {
      if (ids.has(id)) continue;
      scope.dispose();
      this.entries.delete(id);
    }
  }

  private async load(image: Blob, texture: THREE.Texture, scope: Scope): Promise<void> {
    const bitmap = await createImageBitmap(image, { colorSpaceConversion: "none" }).catch(() => null);
    if (bitmap === null) return; // the audio is fine, so the jam continues with a flat clip
    scope.add(() => bitmap.close());
    if (scope.isClosed) return;
    texture.dispose(); // its size was that of the silent texture
    texture.image = bitmap;
    texture.needsUpdate = true;
    this.onArrival();
  }
}

function silentTexture(): THREE.Texture {
  const silence = new ImageData(new Uint8ClampedArray([255, 255, 255, 255]), 1, 1);
  const texture = new THREE.Texture(silence);
  texture.flipY = false;
  texture.minFilter = THREE.LinearMipmapLinearFilter;
  texture.magFilter = THREE.LinearFilter;
  texture.anisotropy = 4;
  texture.needsUpdate = true;
  return texture;
}
