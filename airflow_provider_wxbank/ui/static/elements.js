// SPDX-License-Identifier: Apache-2.0
// Elements made without markup, so that no text can become any.

const SVG = "http://www.w3.org/2000/svg";

const filled = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

export const make = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
export const draw = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

// Puts new content in the place of the old, and the focus where it was.
export const replace = (element, ...content) => {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...content.flat().filter(Boolean));
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
};

// States differ by shape and by text as well as by colour.
const SHAPES = {
  todo: ["circle", { cx: 8, cy: 8, r: 5.5 }],
  busy: ["path", { d: "M8 2.5a5.5 5.5 0 0 1 0 11z", class: "fill" }, ["circle", { cx: 8, cy: 8, r: 5.5 }]],
  done: ["path", { d: "M2.8 8.6 6.2 12 13.2 4.4" }],
  failed: ["path", { d: "M3.8 3.8 12.2 12.2M12.2 3.8 3.8 12.2" }],
  warning: ["path", { d: "M8 2.2 14.4 13.4H1.6zM8 6.4v3.2M8 11.3v.4" }],
  skipped: ["path", { d: "M3 8h10" }],
};

export const shape = (kind) => {
  const [tag, attributes, more] = SHAPES[kind];
  const icon = draw("svg", { viewBox: "0 0 16 16", class: `shape ${kind}`, "aria-hidden": "true" });
  icon.append(draw(tag, attributes));
  if (more) icon.append(draw(...more));
  return icon;
};

// A bar of shares of a whole; what is left of it stays empty.
export const bar = (label, text, parts, whole) => {
  const known = whole > 0;
  const track = make("div", {
    class: "track",
    role: "progressbar",
    "aria-label": label,
    "aria-valuetext": text,
    "aria-valuemin": 0,
    "aria-valuemax": known ? whole : 1,
    "aria-valuenow": known ? Math.min(parts[0][1], whole) : 0,
  });
  for (const [kind, value] of parts) {
    if (!known || !value) continue;
    const part = make("span", { class: `part ${kind}` });
    part.style.width = `${Math.min((100 * value) / whole, 100)}%`;
    track.append(part);
  }
  return make("div", { class: "bar" }, make("span", { class: "label" }, label), make("span", { class: "value" }, text), track);
};

export const fact = (label, value, attributes) =>
  make("div", { class: "fact", ...attributes }, make("dt", null, label), make("dd", null, value));
