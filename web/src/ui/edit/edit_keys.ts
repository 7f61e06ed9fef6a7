/** Keyboard shortcuts of the Edit view. Everything that the mouse does can be done with them. */

import { NUM_TAKES } from "../../edit/edit_requests";
import type { Editor } from "../../edit/editor";
import { type Selection, bandOf, nextPlace, ordered } from "../../edit/selection";
import { ZOOM_STEP, including, zoomed } from "../../edit/view_window";
import { heightOf } from "../../timeline/pitch";
import type { Seconds, Share } from "../../units";
import type { Shortcut } from "../keyboard";
import type { GestureTarget } from "./gestures";

/** Steps of the keys where nothing snaps, as a share of what the view shows, and in pitch. */
const TIME_STEP: Share = 0.02;
const PITCH_STEP: Share = 0.05;

export interface EditCommands {
  focusPrompt(): void;
  /** @param take from 0 on */
  hearTake(take: number): void;
  download(): void;
  /** Called when the view or the options have changed. */
  changed(): void;
}

export function editShortcuts(target: GestureTarget, { focusPrompt, hearTake, download, changed }: EditCommands): Shortcut[] {
  let anchor: Seconds | null = null; // where marking with Shift began
  const withEditor = (act: (editor: Editor, event: KeyboardEvent) => void) => (event: KeyboardEvent): void => {
    if (target.editor) act(target.editor, event);
  };
  const show = (editor: Editor, time: Seconds): void => {
    target.view = including(target.view, editor.duration, time, time);
    changed();
  };
  const move = (direction: -1 | 1) => withEditor((editor, { shiftKey }) => {
    const { time, duration, grid } = editor;
    const to = nextPlace(time, direction, grid, duration, TIME_STEP * target.view.span);
    if (shiftKey) {
      anchor ??= time;
      const section = ordered(anchor, to);
      editor.mark(section && { ...section, band: editor.selection?.band ?? null });
    } else anchor = null;
    editor.seek(to);
    show(editor, to);
  });
  const edge = (side: "start" | "stop") => withEditor((editor) => {
    const { selection, time, duration } = editor;
    const other = side === "start" ? (selection?.stop ?? duration) : (selection?.start ?? 0);
    const isInOrder = side === "start" ? time < other : time > other;
    const section = ordered(time, isInOrder ? other : side === "start" ? duration : 0);
    if (section) editor.mark({ ...section, band: selection?.band ?? null });
  });
  const pitch = (direction: -1 | 1) => withEditor((editor, { shiftKey }) => {
    const { selection } = editor;
    if (selection) editor.mark(withMovedBand(selection, direction, shiftKey));
  });
  const zoom = (factor: number) => withEditor((editor) => {
    const { from, span } = target.view;
    const { time } = editor;
    const at = time >= from && time <= from + span ? time : from + span / 2;
    target.view = zoomed(target.view, editor.duration, factor, at);
    changed();
  });
  const toggle = (act: (editor: Editor) => void) => withEditor((editor) => {
    act(editor);
    changed();
  });
  return [
    { key: " ", label: "space", does: "play or pause", act: withEditor((editor) => editor.togglePlay()) },
    { key: "b", label: "B", does: "before or after the last edit, at the same beat", act: withEditor((editor) => editor.compare(!editor.isBefore)) },
    ...Array.from({ length: NUM_TAKES }, (_, take) => ({
      key: String(take + 1), label: take === 0 ? `1 to ${NUM_TAKES}` : "", does: take === 0 ? "hear a take of the last edit" : "", act: () => hearTake(take),
    })),
    { key: "arrowleft", label: "← →", does: "move the playhead by a beat; with Shift: mark", act: move(-1) },
    { key: "arrowright", label: "", does: "", act: move(1) },
    { key: "[", label: "[ ]", does: "the section starts, or ends, at the playhead", act: edge("start") },
    { key: "]", label: "", does: "", act: edge("stop") },
    { key: "arrowup", label: "↑ ↓", does: "mark a band of pitch in the section and move it; with Shift: make it wider or narrower", act: pitch(1) },
    { key: "arrowdown", label: "", does: "", act: pitch(-1) },
    { key: "escape", label: "Esc", does: "mark nothing", act: withEditor((editor) => editor.mark(null)) },
    { key: "u", label: "U, Ctrl Z", does: "undo", act: withEditor((editor) => editor.undo()) },
    { key: "y", label: "Y, Ctrl Y", does: "redo", act: withEditor((editor) => editor.redo()) },
    { key: "/", label: "/", does: "type what should be here", act: focusPrompt },
    { key: "r", label: "R", does: "repeat the section", act: withEditor((editor) => editor.setRepeating(!editor.isRepeating)) },
    { key: "g", label: "G", does: "snap to beats", act: toggle((editor) => (editor.isSnapping = !editor.isSnapping)) },
    { key: "+", label: "+ −", does: "zoom", act: zoom(ZOOM_STEP) },
    { key: "=", label: "", does: "", act: zoom(ZOOM_STEP) },
    { key: "-", label: "", does: "", act: zoom(1 / ZOOM_STEP) },
    { key: "0", label: "0", does: "show the whole recording", act: zoom(0) },
    { key: "d", label: "D", does: "download", act: withEditor(() => download()) },
  ];
}

/** The section with a band that is moved, or wider or narrower. Without a band, half of the pitches are marked. */
export function withMovedBand(selection: Selection, direction: -1 | 1, isResizing: boolean): Selection {
  const { band } = selection;
  if (band === null) return { ...selection, band: direction > 0 ? bandOf(0.5, 0.98) : bandOf(0, 0.5) };
  const [low, high] = [heightOf(band.low), heightOf(band.high)];
  const by = direction * PITCH_STEP;
  if (isResizing) return { ...selection, band: bandOf(low, Math.max(low + PITCH_STEP, high + by)) };
  const inside = Math.min(1 - high, Math.max(-low, by));
  return { ...selection, band: bandOf(low + inside, high + inside) };
}

/** Undo and redo as in every editor: Ctrl or Cmd with Z, Shift Z and Y. Returns whether the key was one of these. */
export function undoKey(event: KeyboardEvent, editor: Editor): boolean {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return false;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return false;
  if (key === "y" || event.shiftKey) editor.redo();
  else editor.undo();
  return true;
}
