/** Choice of the seed image, from the server or the user's own, and of the mask. */

import type { Library, LibraryImage } from "../api/library";
import type { Session } from "../jam/session";
import type { Scope } from "../scope";
import { type SeedOutcome, seedFromFile, seedFromLoop } from "../seed/seed_from_file";
import type { ImageSource } from "../settings/settings";
import type { Hertz, Seconds } from "../units";
import { h } from "./dom";
import { previewButton } from "./preview_button";
import type { Panel } from "./sidebar";

export class SeedPanel implements Panel {
  readonly name = "Seed";
  readonly element: HTMLElement;
  private readonly seeds = h("div", { class: "images", role: "radiogroup", "aria-label": "Seed image" });
  private readonly masks = h("div", { class: "images small", role: "radiogroup", "aria-label": "Mask" });
  private readonly about = h("p", { class: "hint", "aria-live": "polite" });
  private library: Library = { seedImages: [], masks: [] };
  private own: (ImageSource & { kind: "own" }) | null = null;
  private loading: AbortController | null = null;

  /** @param showNotice shows a short message */
  constructor(
    scope: Scope,
    private readonly session: Session,
    private readonly showNotice: (message: string) => void,
  ) {
    const file = h("input", { type: "file", accept: "audio/*,image/*", id: "seed-file", class: "visually-hidden" });
    scope.listen(file, "change", () => {
      const chosen = file.files?.[0];
      if (chosen) void this.useFile(chosen);
      file.value = "";
    });
    this.element = h(
      "div",
      { class: "panel" },
      h("h2", {}, "Seed loop"),
      h("p", { class: "hint" }, "Every clip is made from this loop and keeps its beat."),
      this.seeds,
      h("div", { class: "row" }, file, h("label", { for: "seed-file", class: "button" }, "Use your own audio or image")),
      this.about,
      h("h2", {}, "Mask"),
      h("p", { class: "hint" }, "White parts are new in every clip. Black parts stay as in the seed loop."),
      this.masks,
    );
  }

  /** Shows the images of the server. */
  setLibrary(library: Library): void {
    this.library = library;
    this.rebuild();
  }

  /** Makes a file the seed. */
  useFile(file: File): Promise<void> {
    return this.use(file.name, file.type.startsWith("image/"), (signal) => seedFromFile(this.session, file, signal));
  }

  /** Makes a loop the seed. */
  useLoop(name: string, samples: Float32Array, sampleRate: Hertz): Promise<void> {
    const describe = (duration: Seconds): string => `the marked section, ${duration.toFixed(2)} s`;
    return this.use(name, false, (signal) => seedFromLoop(this.session, name, samples, sampleRate, describe, signal));
  }

  private async use(name: string, isImage: boolean, make: (signal: AbortSignal) => Promise<SeedOutcome>): Promise<void> {
    this.loading?.abort();
    const loading = new AbortController();
    this.loading = loading;
    this.about.textContent = `Reading ${name} …`;
    const outcome = await make(loading.signal);
    if (loading.signal.aborted) return;
    if ("problem" in outcome) {
      this.about.textContent = "";
      this.showNotice(outcome.problem);
      return;
    }
    this.setOwn(outcome.source);
    this.about.textContent = isImage ? `${name} is the seed loop, as an image of sound` : `${name}: ${outcome.description}`;
    this.showNotice(`New clips use ${name} as the seed loop`);
    this.session.preview(outcome.audio, () => undefined);
  }

  /** Makes the user's own image the seed. */
  setOwn(source: ImageSource & { kind: "own" }): void {
    this.own = source;
    this.choose("seedImage", source);
    this.rebuild();
  }

  update(): void {
    const { seedImage, mask } = this.session.conductor.settings;
    mark(this.seeds, nameOf(seedImage));
    mark(this.masks, nameOf(mask));
  }

  private rebuild(): void {
    const seeds = this.library.seedImages.map((image) => this.seedOption(idSource(image), image.url));
    if (this.own) seeds.push(this.seedOption(this.own, this.own.dataUrl));
    this.seeds.replaceChildren(...seeds);
    const none = this.option("mask", null, "none", null);
    this.masks.replaceChildren(none, ...this.library.masks.map((mask) => this.option("mask", idSource(mask), label(mask.id), mask.url)));
    this.update();
  }

  private seedOption(source: ImageSource, url: string): HTMLElement {
    const name = source.kind === "id" ? label(source.id) : source.name;
    const listen = previewButton(this.session, `Listen to ${name}`, null, (signal) => this.session.clipSource.imageToAudio(source, signal), this.showNotice);
    return h("div", { class: "image" }, this.option("seedImage", source, name, url), listen);
  }

  private option(key: "seedImage" | "mask", source: ImageSource | null, name: string, url: string | null): HTMLElement {
    const input = h("input", { type: "radio", name: key, value: nameOf(source), class: "visually-hidden" });
    input.addEventListener("change", () => this.choose(key, source));
    const image = url === null ? h("span", { class: "no-image" }) : h("img", { src: url, alt: "", loading: "lazy", width: 96, height: 96 });
    if (key === "seedImage") image.classList.add("ink");
    return h("label", { class: "option" }, input, image, h("span", { class: "option-name" }, name));
  }

  private choose(key: "seedImage" | "mask", source: ImageSource | null): void {
    const { conductor } = this.session;
    conductor.adjust({ ...conductor.settings, [key]: source });
    this.update();
  }
}

function idSource({ id }: LibraryImage): ImageSource {
  return { kind: "id", id };
}

/** An id as readable text: `mask_top_third_75` becomes "top third 75". */
function label(id: string): string {
  return id.replace(/^mask_/, "").replaceAll("_", " ");
}

function nameOf(source: ImageSource | null): string {
  if (source === null) return "";
  return source.kind === "id" ? source.id : `own ${source.name}`;
}

function mark(group: HTMLElement, name: string): void {
  for (const input of group.querySelectorAll("input")) input.checked = input.value === name;
}
