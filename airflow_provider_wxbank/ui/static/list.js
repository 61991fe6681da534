// SPDX-License-Identifier: Apache-2.0
// The list of all imports: searched, sorted, summed up, and older ones as they are asked for.
import { ask, isBusy, pace } from "./asking.js";
import { chart } from "./chart.js";
import { Criteria } from "./criteria.js";
import { downloads, moment as asText } from "./downloads.js";
import { make, replace } from "./elements.js";
import { doubts, failureInShort } from "./failures.js";
import { address, keepList } from "./links.js";
import { bars, facts, importAttributes, isFinished, moment, nameOf, packageLinks, state, steps, unreadable, warning } from "./views.js";
import { number, percent, words } from "./words.js";

const ended = (one) => make("p", null, moment(one.end));

const item = (one, now, isGrouped) =>
  make(
    "li",
    { class: "import", ...importAttributes(one) },
    make(
      "div",
      { class: "who" },
      make(
        "a",
        { class: "open", href: address(one), "data-key": `${one.dag_id} ${one.run_id} ${one.package_id}`, title: one.run_id },
        make("strong", null, one.dag_id), make("span", { class: "run" }, one.run_id),
      ),
      isGrouped ? null : make("span", { class: "by" }, nameOf(one)),
      moment(one.begin),
      one.user ? make("span", { class: "by" }, words.by(one.user)) : null,
    ),
    make("div", { class: "how" }, state(one), isFinished(one) ? ended(one) : steps(one)),
    make("div", { class: "bars" }, bars(one)),
    facts(one, now),
    failureInShort(one),
    doubts(one),
    warning(one),
    unreadable(one.unreadable),
  );

const items = (imports, now, isGrouped) => make("ul", { class: "imports" }, imports.map((one) => item(one, now, isGrouped)));

const byPackage = (imports) => {
  const groups = new Map();
  for (const one of imports) {
    if (!groups.has(one.package_id)) groups.set(one.package_id, []);
    groups.get(one.package_id).push(one);
  }
  return groups;
};

const packageSection = (imports, now) =>
  make(
    "section",
    { class: "package", "data-package": imports[0].package_id ?? "" },
    make("header", null, make("div", null, make("h2", null, nameOf(imports[0])), packageLinks(imports[0])), chart(imports)),
    items(imports, now, true),
  );

const sections = (imports, now, isGrouped) => {
  if (isGrouped) return [...byPackage(imports).values()].map((group) => packageSection(group, now));
  return imports.length ? [make("section", { class: "package", "aria-label": words.imports }, items(imports, now, false))] : [];
};

// How many there are, in which state, and what became of their numbers.
const summary = (imports) => {
  const sum = (name) => imports.reduce((total, one) => total + (one[name] ?? 0), 0);
  const states = new Map();
  for (const one of imports) states.set(one.state, (states.get(one.state) ?? 0) + 1);
  const counted = [...states].sort((a, b) => b[1] - a[1]).map(([state, count]) => words.stateCount(number(count), words.states[state]));
  const numbers = imports.reduce((total, one) => total + (one.rows ?? one.rows_uploaded ?? 0), 0);
  const matched = sum("success_count");
  const judged = matched + sum("fail_count");
  return words.summary(number(imports.length), imports.length, byPackage(imports).size, counted, number(numbers), judged ? percent(matched / judged) : null);
};

const lookForm = () => {
  const connection = make("input", { id: "ask-connection", name: "wxbank_conn_id", required: true, list: "connections", autocomplete: "off" });
  const packageId = make("input", { id: "ask-package", name: "package_id", required: true, minlength: 4, maxlength: 16, pattern: "[0-9A-Za-z_\\-]+", autocomplete: "off", inputmode: "numeric" });
  const known = make("datalist", { id: "connections" });
  const form = make(
    "form",
    { id: "ask", action: "package", method: "get", class: "ask", hidden: true },
    make("h2", null, words.look),
    make("p", null, words.lookHint),
    make("label", null, words.connection, connection, known),
    make("label", null, words.packageId, packageId),
    make("button", { type: "submit" }, words.show),
  );
  return {
    element: form,
    take(data) {
      form.hidden = !data.may_ask && !data.connections.length;
      known.replaceChildren(...data.connections.map((id) => make("option", { value: id })));
      if (!connection.value && data.connections.length === 1) connection.value = data.connections[0];
    },
  };
};

// What a download of the list has of each import.
const DOWNLOADED = [
  "dag_id", "run_id", "package_id", "state", "begin", "end", "user", "bank_types", "files", "uploaded", "finished", "rows",
  "skipped", "success_count", "fail_count", "success_user_count", "unaccounted", "failed_files", "numbers_an_hour", "error", "text",
];
const asDownloaded = (one) => ({
  ...one, begin: asText(one.begin), end: asText(one.end), error: one.failed_tasks?.[0].error, text: one.failed_tasks?.[0].text,
});

const quotas = (today) =>
  (today ?? []).map(({ wxbank_conn_id, files, quota }) =>
    make("p", { class: "today", "data-today": wxbank_conn_id ?? "" }, words.sentToday(number(files), quota === null ? null : number(quota), wxbank_conn_id)),
  );

const keyOf = (one) => `${one.dag_id}\n${one.run_id}\n${one.package_id}`;

// again: asks anew at once. tell: says what went wrong.
export const listView = (main, again, tell) => {
  const head = make("div", { class: "head" });
  const today = make("div", { id: "today" });
  const sums = make("p", { id: "summary", role: "status" });
  const list = make("div", { id: "imports" });
  const older = make("button", { type: "button", id: "older", class: "more", hidden: true }, words.older);
  const form = lookForm();
  // What older ones were asked for and shown; before: where those that were not begin.
  let old = [];
  let hasOlder = false;
  let before;
  let latest;
  let all = [];
  let asking = new AbortController();
  const criteria = new Criteria(() => {
    asking.abort();
    asking = new AbortController();
    old = [];
    hasOlder = false;
    // Until it is known where the older ones of these begin.
    older.hidden = true;
    keepList(criteria.query());
    again();
  });
  keepList(criteria.query());
  head.append(today, downloads("wxbank-imports", DOWNLOADED, () => all.map(asDownloaded)));
  main.append(head, criteria.form, sums, list, older, form.element);
  const show = () => {
    const seen = new Set(latest.imports.map(keyOf));
    old = old.filter((one) => !seen.has(keyOf(one)) && seen.add(keyOf(one)));
    all = criteria.sorted([...latest.imports, ...old]);
    const isUnused = !all.length && criteria.isEmpty;
    head.hidden = criteria.form.hidden = sums.hidden = isUnused;
    today.replaceChildren(...quotas(latest.today));
    sums.textContent = isUnused ? "" : summary(all);
    const shown = sections(all, latest.now, criteria.isGrouped);
    const none = make("p", { class: "empty" }, isUnused ? words.empty : words.noSuchImports);
    replace(list, ...(shown.length ? shown : [none]), unreadable(latest.unreadable));
    older.hidden = before === undefined || before === null;
  };
  older.addEventListener("click", async () => {
    const asked = criteria.asked();
    const wanted = asked.toString();
    older.disabled = true;
    try {
      let data;
      // If newer ones have come meanwhile, older ones begin elsewhere.
      while (asked.get("before") !== String(before)) {
        asked.set("before", before);
        data = await ask(`api/imports?${asked}`);
        // Something else may be wanted by now.
        if (criteria.asked().toString() !== wanted) return;
      }
      old = [...old, ...data.imports];
      hasOlder = true;
      before = data.before;
      show();
    } catch (failure) {
      tell(failure);
    } finally {
      older.disabled = false;
    }
  });
  return async () => {
    const wanted = criteria.asked().toString();
    let data;
    try {
      data = await ask(`api/imports?${wanted}`, asking.signal);
    } catch (failure) {
      // Something else is wanted by now, and was asked for.
      if (failure.name === "AbortError") return pace(true);
      throw failure;
    }
    if (criteria.asked().toString() !== wanted) return pace(true);
    // What newer ones have pushed out stays, if what follows it is shown.
    if (hasOlder) old = [...latest.imports, ...old];
    else before = data.before;
    latest = data;
    criteria.offer(latest.dags ?? [], latest.imports);
    show();
    form.take(latest);
    return pace(latest.imports.some(isBusy));
  };
};
