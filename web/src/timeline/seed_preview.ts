/** What the timeline shows before the first clip: the seed loop that the music will be based on. */

import type { Library } from "../api/library";
import { blobFromUrl } from "../data_url";
import type { Round } from "../jam/playback_timeline";
import type { ClipInProgress } from "../jam/types";
import type { ImageSource } from "../settings/settings";
import type { Scene } from "../timeline/timeline";
import type { Seconds } from "../units";

interface Loop {
  readonly id: number;
  readonly image: Blob;
  readonly audio: { readonly duration: Seconds };
}

const ROUNDS = 5;

export class SeedPreview {
  private library: Library = { seedImages: [], masks: [] };
  private loop: Loop | null = null;
  private url: string | null = null;

  /** @param onArrival called when another image is ready to be drawn */
  constructor(private readonly onArrival: () => void) {}

  setLibrary(library: Library): void {
    this.library = library;
  }

  /** Shows another seed loop as soon as its image has been loaded. */
  show(source: ImageSource): void {
    const url =
      source.kind === "own" ? source.dataUrl : (this.library.seedImages.find(({ id }) => id === source.id)?.url ?? null);
    if (url === null || url === this.url) return;
    this.url = url;
    void this.load(url);
  }

  /** The scene of the timeline before the first clip. */
  scene(now: Seconds, duration: Seconds, drawing: ClipInProgress | null): Scene {
    const { loop } = this;
    const rounds: Round<Loop>[] = loop
      ? Array.from({ length: ROUNDS }, (_, i) => ({
          key: `seedPreview ${loop.id}+${i}`,
          clip: { ...loop, audio: { duration } },
          start: now + i * duration,
          repeat: i,
        }))
      : [];
    const progress = drawing && drawing.step / Math.max(1, drawing.steps);
    return {
      now,
      origin: now,
      playing: null,
      rounds: () => (progress === null ? rounds : rounds.slice(1)),
      pending: progress === null ? null : { start: now, duration, progress },
    };
  }

  private async load(url: string): Promise<void> {
    const image = await blobFromUrl(url).catch(() => null);
    if (image === null || url !== this.url) return;
    this.loop = { id: (this.loop?.id ?? 0) - 1, image, audio: { duration: 0 } };
    this.onArrival();
  }
}
