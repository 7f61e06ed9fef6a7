/** Builds the page and updates it when the jam changes. */

import type { Library } from "../api/library";
import type { Backend } from "../backend/backend";
import type { Session } from "../jam/session";
import type { Scope } from "../scope";
import { SeedPreview } from "../timeline/seed_preview";
import { type Scene, Timeline } from "../timeline/timeline";
import type { Seconds } from "../units";
import { ClipPanel } from "./clip_panel";
import { helpDialog, stillListening } from "./dialogs";
import { h, setText } from "./dom";
import { DrawPanel } from "./draw_panel";
import { dropChoice, isRecording } from "./edit/drop_choice";
import { EditView } from "./edit/edit_view";
import { icon, setIcon } from "./icons";
import { type Shortcut, listenForShortcuts } from "./keyboard";
import { MediaKeys } from "./media_keys";
import { ModeSwitch } from "./mode_switch";
import { Notices } from "./notices";
import { NowPlaying } from "./now_playing";
import { PromptBar } from "./prompt_bar";
import { QueuePanel } from "./queue_panel";
import { SeedPanel } from "./seed_panel";
import { Sidebar } from "./sidebar";
import { SoundPanel } from "./sound_panel";
import { VolumeControl } from "./volume_control";

/** How far one arrow key moves the view along the timeline, and the largest distance from now. */
const SCROLL_STEP: Seconds = 2.5;
const MAX_SCROLL: Seconds = 30;

export class Page {
  private readonly notices = new Notices();
  private readonly status = h("p", { class: "status", "aria-live": "off" });
  private readonly flatButton = h("button", { class: "quiet jam-only", type: "button" });
  private readonly followButton = h("button", { class: "quiet jam-only", type: "button", "aria-label": "Back to now", title: "Back to now (0)", hidden: true }, icon("follow"));
  private readonly preferences = { isMotionReduced: matchMedia("(prefers-reduced-motion: reduce)").matches };
  private readonly timeline: Timeline | null;
  private readonly nowPlaying: NowPlaying;
  private readonly mediaKeys: MediaKeys;
  private readonly promptBar: PromptBar;
  private readonly sidebar: Sidebar;
  private readonly seedPanel: SeedPanel;
  /** null if nothing here can edit recordings. */
  private readonly editView: EditView | null;
  private readonly mode: ModeSwitch;
  private readonly seedPreview = new SeedPreview(() => this.timeline?.invalidate());
  private isUpdateDue = false;

  constructor(
    private readonly scope: Scope,
    private readonly session: Session,
    private readonly backend: Backend,
  ) {
    const showNotice = (message: string): void => this.notices.show(message);
    this.nowPlaying = new NowPlaying(session);
    this.mediaKeys = new MediaKeys(scope, () => session.phase === "playing", () => void session.toggle());
    this.promptBar = new PromptBar(scope, session, showNotice);
    this.seedPanel = new SeedPanel(scope, session, showNotice);
    const clipPanel = new ClipPanel(scope, session, backend, showNotice);
    const draw = new DrawPanel(scope, session, (source) => this.seedPanel.setOwn(source), showNotice);
    const sound = new SoundPanel(scope, session, backend, this.preferences, () => this.applyPreferences());
    const opener = h("button", { class: "quiet jam-only", type: "button", "aria-label": "Settings", "aria-expanded": "false", title: "Settings (S)" }, icon("panel"));
    this.sidebar = new Sidebar(scope, [new QueuePanel(scope, session), sound, this.seedPanel, draw, clipPanel], opener);
    const { editClient } = backend;
    const editView = editClient && new EditView(scope, editClient, showNotice, (loop) => {
      this.mode.set(false);
      void this.seedPanel.useLoop(loop.name, loop.samples, loop.sampleRate);
    });
    this.editView = editView;
    this.mode = new ModeSwitch(scope, editView !== null, (isEditing) => this.setEditing(isEditing));
    const volume = new VolumeControl(scope, (value) => {
      session.setVolume(value);
      this.editView?.setVolume(value);
    });
    const jamShortcuts = this.shortcuts(clipPanel);
    const muteShortcut = { key: "m", label: "M", does: "mute or unmute", act: () => volume.toggleMute() };
    const shortcuts = (): readonly Shortcut[] => [...(editView && this.mode.isEditing ? editView.shortcuts : jamShortcuts), muteShortcut, helpShortcut];
    const help = helpDialog(scope);
    const helpShortcut = { key: "?", label: "?", does: "show this list", act: () => help.show(shortcuts()) };
    const helpButton = h("button", { class: "quiet", type: "button", "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts (?)" }, icon("help"));
    const canvas = h("canvas", { class: "timeline", role: "img", "aria-label": "Timeline of spectrograms: past clips, the current clip and upcoming clips, with a playhead" });
    const labels = h("div", { class: "axis-labels", "aria-hidden": "true" });
    const main = h("main", {}, this.nowPlaying.element, this.promptBar.element);
    document.body.append(
      canvas,
      labels,
      h(
        "header",
        {},
        h("a", { class: "wordmark", href: "./about.html", title: "How it works" }, "Riffusion"),
        this.status,
        h("nav", { "aria-label": "View" }, this.mode.element, volume.element, this.followButton, this.flatButton, helpButton, opener),
      ),
      main,
      ...(editView ? [editView.element] : []),
      this.sidebar.element,
      this.notices.element,
      help.dialog,
    );
    this.timeline = this.makeTimeline(canvas, labels);
    const observer = new ResizeObserver(() => {
      labels.style.setProperty("--covered", `${main.offsetHeight}px`);
      if (this.timeline) this.timeline.covered = main.offsetHeight - parseFloat(getComputedStyle(main).paddingTop);
      this.timeline?.invalidate();
    });
    observer.observe(main);
    scope.add(() => observer.disconnect());
    scope.listen(this.flatButton, "click", () => this.toggleFlat());
    scope.listen(this.followButton, "click", () => this.backToNow());
    for (const type of ["pointerup", "wheel"]) scope.listen(canvas, type, () => this.updateSoon()); // the user may have turned the view
    scope.listen(helpButton, "click", () => help.show(shortcuts()));
    listenForShortcuts(scope, shortcuts);
    this.acceptDrops();
    this.applyPreferences();
    session.onChange(() => this.updateSoon());
    this.update();
    this.mode.apply();
    void this.watchForInactivity();
    if (this.mode.isEditMissing) showNotice("Editing recordings needs a server, which this page works without. Run `riffusion serve` and open its page.");
  }

  setLibrary(library: Library): void {
    this.seedPanel.setLibrary(library);
    this.seedPreview.setLibrary(library);
    this.update();
  }

  /** Shows a message for a while. */
  showNotice(message: string): void {
    this.notices.show(message);
  }

  private makeTimeline(canvas: HTMLCanvasElement, labels: HTMLElement): Timeline | null {
    try {
      return this.scope.own(new Timeline(this.scope, canvas, labels, () => this.scene()));
    } catch {
      this.notices.show("This browser does not support WebGL, so the timeline is not shown. The music plays without it.");
      return null;
    }
  }

  private scene(): Scene {
    const { session } = this;
    const { playback, ready, inProgress } = session.conductor;
    const { heardNow: now, clipDuration: duration } = session;
    if (playback.last === undefined) return this.seedPreview.scene(now, duration, inProgress);
    const heard = playback.at(now);
    const rounds = playback.roundsAt(now);
    const next = ready.reduce((time, clip) => time + clip.audio.duration, playback.nextStart(now));
    return {
      now,
      origin: session.origin,
      playing: heard ? { start: heard.start + Math.max(0, rounds - 1) * heard.clip.audio.duration, duration: heard.clip.audio.duration } : null,
      rounds: (from, to) => playback.rounds(from, to, now, ready),
      pending: inProgress && { start: next, duration, progress: inProgress.step / Math.max(1, inProgress.steps) },
    };
  }

  private updateSoon(): void {
    if (this.isUpdateDue) return;
    this.isUpdateDue = true;
    queueMicrotask(() => {
      this.isUpdateDue = false;
      this.update();
    });
  }

  private update(): void {
    const { tone, text } = this.session.status;
    this.status.setAttribute("aria-live", tone === "warning" ? "polite" : "off"); // a change with every clip would disturb
    setText(this.status, text);
    this.status.dataset["tone"] = tone;
    this.nowPlaying.update();
    this.mediaKeys.update(this.nowPlaying.prompt);
    this.promptBar.update();
    this.sidebar.update();
    const isFlat = this.timeline?.view.isFlat ?? false;
    setIcon(this.flatButton, isFlat ? "landscape" : "flat");
    this.flatButton.title = isFlat ? "Landscape (F)" : "Flat view (F)";
    this.flatButton.setAttribute("aria-label", isFlat ? "Show as landscape" : "Show flat view");
    this.seedPreview.show(this.session.conductor.settings.seedImage);
    this.followButton.hidden = this.timeline === null || (this.timeline.offset === 0 && !this.timeline.view.isMoved);
    if (this.timeline) this.timeline.areClipsLate = this.session.areClipsLate;
    this.timeline?.invalidate();
  }

  private toggleFlat(): void {
    if (this.timeline === null) return;
    this.timeline.view.setFlat(!this.timeline.view.isFlat, this.isStill);
    this.update();
  }

  /** Shows the time that is `offset` after now. */
  private scrollTo(offset: Seconds): void {
    if (this.timeline === null) return;
    this.timeline.offset = Math.max(-MAX_SCROLL, Math.min(MAX_SCROLL, offset));
    this.update();
  }

  /** Returns to the initial view. */
  private backToNow(): void {
    this.timeline?.view.reset(this.isStill);
    this.scrollTo(0);
  }

  /** Whether nothing moves by itself but the music. Without a GPU, each frame of an animation costs the processor as much as the whole page. */
  private get isStill(): boolean {
    return this.preferences.isMotionReduced || (this.timeline?.isSoftware ?? true);
  }

  private applyPreferences(): void {
    document.body.classList.toggle("still", this.isStill);
    if (this.timeline) this.timeline.isMotionReduced = this.preferences.isMotionReduced;
    this.update();
  }

  private shortcuts(clipPanel: ClipPanel): Shortcut[] {
    const offset = (): Seconds => this.timeline?.offset ?? 0;
    return [
      { key: " ", label: "space", does: "play or pause", act: () => void this.session.toggle() },
      { key: "/", label: "/", does: "type a prompt", act: () => this.promptBar.input.focus() },
      { key: "d", label: "D", does: "random prompt", act: () => this.promptBar.roll() },
      { key: "s", label: "S", does: "open or close settings", act: () => this.sidebar.toggle() },
      { key: "f", label: "F", does: "flat view or landscape", act: () => this.toggleFlat() },
      { key: "arrowleft", label: "←", does: "show earlier", act: () => this.scrollTo(offset() - SCROLL_STEP) },
      { key: "arrowright", label: "→", does: "show later", act: () => this.scrollTo(offset() + SCROLL_STEP) },
      { key: "0", label: "0", does: "back to now", act: () => this.backToNow() },
      { key: "l", label: "L", does: "copy a link to this moment", act: () => void clipPanel.share() },
      { key: "r", label: "R", does: "start or stop recording", act: () => void clipPanel.record() },
    ];
  }

  /** Shows the Edit view or the jam, which pauses meanwhile. */
  private setEditing(isEditing: boolean): void {
    if (isEditing) {
      this.sidebar.toggle(false);
      if (this.session.phase === "playing") void this.session.toggle();
    }
    this.editView?.show(isEditing);
    this.timeline?.invalidate();
  }

  private acceptDrops(): void {
    const choice = dropChoice(
      this.scope,
      (file) => {
        this.mode.set(false);
        void this.seedPanel.useFile(file);
      },
      (file) => {
        this.mode.set(true);
        void this.editView?.open(file);
      },
    );
    document.body.append(choice.dialog);
    const hasFiles = ({ dataTransfer }: DragEvent): boolean => dataTransfer?.types.includes("Files") ?? false;
    this.scope.listen(document, "dragover", (event: DragEvent) => {
      if (!hasFiles(event)) return; // dropped text goes into the input under it
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    this.scope.listen(document, "dragleave", (event: DragEvent) => {
      if (event.relatedTarget === null) document.body.classList.remove("dropping");
    });
    this.scope.listen(document, "drop", (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      document.body.classList.remove("dropping");
      const file = event.dataTransfer?.files[0];
      if (file && this.editView && isRecording(file)) choice.ask(file);
      else if (file) void this.seedPanel.useFile(file);
    });
  }

  /** On an endpoint that may cost money, asks "Still listening?" when the user is inactive. */
  private async watchForInactivity(): Promise<void> {
    if (!(await this.backend.mayCostMoney())) return;
    const isPlaying = (): boolean => this.session.phase === "playing";
    document.body.append(stillListening(this.scope, isPlaying, (isOnHold) => this.session.hold(isOnHold)));
  }
}
