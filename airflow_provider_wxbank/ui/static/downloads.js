// SPDX-License-Identifier: Apache-2.0
// What is shown, as a file. It is made in the browser, of what the browser was given.
import { make } from "./elements.js";
import { clickAround } from "./links.js";
import { words } from "./words.js";

// A spreadsheet takes a text that begins so for a formula.
const FORMULA = /^[=+\-@\t\r]/;

const cell = (value) => {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = Array.isArray(value) ? value.join(" ") : String(value);
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /["\n\r,;]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

// Excel reads UTF-8 if a byte order mark says so.
const csv = (names, rows) => `\ufeff${[names, ...rows.map((row) => names.map((name) => row[name]))].map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;

const json = (names, rows) =>
  `${JSON.stringify(rows.map((row) => Object.fromEntries(names.map((name) => [name, row[name] ?? null]))), null, 2)}\n`;

const save = (name, kind, text) => {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  clickAround({ href: address, download: name });
  URL.revokeObjectURL(address);
};

export const moment = (seconds) =>
  seconds === null || seconds === undefined ? null : new Date(seconds * 1000).toISOString();

// name: of the file, without its end. names: of the fields. rows: gives what is shown now.
export const downloads = (name, names, rows) =>
  make(
    "span",
    { class: "downloads", role: "group", "aria-label": words.download },
    [["CSV", "text/csv;charset=utf-8", csv], ["JSON", "application/json", json]].map(([text, kind, write]) =>
      make(
        "button",
        {
          type: "button", "data-download": text.toLowerCase(), "aria-label": words.downloadAs(text), title: words.downloadAs(text),
          onclick: () => save(`${name}.${text.toLowerCase()}`, kind, write(names, rows())),
        },
        text,
      ),
    ),
  );
