// SPDX-License-Identifier: Apache-2.0
// A package that was filled elsewhere, as WeChat Pay lists it.
import { ASKING_SECONDS, ask, pace } from "./asking.js";
import { fact, make, replace } from "./elements.js";
import { Files, rowsOf } from "./files.js";
import { backLink } from "./links.js";
import { note, rate, warning } from "./views.js";
import { clockTime, number, words } from "./words.js";

// What is known of the question itself, beside what it has brought.
const question = (data) => {
  if (data.question === "asking") return make("p", { class: "links", "data-question": "asking" }, words.asking);
  if (data.question === "later") return make("p", { class: "links", "data-question": "later" }, words.askedLater);
  const again = words.asked(clockTime(data.tried_at), clockTime(data.tried_at + data.interval));
  return make("p", { class: "links", "data-question": "answered" }, again);
};

const listedFacts = (data, listed, rows) => {
  const sum = (name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);
  const one = { success_count: sum("success_count"), fail_count: sum("fail_count") };
  return make(
    "dl",
    { class: "facts" },
    fact(words.files, number(rows.length)),
    fact(words.processing, number(listed.processing), { "data-fact": "processing" }),
    fact(words.matchRate, rate(one), { "data-fact": "rate" }),
    fact(words.matched, number(one.success_count), { "data-fact": "matched" }),
    fact(words.notMatched, number(one.fail_count), { "data-fact": "not-matched" }),
    fact(words.users, number(sum("success_user_count")), { "data-fact": "users" }),
    fact(words.connection, data.wxbank_conn_id),
  );
};

export const packageView = (main, query) => {
  const head = make("div");
  const files = new Files(0, words.processing);
  files.element.hidden = true;
  main.append(make("nav", null, backLink()), make("article", { id: "package", class: "detail" }, head, files.element));
  return async () => {
    const data = await ask(`api/package?${query}`);
    const { listed } = data;
    const rows = listed && rowsOf(listed.file_columns);
    const unfinished = rows?.filter((row) => row.success_count === null).length;
    const wholly = rows?.filter((row) => row.fail_count && !row.success_count).length;
    replace(
      head,
      make("h2", null, words.package(data.package_id)),
      question(data),
      data.failure ? note("failure", [words.notAnswered, make("span", { lang: "en" }, data.failure)]) : null,
      data.failure && listed ? make("p", { class: "links" }, words.knownBefore(clockTime(listed.asked_at))) : null,
      listed && listed.processing < unfinished
        ? make("p", { class: "links" }, words.stillProcessing(number(listed.processing)))
        : null,
      warning({ failed_files: wholly }),
      listed ? listedFacts(data, listed, rows) : null,
    );
    files.element.hidden = !listed;
    if (listed) files.take(rows);
    return data.question === "asking" ? ASKING_SECONDS : pace(data.question === "later" || listed?.processing > 0);
  };
};
