// SPDX-License-Identifier: Apache-2.0
// Why an import failed, what can be done about it, and the ways from there: the task's log, a new try, the documentation.
import { make, shape } from "./elements.js";
import { inAirflow, outside, taskAddress } from "./links.js";
import { failureTitle, remedyOf, time, words } from "./words.js";

const BRIEF = 240;

const brief = (text) => (text.length > BRIEF ? `${text.slice(0, BRIEF)}…` : text);

const nameOf = (task) => (task.map_index < 0 ? task.task_id : `${task.task_id} [${task.map_index}]`);

// Errors are told in English, whatever the language of the page is.
const told = (task, write) => (task.text ? make("p", { class: "told", lang: "en" }, write(task.text)) : null);

const links = (one, task, docs) => {
  if (task.cause === "upstream") return [];
  const address = taskAddress(one, task);
  const key = `${one.run_id} ${nameOf(task)}`;
  return [
    make("a", { class: "quiet", "data-key": `log ${key}`, href: `${address}?try_number=${task.try_number}`, onclick: inAirflow }, words.openLog),
    make("a", { class: "quiet", "data-key": `again ${key}`, href: `${address}/details`, title: words.againHint, onclick: inAirflow }, words.again),
    docs ? make("a", { class: "quiet", "data-key": `docs ${key}`, href: docsAddress(docs), onclick: outside }, words.errorsPage) : null,
  ];
};

const docsAddress = (docs) => `${docs.replace(/\/?$/, "/")}${words.docsFolder}errors.html`;

// What will not mend itself is not tried again, whatever the task's number of tries is.
const tryOf = (task) =>
  task.is_lasting && !task.will_retry ? words.lastTry(task.try_number) : words.tryOf(task.try_number, task.tries);

const about = (task) =>
  [nameOf(task), tryOf(task), task.at ? time(task.at) : null].filter(Boolean).join(" · ");

// What is to be done. Nothing, if a task that will be tried again can mend itself.
const adviceOf = (task) =>
  [task.will_retry && !task.is_lasting ? null : remedyOf(task), task.will_retry ? words.retriesItself : null].filter(Boolean).join(" ");

const box = (one, task, docs) =>
  make(
    "div",
    { class: `failure ${task.will_retry ? "again" : ""}`, "data-failure": task.cause, "data-task": task.task_id },
    make(
      "h3", null, shape(task.will_retry ? "warning" : "failed"), failureTitle(task),
      task.error ? make("code", { lang: "en" }, task.error) : null,
    ),
    told(task, (text) => text),
    make("p", null, adviceOf(task)),
    make("p", { class: "links" }, make("span", null, about(task)), links(one, task, docs)),
  );

// All of it, for the import's own view.
export const failures = (one, docs) =>
  one.failed_tasks
    ? make(
        "section",
        { class: "failures", "aria-label": words.whyFailed },
        one.failed_tasks.map((task) => box(one, task, docs)),
        one.more_failed_tasks ? make("p", { class: "links" }, words.moreFailed(one.more_failed_tasks)) : null,
      )
    : null;

// The first of them in short, for the list.
export const failureInShort = (one) => {
  const task = one.failed_tasks?.[0];
  if (!task) return null;
  return make(
    "div",
    { class: `failure brief ${task.will_retry ? "again" : ""}`, "data-failure": task.cause },
    make("p", null, task.error ? make("code", { lang: "en" }, task.error) : null, task.error ? " " : null, adviceOf(task)),
    told(task, brief),
    make("p", { class: "links" }, make("span", null, about(task)), links(one, task).slice(0, 1)),
  );
};

// What is strange about an import that has not failed.
export const doubts = (one) => {
  const found = [];
  if (one.stalled_since !== undefined) found.push(["stalled", words.stalled(time(one.stalled_since))]);
  if (one.state === "unaccounted") found.push(["unaccounted", words.unaccountedHint(one.unaccounted)]);
  return found.map(([kind, text]) => make("p", { class: "warning", "data-warning": kind }, shape("warning"), make("span", null, text)));
};
