// SPDX-License-Identifier: Apache-2.0
// Light or dark as Airflow is: its page around this one has the class "dark", its setting is kept under "theme". In its
// frame, the colours are Airflow's own. Where they are not known, those of the style sheet stay.
"use strict";

(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");

  const airflow = () => {
    try {
      return parent === window ? null : parent.document.documentElement;
    } catch {
      return null; // another site's frame
    }
  };

  const isDark = () => {
    const classes = airflow()?.classList;
    if (classes?.contains("dark")) return true;
    if (classes?.contains("light")) return false;
    const chosen = localStorage.getItem("theme");
    return chosen === "dark" || (chosen !== "light" && system.matches);
  };

  // Ours, and the token of Airflow's design that is the same.
  const TOKENS = {
    bg: "bg", panel: "bg-muted", line: "border", text: "fg", muted: "fg-muted", track: "bg-emphasized", accent: "fg-info",
    good: "success-fg", "good-bg": "success-subtle", "good-bar": "success-solid",
    busy: "running-fg", "busy-bg": "running-subtle", "busy-bar": "running-solid",
    bad: "failed-fg", "bad-pill": "failed-subtle", "bad-bg": "bg-error", "bad-line": "failed-muted",
    warn: "warning-fg", "warn-pill": "warning-subtle", "warn-bg": "bg-warning", "warn-line": "warning-muted", missed: "warning-solid",
    "skipped-bg": "none-subtle",
  };

  const show = () => {
    const root = document.documentElement;
    root.dataset.theme = isDark() ? "dark" : "light";
    const outer = airflow();
    if (!outer) return;
    const theirs = getComputedStyle(outer);
    const colours = Object.entries(TOKENS).map(([ours, token]) => [`--${ours}`, theirs.getPropertyValue(`--chakra-colors-${token}`).trim()]);
    // All or none: a colour is chosen to be read on another.
    if (!colours.every(([, colour]) => CSS.supports("color", colour))) return;
    for (const [name, colour] of colours) root.style.setProperty(name, colour);
  };

  show();
  system.addEventListener("change", show);
  addEventListener("storage", show);
  const outer = airflow();
  if (outer) new MutationObserver(show).observe(outer, { attributes: true, attributeFilter: ["class"] });
})();
