/** Sharing and saving: a link, files of the current clip, and a recording of the jam. */

import { imageToAudioInput } from "../api/messages";
import type { Recording } from "../audio/recorder";
import { wavBlob } from "../audio/wav";
import type { Backend } from "../backend/backend";
import { blobFromUrl, dataUrlFromBlob } from "../data_url";
import { fileName, walkBefore } from "../jam/clip";
import type { HeardClip, Session } from "../jam/session";
import { queryFromJam } from "../link/link";
import { defaultsFor } from "../settings/distilled";
import type { Scope } from "../scope";
import { clockText } from "../timeline/geometry";
import { h, saveFile, setText } from "./dom";
import type { Panel } from "./sidebar";

/** Number of recordings that are kept until they are saved. One hour has 600 MB. */
const MAX_RECORDINGS = 3;

export class ClipPanel implements Panel {
  readonly name = "Save";
  readonly element: HTMLElement;
  private readonly about = h("p", { class: "hint", "aria-live": "polite" });
  private readonly release = h("button", { type: "button", hidden: true }, "Take the clip that plays now");
  private readonly files: HTMLButtonElement[];
  private readonly recordButton = h("button", { type: "button", class: "record" });
  private readonly recordings = h("ul", { class: "recordings" });
  /** The clip of the first file that was saved: further files are of the same clip, although the music moves on. */
  private held: HeardClip | null = null;

  /** @param showNotice shows a short message */
  constructor(
    scope: Scope,
    private readonly session: Session,
    private readonly backend: Backend,
    private readonly showNotice: (message: string) => void,
  ) {
    const share = h("button", { type: "button", class: "primary" }, "Share this moment");
    const kinds: [string, (clip: HeardClip, button: HTMLButtonElement) => void][] = [
      ...backend.savedFormats.map((format): [string, (clip: HeardClip, button: HTMLButtonElement) => void] => [
        format.toUpperCase(), (clip, button) => void this.saveEncoded(clip, format, button),
      ]),
      ["WAV", (clip) => this.saveWav(clip)],
      ["Image", (clip) => this.saveImage(clip)],
    ];
    this.files = kinds.map(([text, save]) => {
      const button = h("button", { type: "button" }, text);
      scope.listen(button, "click", () => {
        const { clip } = this;
        if (clip === null) return;
        this.held = clip;
        save(clip, button);
        this.update();
      });
      return button;
    });
    this.element = h(
      "div",
      { class: "panel" },
      h("h2", {}, "Link"),
      h("p", { class: "hint" }, "The link opens the jam at this moment, with its prompts, seeds, settings and queue."),
      h("div", { class: "row" }, share),
      h("h2", {}, "Current clip"),
      this.about,
      h("div", { class: "row", role: "group", "aria-label": "Save the current clip" }, ...this.files),
      h("div", { class: "row" }, this.release),
      h("h2", {}, "Recording"),
      h("p", { class: "hint" }, `Records from now on, up to one hour. The last ${MAX_RECORDINGS} recordings stay here until you close the page, so save those that you want to keep.`),
      h("div", { class: "row" }, this.recordButton),
      this.recordings,
    );
    scope.listen(this.release, "click", () => {
      this.held = null;
      this.update();
      this.files[0]?.focus();
    });
    scope.listen(share, "click", () => void this.share());
    scope.listen(this.recordButton, "click", () => void this.record());
    session.recordingIsFull = () => void this.record();
  }

  update(): void {
    const { heard, recordingDuration } = this.session;
    const { clip } = this;
    const isPast = this.held !== null && this.held.id !== heard?.clip.id;
    setText(this.about, clip ? `${fileName(clip.stop)}${isPast ? ": kept here, the music has moved on" : ""}` : "No clip has been played yet.");
    this.release.hidden = !isPast || !heard;
    for (const button of this.files) button.disabled = !clip || button.hasAttribute("aria-busy");
    setText(this.recordButton, recordingDuration === null ? "Record" : `Stop · ${clockText(recordingDuration)}`);
    this.recordButton.setAttribute("aria-pressed", String(recordingDuration !== null));
    this.recordButton.disabled = !heard && recordingDuration === null;
  }

  /** The clip that is saved. */
  private get clip(): HeardClip | null {
    return this.held ?? this.session.heard?.clip ?? null;
  }

  /** Copies a link to the current clip, or opens the share dialog on touch devices. */
  async share(): Promise<void> {
    const { conductor, heard } = this.session;
    const clip = heard?.clip;
    const settings = clip?.settings ?? conductor.settings;
    const walk = clip ? { ...walkBefore(clip), queue: conductor.promptsAfter(clip) } : conductor.walk;
    const defaults = defaultsFor(this.session.distillation, settings.negativePrompt);
    const url = new URL(queryFromJam(settings, walk, defaults), location.href.split("?")[0]).href;
    const isOwn = settings.seedImage.kind === "own" || settings.mask?.kind === "own" || clip?.isRepainted;
    const warning = isOwn ? " Your own audio and images are not part of a link." : "";
    try {
      if (matchMedia("(pointer: coarse)").matches && "share" in navigator) {
        if (warning) this.showNotice(warning.trim());
        await navigator.share({ title: "Riffusion", url });
        return;
      }
      await navigator.clipboard.writeText(url);
      this.showNotice(`Link copied.${warning}`);
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") return; // the user closed the share dialog
      history.replaceState(null, "", url);
      this.showNotice(`Copy the link from the address bar.${warning}`);
    }
  }

  /** Starts or ends a recording. */
  async record(): Promise<void> {
    if (this.session.recordingDuration === null) {
      if (!this.session.startRecording()) this.showNotice("Press play first: you can record once the music plays.");
      return;
    }
    const recording = await this.session.stopRecording();
    if (recording) this.offer(recording);
  }

  private offer({ exact, heard, duration }: Recording): void {
    const name = `riffusion-jam-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}`;
    const save = (text: string, blob: Blob, extension: string): HTMLElement => {
      const button = h("button", { type: "button" }, text);
      button.addEventListener("click", () => saveFile(blob, `${name}.${extension}`));
      return button;
    };
    const format = heard?.type.includes("mp4") ? "m4a" : heard?.type.includes("ogg") ? "ogg" : "webm";
    const compressed = heard && save(format.toUpperCase(), heard, format);
    this.recordings.prepend(h("li", {}, h("span", {}, clockText(duration)), save("WAV", exact, "wav"), compressed));
    while (this.recordings.children.length > MAX_RECORDINGS) this.recordings.lastElementChild?.remove();
    this.showNotice(`Recorded ${clockText(duration)}. Save it in the Save tab.`);
  }

  private async saveEncoded(clip: HeardClip, format: "mp3" | "flac", button: HTMLButtonElement): Promise<void> {
    button.setAttribute("aria-busy", "true");
    this.update();
    const source = { kind: "own", dataUrl: await dataUrlFromBlob(clip.image), name: "" } as const;
    const answer = await this.backend.client.ask(imageToAudioInput(source, format));
    button.removeAttribute("aria-busy");
    this.update();
    if (answer.ok) saveFile(await blobFromUrl(answer.output.audio), `${fileName(clip.stop)}.${format}`);
    else this.showNotice(`The ${format.toUpperCase()} could not be made: ${answer.failure.message}`);
  }

  private saveWav({ audio, stop }: HeardClip): void {
    const channels = Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i));
    saveFile(wavBlob(channels, audio.sampleRate), `${fileName(stop)}.wav`);
  }

  private saveImage({ image, stop }: HeardClip): void {
    saveFile(image, `${fileName(stop)}.png`);
  }
}
