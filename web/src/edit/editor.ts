/** Editing of one recording: what is marked, its versions, playback, and the request to the server. */

import type { Client } from "../api/client";
import { converted } from "../audio/pcm";
import type { Scope } from "../scope";
import type { Seconds } from "../units";
import { Analysis } from "./analysis";
import { answerTo } from "./edit_answer";
import { EditPlayer, type Repeat, type Sound } from "./edit_player";
import { type EditOrder, type EditPlan, type Edited, editedBy, numTakesOf, planOf, titleOf } from "./edit_requests";
import { type History, type Version, currentVersion, goTo, numbered, redo, undo, versionBefore, withTake, withVersion } from "./history";
import { lengthOf, samePlace } from "./pieces";
import { type Project, nextSource, readFloats, withoutUnused } from "./project";
import { sentAudio } from "./sent_audio";
import { type Grid, type Selection, snapped } from "./selection";
import type { Spectrogram } from "./spectrogram";

/** The request that the server works on. */
export interface Making {
  readonly plan: EditPlan;
  /** The version that is edited. */
  readonly parent: Version;
  /** The take that the server makes, from 0 on. */
  readonly take: number;
  readonly numTakes: number;
  readonly step: number;
  readonly steps: number;
  readonly abort: AbortController;
}

/** How long before a change playback begins, so that its start is heard in its place. */
const RUN_UP: Seconds = 1.5;

export class Editor {
  readonly analysis: Analysis;
  readonly player: EditPlayer;
  selection: Selection | null = null;
  making: Making | null = null;
  /** Whether edges snap to beats. */
  isSnapping = true;
  /** Whether the marked section repeats. */
  isRepeating = false;
  /** Whether the version before the last edit is shown and heard. */
  isBefore = false;
  /** Where playback begins. */
  private cursor = 0;

  /**
   * @param project the recording and its versions
   * @param onChange called when something has changed that is shown
   * @param onEdit called when the project has changed and must be kept
   * @param onTile called when a part of a spectrogram has arrived
   */
  constructor(
    scope: Scope,
    private readonly client: Client,
    public project: Project,
    private readonly onChange: () => void,
    private readonly onEdit: (project: Project) => void,
    onTile: (image: Spectrogram, tile: number) => void,
  ) {
    const { sampleRate, numChannels } = project.format;
    this.analysis = new Analysis(scope, () => this.project, onTile, onChange);
    this.player = scope.own(new EditPlayer(scope, sampleRate, numChannels, onChange));
    scope.add(() => this.cancel());
  }

  get rate(): number {
    return this.project.format.sampleRate;
  }

  /** The version that is shown and heard. */
  get version(): Version {
    return (this.isBefore ? versionBefore(this.project.history) : null) ?? currentVersion(this.project.history);
  }

  get duration(): Seconds {
    return lengthOf(this.version.pieces) / this.rate;
  }

  /** The beats that edges snap to; null for no snapping. */
  get grid(): Grid {
    return this.isSnapping ? (this.analysis.beatsOf(this.version)?.beats ?? null) : null;
  }

  /** The time of the playhead. */
  get time(): Seconds {
    return Math.min(this.duration, (this.player.position ?? this.cursor) / this.rate);
  }

  /** @param isFinal whether the drag has ended, so that playback may repeat what is marked */
  mark(selection: Selection | null, isFinal = true): void {
    this.selection = selection;
    if (isFinal && this.isRepeating) this.repeatAgain();
    this.onChange();
  }

  /** Moves the playhead; playback continues from there. */
  seek(time: Seconds): void {
    this.cursor = Math.round(Math.min(this.duration, Math.max(0, time)) * this.rate);
    if (this.player.isPlaying) this.player.play(this.soundOf(this.version), this.cursor, this.repeat);
    this.onChange();
  }

  togglePlay(): void {
    if (this.player.isPlaying) {
      this.cursor = this.player.position ?? this.cursor;
      this.player.stop();
      return;
    }
    const { repeat } = this;
    const length = lengthOf(this.version.pieces);
    if (repeat && (this.cursor < repeat.start || this.cursor >= repeat.stop)) this.cursor = repeat.start;
    if (this.cursor >= length - 1) this.cursor = 0;
    this.player.play(this.soundOf(this.version), this.cursor, repeat);
  }

  setRepeating(isRepeating: boolean): void {
    this.isRepeating = isRepeating;
    this.repeatAgain();
    this.onChange();
  }

  /** Shows and plays the version before the last edit, or the edited one, at the same place of the music. */
  compare(isBefore: boolean): void {
    if (isBefore === this.isBefore || versionBefore(this.project.history) === null) return;
    this.change(() => (this.isBefore = isBefore));
  }

  undo(): void {
    this.show(undo(this.project.history));
  }

  redo(): void {
    this.show(redo(this.project.history));
  }

  goTo(id: number): void {
    this.show(goTo(this.project.history, id));
  }

  /** Shows a take and plays it in its place: playback continues, or begins shortly before what is new. */
  hear(id: number): void {
    this.compare(false);
    this.goTo(id);
    if (this.player.isPlaying) return;
    this.cursor = this.before(this.version);
    this.togglePlay();
  }

  /**
   * Asks the server for an edit of the version that is shown, one take after the other.
   *
   * @param onTake called when a take is there; the first one is shown
   * @returns what went wrong, for the user; null if nothing
   */
  async make(order: EditOrder, onTake: (take: number) => void): Promise<string | null> {
    const { version: parent } = this;
    const plan = planOf(order, lengthOf(parent.pieces), this.project.format);
    if ("problem" in plan) return plan.problem;
    this.cancel();
    const making: Making = { plan, parent, take: 0, numTakes: numTakesOf(order), step: 0, steps: 0, abort: new AbortController() };
    this.making = making;
    this.onChange();
    const problem = await this.makeTakes(making, onTake);
    if (this.making?.abort === making.abort) this.making = null;
    this.onChange();
    return making.abort.signal.aborted ? null : problem;
  }

  cancel(): void {
    this.making?.abort.abort();
    this.making = null;
    this.onChange();
  }

  /** Takes differ by their seeds. */
  private async makeTakes(making: Making, onTake: (take: number) => void): Promise<string | null> {
    const { plan, parent, abort: { signal } } = making;
    const sent = await sentAudio(this.project, parent.pieces, plan).catch(() => null);
    if (sent === null) return "The other recording cannot be read. Was it moved or deleted?";
    for (let take = 0; take < making.numTakes; take++) {
      const takePlan = { ...plan, order: { ...plan.order, seed: plan.order.seed + take } };
      const onProgress = (step: number, steps: number): void => this.progress({ ...making, take, step, steps });
      onProgress(0, 0);
      const received = await answerTo(this.client, takePlan, this.rate, sent, { signal, onProgress });
      if (signal.aborted) return null;
      if ("problem" in received) return received.problem;
      const edited = editedBy(takePlan, parent.pieces, sent.format, received, nextSource(this.project));
      if ("problem" in edited) return edited.problem;
      this.add(edited, making, take);
      onTake(take);
    }
    return null;
  }

  private progress(making: Making): void {
    if (this.making?.abort !== making.abort) return;
    this.making = making;
    this.onChange();
  }

  /** Adds what the server made as a version. The first take is shown; the others wait until the user wants to hear them. */
  private add(edited: Exclude<Edited, { problem: string }>, { plan, parent }: Making, take: number): void {
    const { format, history } = this.project;
    const samples = converted(edited.audio, format.bits, format.isFloat).channels;
    const { pieces, change, isLoop } = edited;
    this.project = { ...this.project, sources: new Map([...this.project.sources, [nextSource(this.project), samples]]) };
    const version = { title: numbered(history, titleOf(plan.order)), pieces, change, isLoop };
    if (take > 0) {
      this.project = { ...this.project, history: withTake(history, parent.id, version) };
      this.onEdit(this.project);
      this.onChange();
      return;
    }
    this.show(withVersion(history, parent.id, version));
    if (plan.order.action === "extend") this.selection = { start: change.start / this.rate, stop: change.stop / this.rate, band: null };
    if (isLoop || plan.order.action === "between") this.selection = null;
    if (!this.player.isPlaying) this.cursor = this.before(this.version);
  }

  /** Where what is new in a version is heard from. */
  private before({ change }: Version): number {
    return Math.max(0, (change?.start ?? 0) - Math.round(RUN_UP * this.rate));
  }

  /** Shows another state of the history, and keeps it. */
  private show(history: History): void {
    if (history === this.project.history) return;
    this.change(() => {
      this.project = withoutUnused({ ...this.project, history });
      this.isBefore = false;
    });
    this.onEdit(this.project);
  }

  /** Changes the version that is shown; playback continues in it, and the playhead stays at its place of the music. */
  private change(act: () => void): void {
    const { pieces } = this.version;
    act();
    const { version } = this;
    const same = (at: number): number => samePlace(pieces, version.pieces, Math.floor(at));
    this.cursor = same(this.cursor);
    this.selection = this.selection && this.moved(this.selection, same);
    this.player.changeTo(this.soundOf(version), same, this.repeat);
    this.onChange();
  }

  /** What is marked, at its place in another version; null if that has no such place. */
  private moved(selection: Selection, same: (at: number) => number): Selection | null {
    const start = same(Math.round(selection.start * this.rate)) / this.rate;
    const stop = start + selection.stop - selection.start;
    const { duration } = this;
    return stop <= duration + 1 / this.rate ? { ...selection, start: snapped(start, null, duration), stop: Math.min(stop, duration) } : null;
  }

  /** The part that repeats: the marked section, or all of a loop. */
  private get repeat(): Repeat | null {
    const { selection, version } = this;
    if (selection && this.isRepeating) {
      return { start: Math.round(selection.start * this.rate), stop: Math.round(selection.stop * this.rate) };
    }
    return version.isLoop || this.isRepeating ? { start: 0, stop: lengthOf(version.pieces) } : null;
  }

  /** Lets playback go on with what repeats now. */
  private repeatAgain(): void {
    this.player.changeTo(this.soundOf(this.version), (at) => at, this.repeat);
  }

  private soundOf({ pieces }: Version): Sound {
    const { project } = this;
    return {
      length: lengthOf(pieces),
      read: (channel, start, target) => readFloats(project, pieces, channel, start, target),
    };
  }
}
