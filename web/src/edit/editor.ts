/** Editing of one recording: what is marked, its versions, playback, and the request to the server. */

import type { Client } from "../api/client";
import { isEditOutput } from "../api/edit_messages";
import { type Pcm, converted } from "../audio/pcm";
import { wavOf } from "../audio/wav";
import { readWav } from "../audio/wav_reader";
import { blobFromUrl, dataUrlFromBlob } from "../data_url";
import type { Scope } from "../scope";
import type { Seconds } from "../units";
import { Analysis } from "./analysis";
import { type EditOrder, type EditPlan, editInput, editedBy, planOf, titleOf } from "./edit_requests";
import { EditPlayer, type Repeat, type Sound } from "./edit_player";
import { type History, type Version, currentVersion, goTo, numbered, redo, undo, versionBefore, withVersion } from "./history";
import { lengthOf, samePlace } from "./pieces";
import { type Project, nextSource, pcmOf, readFloats } from "./project";
import { type Grid, type Selection, snapped } from "./selection";
import type { Spectrogram } from "./spectrogram";

/** The request that the server works on. */
export interface Making {
  readonly plan: EditPlan;
  /** The version that is edited. */
  readonly parent: number;
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

  /** Moves the playhead; playback goes on from there. */
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

  /** Asks the server for an edit of the version that is shown. Returns what went wrong, for the user; null if nothing. */
  async make(order: EditOrder): Promise<string | null> {
    const { version: parent, project } = this;
    const plan = planOf(order, lengthOf(parent.pieces), project.format);
    if ("problem" in plan) return plan.problem;
    this.cancel();
    const making: Making = { plan, parent: parent.id, step: 0, steps: 0, abort: new AbortController() };
    this.making = making;
    this.onChange();
    const problem = await this.request(making, parent, project);
    if (this.making?.abort === making.abort) this.making = null;
    this.onChange();
    return making.abort.signal.aborted ? null : problem;
  }

  cancel(): void {
    this.making?.abort.abort();
    this.making = null;
    this.onChange();
  }

  private async request({ plan, abort }: Making, parent: Version, project: Project): Promise<string | null> {
    const sent = sendable(pcmOf(project, parent.pieces, plan.start, plan.stop));
    const wav = wavOf(sent.format, plan.stop - plan.start, (start, stop) => sent.channels.map((samples) => samples.slice(start, stop)));
    const answer = await this.client.askFor(isEditOutput, editInput(plan, this.rate, await dataUrlFromBlob(wav)), {
      signal: abort.signal,
      onProgress: (step, steps) => {
        if (this.making?.abort === abort) this.making = { ...this.making, step, steps };
        this.onChange();
      },
    });
    if (abort.signal.aborted) return null;
    if (!answer.ok) return answer.failure.message;
    const received = await blobFromUrl(answer.output.audio).then((blob) => blob.arrayBuffer()).then(readWav, () => null);
    if (abort.signal.aborted) return null;
    if (received === null) return "The server's answer is not a WAV file of 16, 24 or 32 bits. Check the server's version.";
    const source = nextSource(this.project);
    const edited = editedBy(plan, parent.pieces, sent.format, received, source);
    if ("problem" in edited) return edited.problem;
    const samples = converted({ format: received.format, channels: edited.samples }, project.format.bits, project.format.isFloat).channels;
    const { pieces, change, isLoop } = edited;
    this.project = { ...this.project, sources: new Map([...this.project.sources, [source, samples]]) };
    this.show(withVersion(this.project.history, parent.id, { title: numbered(this.project.history, titleOf(plan.order)), pieces, change, isLoop }));
    if (plan.order.action === "extend") this.selection = { start: change.start / this.rate, stop: change.stop / this.rate, band: null };
    if (isLoop) this.selection = null;
    if (!this.player.isPlaying) this.cursor = Math.max(0, change.start - Math.round(RUN_UP * this.rate));
    return null;
  }

  /** Shows another state of the history, and keeps it. */
  private show(history: History): void {
    if (history === this.project.history) return;
    this.change(() => {
      this.project = { ...this.project, history };
      this.isBefore = false;
    });
    this.onEdit(this.project);
  }

  /** Changes the version that is shown; playback goes on in it, and the playhead stays at its place of the music. */
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

/** What is sent to the server: integers, as its answer then has the same format. */
function sendable(pcm: Pcm): Pcm {
  return pcm.format.isFloat ? converted(pcm, 24, false) : pcm;
}
