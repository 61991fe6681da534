// SPDX-License-Identifier: Apache-2.0
// The page: all imports at ./, one DAG run's at ./import, a package that was filled elsewhere at ./package.
import { chart } from "./chart.js";
import { downloads, moment as asText } from "./downloads.js";
import { fact, make } from "./elements.js";
import { doubts, failureInShort, failures } from "./failures.js";
import { Files, rowsOf } from "./files.js";
import { inAirflow, runAddress } from "./links.js";
import { address, bars, facts, isFinished, note, rate, state, steps, unreadable, warning } from "./views.js";
import { clockTime, exactTime, language, number, time, words } from "./words.js";

const ASKING_SECONDS = 2;
const BUSY_SECONDS = 15;
const QUIET_SECONDS = 60;

const main = document.getElementById("main");
const trouble = document.getElementById("trouble");
const refreshed = document.getElementById("refreshed");
const query = new URLSearchParams(location.search);
const route = location.pathname.split("/").at(-1);

const isBusy = (one) => ["exporting", "exported", "uploading", "processing"].includes(one.state);
const pace = (busy) => (busy ? BUSY_SECONDS : QUIET_SECONDS);

class Trouble extends Error {}

const ask = async (path) => {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  } catch {
    throw new Trouble(words.unreachable);
  }
  if (answer.ok) return answer.json();
  if (answer.status === 401) throw new Trouble(words.signedOut);
  if (answer.status === 403) throw new Trouble(words.notAllowed);
  if (answer.status === 404) throw new Trouble(words.gone);
  if (answer.status === 422) throw new Trouble(words.invalid);
  throw new Trouble(words.unreachable);
};

// Puts new content in the place of the old, and the focus where it was.
const replace = (element, ...content) => {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...content.flat().filter(Boolean));
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
};

const runLink = (one) =>
  make(
    "a",
    {
      class: "quiet", "data-key": "run",
      href: runAddress(one), onclick: inAirflow,
    },
    words.openRun,
  );

const packageLinks = (one) =>
  one.package_id === undefined
    ? []
    : (one.wxbank_conn_ids ?? []).map((conn) =>
        make(
          "a",
          {
            class: "quiet", "data-key": `package-${one.package_id}-${conn}`,
            href: `package?${new URLSearchParams({ wxbank_conn_id: conn, package_id: one.package_id })}`,
          },
          words.wholePackage,
        ),
      );

const importAttributes = (one) => ({
  "data-import": true, "data-dag-id": one.dag_id, "data-run-id": one.run_id, "data-package-id": one.package_id,
  "data-state": one.state,
});

const moment = (seconds) =>
  seconds === undefined ? null : make("time", { datetime: asText(seconds), title: exactTime(seconds) }, time(seconds));

const ended = (one) => make("p", null, moment(one.end));

const item = (one, now) =>
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

const byPackage = (imports) => {
  const groups = new Map();
  for (const one of imports) {
    if (!groups.has(one.package_id)) groups.set(one.package_id, []);
    groups.get(one.package_id).push(one);
  }
  return groups;
};

const packageSection = (packageId, imports, now) =>
  make(
    "section",
    { class: "package", "data-package": packageId ?? "" },
    make(
      "header",
      null,
      make("div", null, make("h2", null, packageId === undefined ? words.noPackage : words.package(packageId)), packageLinks(imports[0])),
      chart(imports),
    ),
    make("ul", { class: "imports" }, imports.map((one) => item(one, now))),
  );

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

const listView = () => {
  const head = make("div", { class: "head" });
  const today = make("div", { id: "today" });
  const list = make("div", { id: "imports" });
  const older = make("button", { type: "button", id: "older", class: "more", hidden: true }, words.older);
  const form = lookForm();
  let old = [];
  let before;
  let latest;
  let all = [];
  head.append(today, downloads("wxbank-imports", DOWNLOADED, () => all.map(asDownloaded)));
  main.append(head, list, older, form.element);
  const show = () => {
    const seen = new Set(latest.imports.map((one) => `${one.dag_id}\n${one.run_id}`));
    all = [...latest.imports, ...old.filter((one) => !seen.has(`${one.dag_id}\n${one.run_id}`))];
    head.hidden = !all.length;
    today.replaceChildren(...quotas(latest.today));
    const sections = [...byPackage(all)].map(([id, imports]) => packageSection(id, imports, latest.now));
    const shown = sections.length ? sections : [make("p", { class: "empty" }, words.empty)];
    replace(list, ...shown, unreadable(latest.unreadable));
    older.hidden = before === undefined || before === null;
  };
  older.addEventListener("click", async () => {
    try {
      const data = await ask(`api/imports?before=${before}`);
      old = [...old, ...data.imports];
      before = data.before;
      show();
    } catch (failure) {
      tell(failure);
    }
  });
  return async () => {
    latest = await ask("api/imports");
    if (before === undefined) before = latest.before;
    show();
    form.take(latest);
    return pace(latest.imports.some(isBusy));
  };
};

const backLink = () => make("a", { href: "./", class: "back", id: "back" }, `← ${words.back}`);

const importView = () => {
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
        make("p", { class: "links" }, one.package_id === undefined ? words.noPackage : words.package(one.package_id), packageLinks(one), runLink(one)),
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

const wide = (one, now) => {
  const list = facts(one, now, true);
  if (one.begin !== undefined) list.append(fact(words.begun, moment(one.begin)));
  if (one.end !== undefined && isFinished(one)) list.append(fact(words.ended, moment(one.end)));
  if (one.user || one.triggered_by) list.append(fact(words.triggeredBy, one.user ?? words.triggers[one.triggered_by] ?? one.triggered_by, { "data-fact": "user" }));
  if (one.tries > 1) list.append(fact(words.tries, number(one.tries), { "data-fact": "tries" }));
  if (one.bank_types) list.append(fact(words.bankType, one.bank_types.join(", ")));
  return list;
};

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

const packageView = () => {
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

const tell = (failure) => {
  if (!(failure instanceof Trouble)) throw failure;
  trouble.textContent = failure.message;
  trouble.hidden = false;
};

const keepFresh = (refresh) => {
  let timer;
  let next = 0;
  const run = async () => {
    clearTimeout(timer);
    let seconds = BUSY_SECONDS;
    try {
      seconds = await refresh();
      trouble.hidden = true;
      refreshed.textContent = words.refreshed(clockTime(Date.now() / 1000));
    } catch (failure) {
      refreshed.textContent = "";
      tell(failure);
    } finally {
      main.removeAttribute("aria-busy");
      next = Date.now() + seconds * 1000;
      timer = setTimeout(wake, seconds * 1000);
    }
  };
  // Nobody is asked for a page that nobody sees.
  const wake = () => {
    if (document.hidden) return;
    if (Date.now() >= next - 50) run();
  };
  document.addEventListener("visibilitychange", wake);
  run();
};

document.documentElement.lang = language;
document.title = words.title;
document.getElementById("title").textContent = words.title;
refreshed.textContent = words.loading;
main.setAttribute("aria-busy", "true");

// The frame of Airflow before 3.3 begins with this page, whatever the address around it asks for.
const framed = parent !== window && document.referrer === parent.location.href ? parent.location : undefined;
if (route === "" && framed?.pathname.endsWith("/wxbank/import")) location.replace(`import${framed.search}`);
else keepFresh({ import: importView, package: packageView }[route]?.() ?? listView());
