// SPDX-License-Identifier: Apache-2.0
// What is seen of an import: its steps, its bars, its facts.
import { bar, fact, make, shape } from "./elements.js";
import { matchRate } from "./chart.js";
import { moment as asText } from "./downloads.js";
import { exactTime, number, percent, time, words } from "./words.js";

const FINISHED = ["finished", "unmatched", "unaccounted"];
const KINDS = { none: "skipped", todo: "todo", running: "busy", retrying: "busy", done: "done", failed: "failed", skipped: "skipped" };

export const isFinished = (one) => FINISHED.includes(one.state);

export const moment = (seconds) =>
  seconds === undefined ? null : make("time", { datetime: asText(seconds), title: exactTime(seconds) }, time(seconds));

export const importAttributes = (one) => ({
  "data-import": true, "data-dag-id": one.dag_id, "data-run-id": one.run_id, "data-package-id": one.package_id,
  "data-state": one.state,
});

export const packageLinks = (one) =>
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

const failedStep = (one) => ["export", "upload", "wait"].find((step) => one.steps[step] === "failed");

// Together with the match rate as it is shown, it is all of them.
const missedShare = (one) => percent(1 - Math.floor(matchRate(one) * 1000) / 1000 + 1e-9);

export const stateText = (one) => {
  if (one.state === "unmatched" && one.fail_count === undefined) return words.states.unmatched;
  if (one.state === "unmatched") return words.unmatched(missedShare(one));
  if (one.state === "unaccounted") return words.unaccounted(number(one.unaccounted));
  const failed = failedStep(one);
  if (failed) return words.steps[failed].failed;
  const retrying = Object.values(one.steps).includes("retrying");
  return retrying ? words.retrying(words[one.state]) : words[one.state];
};

export const state = (one) => {
  const kinds = { failed: "failed", skipped: "skipped", finished: "done", unmatched: "warning", unaccounted: "warning" };
  const kind = kinds[one.state] ?? "busy";
  return make("span", { class: `state ${kind}`, "data-state": one.state }, shape(kind), stateText(one));
};

// The steps that the DAG has, each in words that say how far it is: icons alone say nothing to a screen reader.
export const steps = (one) => {
  const failed = failedStep(one);
  let isBehind = false;
  const items = Object.entries(one.steps)
    .filter(([, now]) => now !== "none")
    .map(([step, now]) => {
      // What follows a failed step did not fail itself: it was never begun.
      const kind = isBehind ? "todo" : KINDS[now];
      isBehind ||= step === failed;
      const text = words.steps[step][kind];
      const current = kind === "busy" || kind === "failed";
      return make("li", { class: kind, "data-step": step, "aria-current": current ? "step" : null }, shape(kind), make("span", null, text));
    });
  return make("ol", { class: "steps" }, items);
};

export const nameOf = (one) => {
  if (one.package_id !== undefined) return words.package(one.package_id);
  return ["exporting", "exported"].includes(one.state) ? words.packageLater : words.noPackage;
};

export const bars = (one) => [filesBar(one), numbersBar(one)];

const filesBar = (one) => {
  const { files, uploaded, finished } = one;
  const whole = files ?? uploaded;
  const ready = ["processing", "uploaded", ...FINISHED].includes(one.state) || finished > 0;
  let text = words.notKnown;
  if (ready && finished !== undefined && whole !== undefined) text = words.ofProcessed(number(finished), number(whole));
  else if (uploaded || (one.state === "uploading" && uploaded === 0)) {
    text = files ? words.ofUploaded(number(uploaded), number(files)) : words.uploadedSoFar(number(uploaded));
  } else if (files && uploaded === 0) text = words.exportedCount(number(files));
  return bar(words.files, text, [["finished", finished ?? 0], ["sent", (uploaded ?? 0) - (finished ?? 0)]], whole ?? 0);
};

const numbersBar = (one) => {
  const whole = one.rows ?? one.rows_uploaded;
  if (one.success_count !== undefined) {
    const text = words.matchedOf(number(one.success_count), number(one.success_count + one.fail_count));
    const all = Math.max(whole ?? 0, one.success_count + one.fail_count);
    return bar(words.numbers, text, [["finished", one.success_count], ["missed", one.fail_count]], all);
  }
  // WeChat Pay tells which files are finished, not how many numbers are.
  const sent = one.rows_uploaded;
  const processed = sent && one.uploaded && one.finished !== undefined ? Math.round((sent * one.finished) / one.uploaded) : 0;
  let text = words.notKnown;
  if (["processing", "uploaded"].includes(one.state) && sent !== undefined && one.finished !== undefined) {
    text = (processed ? words.aboutProcessed : words.ofProcessed)(number(processed), number(whole));
  } else if (sent || (one.state === "uploading" && sent === 0 && whole)) text = words.ofUploaded(number(sent), number(whole));
  else if (whole && sent === 0) text = words.exportedCount(number(whole));
  return bar(words.numbers, text, [["finished", processed], ["sent", (sent ?? 0) - processed]], whole ?? 0);
};

export const rate = (one) => {
  const share = matchRate(one);
  return share === null ? "–" : percent(share);
};

// isWide: where there is room for all of them.
export const facts = (one, now, isWide) => {
  const found = [];
  if (one.success_count !== undefined) {
    found.push(
      fact(words.matchRate, rate(one), { "data-fact": "rate" }),
      fact(words.matched, number(one.success_count), { "data-fact": "matched" }),
      fact(words.notMatched, number(one.fail_count), { "data-fact": "not-matched" }),
      fact(words.users, number(one.success_user_count), { "data-fact": "users" }),
    );
  }
  if (one.expected !== undefined) {
    const late = one.expected < now;
    const value = [time(one.expected), late ? make("small", null, ` ${words.late}`) : null];
    found.push(fact(words.expected, value, { "data-fact": "expected", title: words.expectedHint }));
  }
  if (one.unaccounted) found.push(fact(words.notAccounted, number(one.unaccounted), { "data-fact": "unaccounted" }));
  if (one.numbers_an_hour && (isWide || !isFinished(one))) {
    found.push(fact(words.numbersAnHour, number(Math.round(one.numbers_an_hour)), { "data-fact": "speed", title: words.numbersAnHourHint }));
  }
  if (one.skipped) found.push(fact(words.skippedRows, number(one.skipped), { "data-fact": "skipped" }));
  return make("dl", { class: "facts" }, found);
};

export const note = (kind, text) => make("p", { class: "warning", "data-warning": kind }, shape("warning"), make("span", null, text));

export const warning = (one) => (one.failed_files ? note("key", words.keyMistake(one.failed_files)) : null);

export const unreadable = (count) => (count ? note("unreadable", words.unreadable(count)) : null);
