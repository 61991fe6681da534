// SPDX-License-Identifier: Apache-2.0
// The imports of a package over time, a column each, oldest first: how many numbers matched, and how long it took.
import { draw, make } from "./elements.js";
import { address } from "./links.js";
import { day, duration, percent, time, words } from "./words.js";

const HEIGHT = 56;
const STEP = 14;
const COLUMN = 10;
const MOST = 40;

export const matchRate = (one) => {
  const counted = (one.success_count ?? 0) + (one.fail_count ?? 0);
  return one.success_count === undefined || !counted ? null : one.success_count / counted;
};

const seconds = (one) => (one.begin === undefined || one.end === undefined ? null : Math.max(one.end - one.begin, 0));

const isSuspect = (one) => Boolean(one.failed_files || one.unaccounted);

// title: of all; said: what each column is; values: of the columns, none of them more than most.
const columns = (imports, { title, said, values, most, scale, kind }) => {
  const width = Math.max(imports.length * STEP, 84);
  const picture = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT + 2}`, width, height: HEIGHT + 2, role: "img", "aria-label": `${title}. ${said.join("; ")}` });
  for (const share of [0, 0.5, 1]) {
    const y = 1 + HEIGHT * (1 - share);
    picture.append(draw("line", { x1: 0, x2: width, y1: y, y2: y, class: "rule" }));
  }
  imports.forEach((one, index) => {
    const height = Math.max((HEIGHT * values[index]) / (most || 1), 1.5);
    const suspect = kind === "rate" && isSuspect(one);
    if (suspect) {
      picture.append(draw("text", { x: index * STEP + STEP / 2, y: Math.max(HEIGHT - height - 2, 10), class: "mark" }, "!"));
    }
    const column = draw(
      "rect",
      {
        x: index * STEP + (STEP - COLUMN) / 2, y: 1 + HEIGHT - height, width: COLUMN, height,
        class: `column ${kind} ${suspect ? "suspect" : ""}`,
      },
      draw("title", null, said[index]),
    );
    // What is low is easily hit, too. With the keyboard, the import itself is the link.
    const open = () => location.assign(address(one));
    const whole = draw(
      "rect",
      { x: index * STEP, y: 0, width: STEP, height: HEIGHT + 2, class: "hit", "data-column": one.run_id, onclick: open },
      draw("title", null, said[index]),
    );
    picture.append(column, whole);
  });
  const ends = [imports[0], imports.at(-1)].map((one) => day(one.begin));
  return make(
    "div",
    { class: "plot" },
    make(
      "div",
      null,
      picture,
      make("div", { class: "days", "aria-hidden": "true" }, make("span", null, ends[0]), ends[1] === ends[0] ? null : make("span", null, ends[1])),
    ),
    make("div", { class: "scale", "aria-hidden": "true" }, scale.map((text) => make("span", null, text))),
  );
};

const figure = (name, caption, latest, plot) =>
  make("figure", { class: "chart", "data-chart": name }, make("figcaption", null, caption, " ", make("strong", null, latest)), plot);

export const chart = (imports) => {
  const counted = imports.filter((one) => matchRate(one) !== null).sort((a, b) => (a.begin ?? 0) - (b.begin ?? 0)).slice(-MOST);
  if (!counted.length) return null;
  const rates = counted.map(matchRate);
  const rateSaid = counted.map((one, index) => {
    const text = words.rateOf(time(one.begin), percent(rates[index]));
    return one.failed_files ? `${text} (${words.noMatch}: ${one.failed_files})` : text;
  });
  const found = [
    figure(
      "rate", words.matchRate, percent(rates.at(-1)),
      columns(counted, { title: words.matchRates(counted.length), said: rateSaid, values: rates, most: 1, scale: ["100%", "0"], kind: "rate" }),
    ),
  ];
  const timed = counted.filter((one) => seconds(one) !== null);
  if (timed.length) {
    const taken = timed.map(seconds);
    const most = Math.max(...taken);
    const said = timed.map((one, index) => words.rateOf(time(one.begin), duration(taken[index])));
    found.push(
      figure(
        "duration", words.duration, duration(taken.at(-1)),
        columns(timed, { title: words.durations(timed.length), said, values: taken, most, scale: [duration(most), "0"], kind: "duration" }),
      ),
    );
  }
  return make("div", { class: "charts" }, found);
};
