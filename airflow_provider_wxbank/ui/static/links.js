// SPDX-License-Identifier: Apache-2.0
// Links within the page, and out of the frame that Airflow shows it in. The frame itself lets none out.
import { make } from "./elements.js";
import { words } from "./words.js";

const LIST = "wxbank-list";

export const address = (one) => `import?${new URLSearchParams({ dag_id: one.dag_id, run_id: one.run_id })}`;

// Whoever goes back finds the list as it was left.
export const keepList = (query) => sessionStorage.setItem(LIST, query);

export const backLink = () => {
  const query = sessionStorage.getItem(LIST);
  return make("a", { href: query ? `./?${query}` : "./", class: "back", id: "back" }, `← ${words.back}`);
};

// The address around the frame; undefined if there is none. Another site's frame cannot show this page.
const around = () => (parent === window ? undefined : parent.location);

const PLUGIN = "/plugin/wxbank";

// Where Airflow's own address says to begin. Its frame before 3.3 begins with the list, whatever is asked for.
export const wantedByAirflow = (route) => {
  const outer = around();
  if (!outer || route !== "" || location.search || document.referrer !== outer.href) return undefined;
  const [, page = ""] = outer.pathname.split(`${PLUGIN}${location.pathname}`);
  if (page !== "") return ["import", "package"].includes(page) ? `${page}${outer.search}` : undefined;
  return outer.search ? `./${outer.search}` : undefined;
};

// Airflow's address says what is seen, so that it can be kept and sent. The whole path of this page follows Airflow's
// own, as where its frame goes by it.
export const tellAirflow = () => {
  const outer = around();
  const [base] = outer?.pathname.split(PLUGIN) ?? [];
  if (base === undefined || !outer.pathname.startsWith(`${base}${PLUGIN}`)) return;
  parent.history.replaceState(parent.history.state, "", `${base}${PLUGIN}${location.pathname}${location.search}`);
};

const keepsWindow = (event) => event.ctrlKey || event.metaKey || event.shiftKey;

// Into Airflow: it follows its own history.
export const inAirflow = (event) => {
  if (parent === window || keepsWindow(event)) return;
  event.preventDefault();
  parent.history.pushState(null, "", event.currentTarget.href);
  parent.dispatchEvent(new PopStateEvent("popstate"));
};

// A click in Airflow's own page: its frame lets out no window, and before 3.3 no download.
export const clickAround = (attributes) => {
  const link = Object.assign(parent.document.createElement("a"), attributes);
  parent.document.body.append(link);
  link.click();
  link.remove();
};

// Elsewhere: Airflow's own page opens a new window.
export const outside = (event) => {
  if (parent === window || keepsWindow(event)) return;
  event.preventDefault();
  clickAround({ href: event.currentTarget.href, target: "_blank", rel: "noopener noreferrer" });
};

export const runAddress = (one) => `../dags/${encodeURIComponent(one.dag_id)}/runs/${encodeURIComponent(one.run_id)}`;

export const taskAddress = (one, task) => {
  const address = `${runAddress(one)}/tasks/${encodeURIComponent(task.task_id)}`;
  return task.map_index < 0 ? address : `${address}/mapped/${task.map_index}`;
};
