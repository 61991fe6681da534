// SPDX-License-Identifier: Apache-2.0
// Which imports the list shows, and in which order. The page's address has it, so that it can be kept and sent.
import { make } from "./elements.js";
import { matchRate } from "./chart.js";
import { tellAirflow } from "./links.js";
import { dayBegins, words } from "./words.js";

const NAMES = ["search", "state", "dag", "package", "from", "to", "sort"];

// In the order in which somebody wants to see them who has to act.
const STATES = [
  "failed", "unaccounted", "unmatched", "exporting", "exported", "uploading", "uploaded", "processing", "finished", "skipped",
];

// What is not known comes last, whichever way.
const ordered = (get, sign) => (a, b) => {
  const [left, right] = [get(a) ?? null, get(b) ?? null];
  if (left === right) return 0;
  if (left === null) return 1;
  return right === null ? -1 : sign * (left - right);
};
const up = (get) => ordered(get, 1);
const down = (get) => ordered(get, -1);
const begin = (one) => one.begin;

const ORDERS = {
  newest: down(begin),
  oldest: up(begin),
  state: (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state) || down(begin)(a, b),
  rate: up(matchRate),
  numbers: down((one) => one.rows ?? one.rows_uploaded),
};

const MAX_TEXT = 200;

// An agreement number has at least so many digits in a row, and no id on this page has. What is searched for is kept in
// addresses and logs.
const NUMBER = /\d{17}/;
const TYPED = ["search", "package"];

const DAY = /^\d{4}-\d{2}-\d{2}$/;

const dayAfter = (day) => new Date(Date.parse(`${day}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10);

const select = (name, label, options) =>
  make(
    "label", null, label,
    make("select", { id: `list-${name}`, name }, options.map(([value, text]) => make("option", { value }, text))),
  );

const input = (name, label, attributes) => make("label", null, label, make("input", { id: `list-${name}`, name, autocomplete: "off", ...attributes }));

export class Criteria {
  // changed: is called when something else is wanted.
  constructor(changed) {
    let typing;
    this.packages = make("datalist", { id: "list-packages" });
    this.reset = make("button", { type: "button", id: "list-reset", onclick: () => { this.form.reset(); this.tell(changed); } }, words.reset);
    this.form = make(
      "form",
      {
        id: "criteria", class: "criteria", role: "search", "aria-label": words.searchImports,
        onsubmit: (event) => event.preventDefault(),
        onchange: () => { clearTimeout(typing); this.tell(changed); },
        // Not for every letter.
        oninput: () => { clearTimeout(typing); typing = setTimeout(() => this.tell(changed), 300); },
      },
      input("search", words.searchImports, { type: "search", placeholder: words.searchImportsHint, spellcheck: "false", maxlength: MAX_TEXT }),
      select("state", words.state, [["", words.all], ...STATES.map((state) => [state, words.states[state]])]),
      select("dag", words.dag, [["", words.all]]),
      input("package", words.packageId, { list: "list-packages", maxlength: MAX_TEXT }),
      input("from", words.from, { type: "date" }),
      input("to", words.to, { type: "date" }),
      select("sort", words.order, [["", words.orders.package], ...Object.keys(ORDERS).map((order) => [order, words.orders[order]])]),
      this.reset,
      this.packages,
    );
    const query = new URLSearchParams(location.search);
    for (const name of NAMES) this.want(name, (query.get(name) ?? "").slice(0, MAX_TEXT));
    this.now = this.read();
    this.reset.hidden = !this.query();
  }

  // A select takes only what it offers, so a DAG that is asked for is offered before it is known.
  want(name, text) {
    const field = this.form.elements[name];
    const value = TYPED.includes(name) && NUMBER.test(text) ? "" : text;
    if (name === "dag" && value) field.append(make("option", { value }, value));
    field.value = value;
    if (field.value !== value) field.value = "";
  }

  // What the fields have; what is wanted is in `now`, once it is known to be no number.
  read() {
    return Object.fromEntries(NAMES.map((name) => [name, this.form.elements[name].value.trim()]));
  }

  value(name) {
    return this.now[name];
  }

  // As the page's address has it; an empty text if everything is wanted.
  query() {
    return new URLSearchParams(NAMES.map((name) => [name, this.value(name)]).filter(([, value]) => value)).toString();
  }

  // As the server is asked.
  asked() {
    const [from, to] = [this.value("from"), this.value("to")];
    const wanted = {
      text: this.value("search"),
      state: this.value("state"),
      dag_id: this.value("dag"),
      package_id: this.value("package"),
      since: DAY.test(from) ? dayBegins(from) : "",
      until: DAY.test(to) ? dayBegins(dayAfter(to)) : "",
    };
    return new URLSearchParams(Object.entries(wanted).filter(([, value]) => value !== ""));
  }

  get isGrouped() {
    return !this.value("sort");
  }

  get isEmpty() {
    return !this.asked().toString();
  }

  sorted(imports) {
    const order = ORDERS[this.value("sort")];
    return order ? [...imports].sort(order) : imports;
  }

  // What can be chosen from.
  offer(dags, imports) {
    const field = this.form.elements.dag;
    const offered = [...new Set([...dags, field.value].filter(Boolean))].sort();
    const now = [...field.options].slice(1).map((option) => option.value);
    if (offered.join("\n") !== now.join("\n")) {
      const { value } = field;
      field.replaceChildren(field.options[0], ...offered.map((dag) => make("option", { value: dag }, dag)));
      field.value = value;
    }
    const packages = [...new Set(imports.map((one) => one.package_id).filter(Boolean))].sort();
    this.packages.replaceChildren(...packages.map((id) => make("option", { value: id })));
  }

  tell(changed) {
    for (const name of TYPED) {
      const field = this.form.elements[name];
      field.setCustomValidity(NUMBER.test(field.value) ? words.noNumbers : "");
      if (!field.reportValidity()) return;
    }
    const before = this.query();
    this.now = this.read();
    const query = this.query();
    if (query === before) return;
    this.reset.hidden = !query;
    history.replaceState(null, "", query ? `?${query}` : location.pathname);
    tellAirflow();
    changed();
  }
}
