/**
 * Mouse, touch and wheel on the zoomed view.
 *
 * One finger or the mouse marks: first a section, then, by a drag up or down inside it, a band of pitch. With Alt,
 * a drag marks a rectangle of time and pitch. Two fingers zoom and move the view, as the wheel does. A click moves
 * the playhead.
 */

import type { Editor } from "../../edit/editor";
import { type Grip, type Point, type Selection, dragged, gripAt } from "../../edit/selection";
import { type ViewWindow, fitted, panned, timeAt, zoomed } from "../../edit/view_window";
import type { Scope } from "../../scope";
import type { EditCanvas } from "./edit_canvas";

/** A pointer that moves less than this clicks. */
const CLICK_PX = 5;
/** How far from an edge a mouse or a finger can grasp it. */
const MOUSE_REACH_PX = 7;
const TOUCH_REACH_PX = 20;
const WHEEL_ZOOM = 0.0022;
const CURSORS: Record<Grip, string> = {
  time: "crosshair", rectangle: "crosshair", band: "crosshair", start: "ew-resize", stop: "ew-resize", low: "ns-resize", high: "ns-resize",
};

/** A drag with one pointer. */
interface Drag {
  readonly from: Point;
  readonly x: number;
  readonly y: number;
  readonly before: Selection | null;
  /** null until the pointer has moved far enough to be no click. */
  grip: Grip | null;
}

export interface GestureTarget {
  /** null while no recording is open. */
  readonly editor: Editor | null;
  view: ViewWindow;
}

export function listenForGestures(scope: Scope, canvas: EditCanvas, target: GestureTarget, onView: () => void): void {
  const element = canvas.canvas;
  const pointers = new Map<number, { readonly x: number; readonly y: number }>();
  let drag: Drag | null = null;
  let pinch: { readonly view: ViewWindow; readonly times: readonly [number, number] } | null = null;

  const pixels = (event: MouseEvent): { x: number; y: number } => {
    const { left, top } = element.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  const pointAt = ({ x, y }: { x: number; y: number }): Point => ({
    time: timeAt(target.view, canvas.width, x),
    height: 1 - (y - canvas.top) / (canvas.height - canvas.top),
  });
  const gripOf = (event: PointerEvent, at: Point): Grip => {
    const reach = event.pointerType === "touch" ? TOUCH_REACH_PX : MOUSE_REACH_PX;
    const near = { time: (reach / canvas.width) * target.view.span, height: reach / (canvas.height - canvas.top) };
    return event.altKey ? "rectangle" : gripAt(at, target.editor?.selection ?? null, near);
  };
  const setView = (view: ViewWindow): void => {
    target.view = view;
    onView();
  };

  const beginPinch = (): void => {
    const [a, b] = [...pointers.values()];
    if (!a || !b) return;
    if (drag?.grip) target.editor?.mark(drag.before);
    drag = null;
    pinch = { view: target.view, times: [timeAt(target.view, canvas.width, a.x), timeAt(target.view, canvas.width, b.x)] };
  };
  const movePinch = (): void => {
    const [a, b] = [...pointers.values()];
    const { editor } = target;
    if (!a || !b || !pinch || !editor) return;
    const distance = Math.max(20, Math.abs(b.x - a.x));
    const span = (Math.abs(pinch.times[1] - pinch.times[0]) / distance) * canvas.width;
    const middle = (pinch.times[0] + pinch.times[1]) / 2;
    const inside = fitted({ from: 0, span }, editor.duration).span;
    setView(fitted({ from: middle - ((a.x + b.x) / 2 / canvas.width) * inside, span: inside }, editor.duration));
  };
  const moveDrag = (event: PointerEvent, isFinal: boolean): void => {
    const { editor } = target;
    if (!drag || !editor) return;
    const at = pixels(event);
    const [dx, dy] = [Math.abs(at.x - drag.x), Math.abs(at.y - drag.y)];
    if (drag.grip === null) {
      if (Math.max(dx, dy) < CLICK_PX) return;
      const grip = gripOf(event, drag.from);
      drag.grip = grip === "band" && dx > dy ? "time" : grip; // across: a new section within the old one
    }
    const grid = event.shiftKey ? null : editor.grid;
    editor.mark(dragged(drag.grip, drag.from, pointAt(at), drag.before, grid, editor.duration), isFinal);
  };

  scope.listen(element, "pointerdown", (event: PointerEvent) => {
    const { editor } = target;
    if (!editor || (event.pointerType === "mouse" && event.button !== 0)) return;
    element.setPointerCapture(event.pointerId);
    const at = pixels(event);
    pointers.set(event.pointerId, at);
    if (pointers.size === 1) drag = { from: pointAt(at), ...at, before: editor.selection, grip: null };
    else if (pointers.size === 2) beginPinch();
  });
  scope.listen(element, "pointermove", (event: PointerEvent) => {
    if (!pointers.has(event.pointerId)) {
      element.style.cursor = CURSORS[gripOf(event, pointAt(pixels(event)))];
      return;
    }
    pointers.set(event.pointerId, pixels(event));
    if (pinch) movePinch();
    else moveDrag(event, false);
  });
  scope.listen(element, "pointerup", (event: PointerEvent) => {
    pointers.delete(event.pointerId);
    const { editor } = target;
    if (drag && editor) {
      if (drag.grip !== null) moveDrag(event, true);
      else click(editor, drag);
    }
    drag = null;
    if (pointers.size === 0) pinch = null;
  });
  scope.listen(element, "pointercancel", (event: PointerEvent) => {
    pointers.delete(event.pointerId);
    if (drag?.grip) target.editor?.mark(drag.before);
    drag = null;
    if (pointers.size === 0) pinch = null;
  });
  scope.listen(element, "wheel", (event: WheelEvent) => {
    const { editor } = target;
    if (!editor) return;
    event.preventDefault();
    const { view } = target;
    const across = event.shiftKey ? event.deltaY : event.deltaX;
    if (Math.abs(across) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      setView(panned(view, editor.duration, (across / canvas.width) * view.span));
    } else {
      const at = timeAt(view, canvas.width, pixels(event).x);
      setView(zoomed(view, editor.duration, Math.exp(-event.deltaY * WHEEL_ZOOM), at));
    }
  }, { passive: false });
}

/** A click moves the playhead. Outside of what is marked, it also takes the mark away. */
function click(editor: Editor, { from, before }: Drag): void {
  if (before && (from.time < before.start || from.time > before.stop)) editor.mark(null);
  editor.seek(from.time);
}

/** Mouse and touch on the overview: it shows another part in the zoomed view. */
export function listenForOverview(scope: Scope, canvas: EditCanvas, target: GestureTarget, onView: () => void): void {
  const element = canvas.canvas;
  const show = (event: PointerEvent): void => {
    const { editor } = target;
    if (!editor) return;
    const x = event.clientX - element.getBoundingClientRect().left;
    const time = timeAt({ from: 0, span: editor.duration }, canvas.width, x);
    target.view = fitted({ from: time - target.view.span / 2, span: target.view.span }, editor.duration);
    onView();
  };
  scope.listen(element, "pointerdown", (event: PointerEvent) => {
    element.setPointerCapture(event.pointerId);
    show(event);
  });
  scope.listen(element, "pointermove", (event: PointerEvent) => {
    if (element.hasPointerCapture(event.pointerId)) show(event);
  });
}
