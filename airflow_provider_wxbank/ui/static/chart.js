// SPDX-License-Identifier: Apache-2.0
// The match rate over the imports of a package: a column each, oldest first.
import { draw, make } from "./elements.js";
import { percent, time, words } from "./words.js";

const HEIGHT = 56;
const STEP = 14;
const COLUMN = 10;
const MOST = 40;

export const matchRate = (one) => {
  const counted = (one.success_count ?? 0) + (one.fail_count ?? 0);
  return one.success_count === undefined || !counted ? null : one.success_count / counted;
};

export const chart = (imports) => {
  const counted = imports.filter((one) => matchRate(one) !== null).slice(0, MOST).reverse();
  if (!counted.length) return null;
  const width = Math.max(counted.length * STEP, 84);
  const said = counted.map((one) => {
    const text = words.rateOf(time(one.begin), percent(matchRate(one)));
    return one.failed_files ? `${text} (${words.noMatch}: ${one.failed_files})` : text;
  });
  const picture = draw("svg", {
    viewBox: `0 0 ${width} ${HEIGHT + 2}`,
    width,
    height: HEIGHT + 2,
    role: "img",
    "aria-label": `${words.matchRates(counted.length)}. ${said.join("; ")}`,
  });
  for (const share of [0, 0.5, 1]) {
    const y = 1 + HEIGHT * (1 - share);
    picture.append(draw("line", { x1: 0, x2: width, y1: y, y2: y, class: "rule" }));
  }
  counted.forEach((one, index) => {
    const height = Math.max(HEIGHT * matchRate(one), 1.5);
    if (one.failed_files) {
      picture.append(draw("text", { x: index * STEP + STEP / 2, y: Math.max(HEIGHT - height - 2, 10), class: "mark" }, "!"));
    }
    picture.append(
      draw(
        "rect",
        {
          x: index * STEP + (STEP - COLUMN) / 2,
          y: 1 + HEIGHT - height,
          width: COLUMN,
          height,
          class: one.failed_files ? "column suspect" : "column",
        },
        draw("title", null, said[index]),
      ),
    );
  });
  const latest = percent(matchRate(counted.at(-1)));
  return make(
    "figure",
    { class: "chart", "data-chart": true },
    make("figcaption", null, words.matchRate, " ", make("strong", null, latest)),
    make("div", { class: "plot" }, picture, make("div", { class: "scale", "aria-hidden": "true" }, make("span", null, "100%"), make("span", null, "0"))),
  );
};
