/** Icons for buttons, as SVG paths that are 24 units wide. */

const PATHS = {
  play: "M8 5.5v13l11-6.5z",
  pause: "M8 5v14M16 5v14",
  dice: "M5 5h14v14H5zM9 9h.01M15 9h.01M12 12h.01M9 15h.01M15 15h.01",
  panel: "M4 7h10M18 7h2M4 17h2M10 17h10M14 5v4M6 15v4",
  close: "M6 6l12 12M18 6L6 18",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  jump: "M5 6v12l8-6zM17 6v12",
  flat: "M4 6h16v12H4zM4 12h16M10 6v12",
  landscape: "M3 17l6-9 4 5 3-4 5 8z",
  listen: "M4 10v4h4l5 4V6l-5 4zM16.5 9a4 4 0 010 6",
  muted: "M4 10v4h4l5 4V6l-5 4zM16.5 9.5l5 5M21.5 9.5l-5 5",
  stop: "M7 7h10v10H7z",
  help: "M9 9.5a3 3 0 116 0c0 2-3 2.2-3 4.5M12 17.5h.01",
  undo: "M9 7H15a4.5 4.5 0 010 9H8M9 7l3-3M9 7l3 3",
  redo: "M15 7H9a4.5 4.5 0 000 9h7M15 7l-3-3M15 7l-3 3",
  minus: "M6 12h12",
  plus: "M6 12h12M12 6v12",
  whole: "M4 6v12M20 6v12M7 12h10M10 9l-3 3 3 3M14 9l3 3-3 3",
  follow: "M12 4v16M5 12h4M15 12h4",
} as const;

export type IconName = keyof typeof PATHS;

const SVG = "http://www.w3.org/2000/svg";

/** An icon that is hidden from screen readers, as its button has a label. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon", `icon-${name}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Replaces the icon of a button. */
export function setIcon(button: HTMLElement, name: IconName): void {
  const before = button.querySelector("svg");
  if (before?.classList.contains(`icon-${name}`)) return;
  if (before) before.replaceWith(icon(name));
  else button.append(icon(name));
}
