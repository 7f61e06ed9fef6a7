/** The buttons that save the recording, or the marked section, as a file of the recording's own format. */

import type { Editor } from "../../edit/editor";
import { downloadName, fileOfVersion } from "../../edit/project";
import type { Scope } from "../../scope";
import { h, saveFile, setText } from "../dom";

export class Downloads {
  readonly element: HTMLElement;
  private readonly whole = h("button", { type: "button" });
  private readonly section = h("button", { type: "button" }, "Section");
  private isSaving = false;

  /** @param showNotice shows a short message */
  constructor(scope: Scope, private readonly editor: () => Editor | null, private readonly showNotice: (message: string) => void) {
    scope.listen(this.whole, "click", () => void this.save(false));
    scope.listen(this.section, "click", () => void this.save(true));
    this.element = h("div", { class: "edit-downloads", hidden: true }, this.whole, this.section);
  }

  update(): void {
    const editor = this.editor();
    if (editor === null) return;
    const { fileType, isOwnType } = editor.project;
    const type = fileType.toUpperCase();
    this.element.hidden = false;
    setText(this.whole, isOwnType ? "Download" : `Download ${type}`);
    this.whole.title = `Download all of it as ${type} (D)`;
    this.section.title = `Download the marked section as ${type}`;
    this.section.disabled = editor.selection === null;
    this.element.setAttribute("aria-busy", String(this.isSaving));
  }

  /** Saves the version that is shown, or its marked section. */
  async save(isSection: boolean): Promise<void> {
    const editor = this.editor();
    if (editor === null || this.isSaving || (isSection && editor.selection === null)) return;
    this.isSaving = true;
    this.update();
    const { project, version, selection, rate } = editor;
    const name = `${downloadName(project, version.title)}${isSection ? "-section" : ""}`;
    const part = isSection && selection ? ([Math.round(selection.start * rate), Math.round(selection.stop * rate)] as const) : [];
    try {
      saveFile(await fileOfVersion(project, project.fileType, version.pieces, ...part), `${name}.${project.fileType}`);
    } catch (error) {
      saveFile(await fileOfVersion(project, "wav", version.pieces, ...part), `${name}.wav`);
      this.showNotice(`This is a WAV file with the same samples, as no FLAC file could be written: ${error instanceof Error ? error.message : String(error)}.`);
    } finally {
      this.isSaving = false;
      this.update();
    }
  }
}
