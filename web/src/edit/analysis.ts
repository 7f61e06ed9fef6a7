/** The spectrograms and the beats of the versions of a recording, computed by workers, what is visible first. */

import type { Scope } from "../scope";
import type { Seconds } from "../units";
import type { AnalysisAnswer, AnalysisRequest } from "./analysis_messages";
import type { BeatGrid } from "./beats";
import type { Version } from "./history";
import { TILE_COLUMNS, hopOf, tileRange } from "./mel_columns";
import { isSame, lengthOf } from "./pieces";
import { type Project, monoOf } from "./project";
import { Spectrogram } from "./spectrogram";

/** Tiles that the worker has at a time: one that it computes and one that waits. */
const MAX_IN_FLIGHT = 2;
/** Spectrograms that are kept. A minute takes about 1.3 MB. */
const MAX_SPECTROGRAMS = 4;
/** How much is mixed down at a time. */
const SLICE: Seconds = 10;

interface Shown {
  readonly version: Version;
  readonly image: Spectrogram;
}

export class Analysis {
  private readonly tiles: Worker;
  private shown: Shown[] = [];
  private readonly grids = new Map<number, BeatGrid | null>();
  private readonly awaitedGrids = new Set<number>();
  private readonly inFlight = new Map<number, { readonly image: Spectrogram; readonly tile: number }>();
  private lastId = 0;
  private focus: { readonly image: Spectrogram; readonly version: Version; readonly from: number; readonly to: number } | null = null;

  /**
   * @param project returns the project, whose versions change
   * @param onTile called when a tile has arrived
   * @param onBeats called when beats have been found
   */
  constructor(
    private readonly scope: Scope,
    private readonly project: () => Project,
    private readonly onTile: (image: Spectrogram, tile: number) => void,
    private readonly onBeats: () => void,
  ) {
    this.tiles = this.worker((answer) => this.receive(answer));
  }

  /** The spectrogram of a version, of which the columns `from` to `to` are wanted first. */
  spectrogramOf(version: Version, from: number, to: number): Spectrogram {
    const { image } = this.shown.find((shown) => shown.version.id === version.id) ?? this.add(version);
    this.focus = { image, version, from: Math.floor(from / TILE_COLUMNS), to: Math.floor(to / TILE_COLUMNS) };
    this.pump();
    return image;
  }

  /** The beats of a version; null while they are not known, or if there are none. */
  beatsOf(version: Version): BeatGrid | null {
    const known = this.grids.get(version.id);
    if (known !== undefined) return known;
    this.findBeats(version);
    return this.grids.get(version.id) ?? null; // those of the version that it was made of
  }

  /** Whether the beats of a version, or of the one that it was made of, are being looked for. */
  isFindingBeats(version: Version): boolean {
    return !this.grids.has(version.id);
  }

  private add(version: Version): Shown {
    const { sampleRate } = this.project().format;
    const image = new Spectrogram(Math.ceil(lengthOf(version.pieces) / hopOf(sampleRate)));
    for (const other of this.shown) {
      image.adopt(other.image, (tile) => {
        const { start, stop } = tileRange(tile, sampleRate);
        return isSame(version.pieces, other.version.pieces, start, stop);
      });
    }
    const shown = { version, image };
    this.shown = [...this.shown, shown].slice(-MAX_SPECTROGRAMS);
    return shown;
  }

  /** Gives the worker the next tile of what is shown. */
  private pump(): void {
    while (this.focus !== null && this.inFlight.size < MAX_IN_FLIGHT) {
      const { image, version, from, to } = this.focus;
      const awaited = new Set([...this.inFlight.values()].filter((job) => job.image === image).map(({ tile }) => tile));
      const tile = image.nextTile(from, to, awaited);
      if (tile === null) return;
      const { sampleRate } = this.project().format;
      const { start, stop } = tileRange(tile, sampleRate);
      const id = ++this.lastId;
      this.inFlight.set(id, { image, tile });
      this.send(this.tiles, { kind: "tile", id, samples: monoOf(this.project(), version.pieces, start, stop), sampleRate });
    }
  }

  private receive(answer: AnalysisAnswer): void {
    const job = this.inFlight.get(answer.id);
    this.inFlight.delete(answer.id);
    if (answer.kind === "tile" && job) {
      job.image.put(job.tile, answer.columns);
      this.onTile(job.image, job.tile);
    }
    this.pump();
  }

  /** Finds the beats of a version in a worker of its own, unless they are those of the version it was made of. */
  private findBeats(version: Version): void {
    if (this.awaitedGrids.has(version.id)) return;
    const parent = this.project().history.versions.find(({ id }) => id === version.parent);
    if (parent && lengthOf(parent.pieces) === lengthOf(version.pieces) && !version.isLoop) {
      const known = this.beatsOf(parent);
      if (this.grids.has(parent.id)) this.grids.set(version.id, known);
      return;
    }
    this.awaitedGrids.add(version.id);
    const worker = this.worker((answer) => {
      worker.terminate();
      this.awaitedGrids.delete(version.id);
      this.grids.set(version.id, answer.kind === "beats" ? answer.grid : null);
      this.onBeats();
    });
    const project = this.project();
    const { sampleRate } = project.format;
    void this.wholeOf(project, version).then((samples) => this.send(worker, { kind: "beats", id: 0, samples, sampleRate }));
  }

  /** All samples of a version, mixed down in slices, so that the page stays smooth. */
  private async wholeOf(project: Project, { pieces }: Version): Promise<Float32Array<ArrayBuffer>> {
    const whole = new Float32Array(lengthOf(pieces));
    const slice = SLICE * project.format.sampleRate;
    for (let start = 0; start < whole.length; start += slice) {
      whole.set(monoOf(project, pieces, start, Math.min(whole.length, start + slice)), start);
      await new Promise((done) => setTimeout(done));
    }
    return whole;
  }

  private worker(onAnswer: (answer: AnalysisAnswer) => void): Worker {
    const worker = new Worker(new URL("./analysis_worker.ts", import.meta.url), { type: "module" });
    this.scope.add(() => worker.terminate());
    worker.onmessage = ({ data }: MessageEvent<AnalysisAnswer>) => onAnswer(data);
    return worker;
  }

  private send(worker: Worker, request: AnalysisRequest): void {
    worker.postMessage(request, [request.samples.buffer]);
  }
}
