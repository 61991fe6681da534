// SPDX-License-Identifier: Apache-2.0
// Light or dark as Airflow is: its page around this one has the class "dark", its setting is kept under "theme".
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

  const show = () => {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  };

  show();
  system.addEventListener("change", show);
  addEventListener("storage", show);
  const outer = airflow();
  if (outer) new MutationObserver(show).observe(outer, { attributes: true, attributeFilter: ["class"] });
})();
