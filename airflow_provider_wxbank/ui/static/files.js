// SPDX-License-Identifier: Apache-2.0
// The files of an import or a package: sorted, searched, and shown some hundreds at a time.
import { make, shape } from "./elements.js";
import { downloads, moment } from "./downloads.js";
import { exactTime, number, percent, time, words } from "./words.js";

const PAGE = 200;

// Files come as a list for each of their fields.
export const rowsOf = (columns) =>
  columns.task_id.map((_, index) => Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[index]])));

const rateOf = ({ success_count, fail_count }) =>
  success_count === null || success_count + fail_count === 0 ? null : success_count / (success_count + fail_count);
const stateOf = ({ task_id, success_count, fail_count }) =>
  task_id === null ? "missing" : success_count === null ? "processing" : fail_count && !success_count ? "no-match" : "finished";

const COLUMNS = [
  ["file", words.file, (row) => row.filename, "text"],
  ["task", words.taskId, (row) => row.task_id, "text"],
  ["rows", words.rows, (row) => row.rows, "number"],
  ["uploaded", words.uploadedAt, (row) => row.uploaded, "time"],
  ["finished", words.finishedAt, (row) => row.finished, "time"],
  ["matched", words.matched, (row) => row.success_count, "number"],
  ["not-matched", words.notMatched, (row) => row.fail_count, "number"],
  ["users", words.users, (row) => row.success_user_count, "number"],
  ["rate", words.matchRate, rateOf, "rate"],
  ["state", words.state, stateOf, "condition"],
];

const WRITE = {
  text: (value) => value,
  number: (value) => number(value),
  time: (value) => time(value),
  rate: (value) => percent(value),
  condition: (value, pending) => {
    const [kind, text] = {
      missing: ["failed", words.notUploaded], processing: ["busy", pending], finished: ["done", words.finished], "no-match": ["warning", words.noMatch],
    }[value];
    return make("span", { class: `state ${kind}`, title: value === "no-match" ? words.noMatchHint : null }, shape(kind), text);
  },
};

const DOWNLOADED = ["filename", "task_id", "state", "rows", "uploaded", "finished", "success_count", "fail_count", "success_user_count"];
const asDownloaded = (row) => ({ ...row, state: stateOf(row), uploaded: moment(row.uploaded), finished: moment(row.finished) });

const inOrder = (get, direction) => (left, right) => {
  const [a, b] = [get(left), get(right)];
  if (a === b) return 0;
  // What is not known comes last, whichever way.
  if (a === null) return 1;
  if (b === null) return -1;
  return direction * (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
};

export class Files {
  // pending: what is said of a file whose counts are not known.
  constructor(key, pending) {
    this.pending = pending;
    this.rows = [];
    this.sorted = "uploaded";
    this.direction = 1;
    this.limit = PAGE;
    this.search = make("input", {
      type: "search", id: `search-${key}`, class: "search", placeholder: words.searchHint, "aria-label": words.search,
      autocomplete: "off", spellcheck: "false", oninput: () => this.again(),
    });
    this.filter = make(
      "select",
      { id: `filter-${key}`, class: "filter", "aria-label": words.state, onchange: () => this.again() },
      [["", words.all], ["missing", words.notUploaded], ["processing", pending], ["finished", words.finished], ["no-match", words.noMatch]].map(
        ([value, text]) => make("option", { value }, text),
      ),
    );
    this.count = make("span", { class: "count", role: "status", "data-count": true });
    this.head = make("tr");
    this.body = make("tbody");
    this.more = make("button", { type: "button", class: "more", onclick: () => { this.limit += PAGE; this.show(); } });
    for (const [name, text, , kind] of COLUMNS) {
      const button = make("button", { type: "button", "data-sort": name, onclick: () => this.sort(name) }, text);
      this.head.append(make("th", { scope: "col", class: kind }, button));
    }
    this.element = make(
      "section",
      { class: "files", "data-files": true, "aria-label": words.files },
      make("div", { class: "tools" }, make("h3", null, words.files), this.count, downloads("wxbank-files", DOWNLOADED, () => this.found().map(asDownloaded)), this.search, this.filter),
      make("table", null, make("thead", null, this.head), this.body),
      this.more,
    );
  }

  take(rows) {
    this.rows = rows;
    this.show();
  }

  sort(name) {
    this.direction = this.sorted === name ? -this.direction : 1;
    this.sorted = name;
    this.again();
  }

  again() {
    this.limit = PAGE;
    this.show();
  }

  // All that are searched and filtered for, in their order.
  found() {
    const text = this.search.value.trim().toLowerCase();
    const wanted = this.filter.value;
    const [, , get] = COLUMNS.find(([name]) => name === this.sorted);
    return this.rows
      .filter((row) => !text || row.filename.toLowerCase().includes(text) || row.task_id?.toLowerCase().includes(text))
      .filter((row) => !wanted || stateOf(row) === wanted)
      .sort(inOrder(get, this.direction));
  }

  show() {
    const found = this.found();
    this.count.textContent = words.shown(number(found.length), number(this.rows.length));
    [...this.head.children].forEach((cell, index) => {
      const isSorted = COLUMNS[index][0] === this.sorted;
      cell.setAttribute("aria-sort", isSorted ? (this.direction > 0 ? "ascending" : "descending") : "none");
    });
    const rows = found.slice(0, this.limit).map((row) =>
      make(
        "tr",
        { "data-file": row.filename, "data-task-id": row.task_id ?? "", "data-file-state": stateOf(row) },
        COLUMNS.map(([, label, value, kind]) => {
          const known = value(row);
          return make("td", { class: known === null ? `${kind} unknown` : kind, "data-label": label, title: kind === "time" && known !== null ? exactTime(known) : null }, known === null ? "–" : WRITE[kind](known, this.pending));
        }),
      ),
    );
    if (!rows.length) {
      rows.push(make("tr", { class: "none" }, make("td", { colspan: COLUMNS.length }, this.rows.length ? words.noSuchFiles : words.noFiles)));
    }
    this.body.replaceChildren(...rows);
    this.more.hidden = found.length <= this.limit;
    this.more.textContent = words.more(number(Math.min(PAGE, found.length - this.limit)));
  }
}
