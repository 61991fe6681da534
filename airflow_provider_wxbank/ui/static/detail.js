// SPDX-License-Identifier: Apache-2.0
// The imports of one DAG run, each with its files.
import { ask, isBusy, pace } from "./asking.js";
import { fact, make, replace } from "./elements.js";
import { doubts, failures } from "./failures.js";
import { Files, rowsOf } from "./files.js";
import { backLink, inAirflow, runAddress } from "./links.js";
import { bars, facts, importAttributes, isFinished, moment, nameOf, packageLinks, state, steps, unreadable, warning } from "./views.js";
import { number, words } from "./words.js";

const runLink = (one) => make("a", { class: "quiet", "data-key": "run", href: runAddress(one), onclick: inAirflow }, words.openRun);

const wide = (one, now) => {
  const list = facts(one, now, true);
  if (one.begin !== undefined) list.append(fact(words.begun, moment(one.begin)));
  if (one.end !== undefined && isFinished(one)) list.append(fact(words.ended, moment(one.end)));
  if (one.user || one.triggered_by) list.append(fact(words.triggeredBy, one.user ?? words.triggers[one.triggered_by] ?? one.triggered_by, { "data-fact": "user" }));
  if (one.tries > 1) list.append(fact(words.tries, number(one.tries), { "data-fact": "tries" }));
  if (one.bank_types) list.append(fact(words.bankType, one.bank_types.join(", ")));
  return list;
};

export const importView = (main, query) => {
  const box = make("div", { id: "import" });
  const tables = new Map();
  main.append(make("nav", null, backLink()), box);
  return async () => {
    const data = await ask(`api/import?${query}`);
    const articles = data.imports.map((one, index) => {
      const key = one.package_id ?? "";
      if (!tables.has(key)) tables.set(key, { files: new Files(index, words.uploaded), head: make("div") });
      const { files, head } = tables.get(key);
      replace(
        head,
        make("h2", null, one.dag_id),
        make("p", { class: "run" }, one.run_id),
        make("p", { class: "links" }, nameOf(one), packageLinks(one), runLink(one)),
        make("div", { class: "how" }, state(one), steps(one)),
        failures(one, data.docs),
        doubts(one),
        warning(one),
        unreadable(one.unreadable),
        make("div", { class: "bars" }, bars(one)),
        wide(one, data.now),
        one.state === "processing" ? make("p", { class: "links" }, words.countsLater) : null,
      );
      files.take(rowsOf(one.file_columns));
      files.box ??= make("article", { class: "detail" }, head, files.element);
      for (const [name, value] of Object.entries(importAttributes(one))) files.box.setAttribute(name, value ?? "");
      return files.box;
    });
    if (articles.length !== box.childElementCount || !articles.length) {
      const none = make("p", { class: "empty" }, words.emptyRun);
      replace(box, ...(articles.length ? articles : [none, unreadable(data.unreadable)]));
    }
    return pace(data.imports.some(isBusy) || !articles.length);
  };
};
