/** Labelled inputs for settings. */

import type { Scope } from "../scope";
import type { Range } from "../settings/settings";
import type { Seconds } from "../units";
import { h, setText } from "./dom";

/** An input that shows a value and reports when the user changes it. */
export interface Field<T> {
  readonly element: HTMLElement;
  show(value: T): void;
}

/** A slider value is reported after it has not changed for this long, as arrow keys pass through many values. */
const SETTLE_TIME: Seconds = 0.25;

let lastId = 0;

/**
 * A slider.
 *
 * @param text formats a value with its unit
 * @param onChange called after the slider was released
 */
export function sliderField(
  scope: Scope,
  label: string,
  hint: string,
  range: Range,
  text: (value: number) => string,
  onChange: (value: number) => void,
): Field<number> {
  const id = `field-${++lastId}`;
  const input = h("input", { type: "range", id, min: range.min, max: range.max, step: range.step, "aria-describedby": `${id}-hint` });
  const output = h("output", { for: id });
  let isMoving = false;
  let shown = NaN;
  let cancelReport = (): void => undefined;
  const show = (value: number): void => {
    if (isMoving) return;
    shown = value;
    input.value = String(value);
    setText(output, text(value));
    input.setAttribute("aria-valuetext", text(value));
  };
  scope.listen(input, "input", () => {
    isMoving = true;
    setText(output, text(Number(input.value)));
  });
  const report = (): void => {
    cancelReport();
    cancelReport = scope.after(SETTLE_TIME, () => {
      isMoving = false;
      const value = Number(input.value);
      if (value !== shown) onChange(value);
    });
  };
  scope.listen(input, "change", report);
  scope.listen(input, "pointerup", report); // a slider that was moved back sends no change event
  const element = h(
    "div",
    { class: "field" },
    h("div", { class: "field-head" }, h("label", { for: id }, label), output),
    input,
    h("p", { class: "hint", id: `${id}-hint` }, hint),
  );
  return { element, show };
}

/** A drop-down list. */
export function selectField(
  scope: Scope,
  label: string,
  options: readonly { readonly value: string; readonly text: string }[],
  onChange: (value: string) => void,
): Field<string> {
  const id = `field-${++lastId}`;
  const select = h("select", { id }, ...options.map(({ value, text }) => h("option", { value }, text)));
  scope.listen(select, "change", () => onChange(select.value));
  return {
    element: h("div", { class: "field" }, h("div", { class: "field-head" }, h("label", { for: id }, label)), select),
    show: (value) => {
      if (select.value !== value) select.value = value; // setting it while the list is open would close the list
    },
  };
}

/** A text input whose value is reported when it loses the focus. */
export function textField(
  scope: Scope,
  label: string,
  hint: string,
  maxLength: number,
  onChange: (value: string) => void,
): Field<string> {
  const id = `field-${++lastId}`;
  const input = h("input", { type: "text", id, maxlength: maxLength, "aria-describedby": `${id}-hint` });
  scope.listen(input, "change", () => onChange(input.value.trim()));
  return {
    element: h(
      "div",
      { class: "field" },
      h("div", { class: "field-head" }, h("label", { for: id }, label)),
      input,
      h("p", { class: "hint", id: `${id}-hint` }, hint),
    ),
    show: (value) => {
      if (document.activeElement !== input) input.value = value;
    },
  };
}

/** An on/off switch. */
export function switchField(scope: Scope, label: string, onChange: (isOn: boolean) => void): Field<boolean> {
  const input = h("input", { type: "checkbox", role: "switch" });
  scope.listen(input, "change", () => onChange(input.checked));
  return {
    element: h("label", { class: "switch" }, input, h("span", {}, label)),
    show: (isOn) => {
      input.checked = isOn;
    },
  };
}
