// SPDX-License-Identifier: Apache-2.0
// Links out of the frame that Airflow shows the page in. The frame itself lets none out.

const keepsWindow = (event) => event.ctrlKey || event.metaKey || event.shiftKey;

// Into Airflow: it follows its own history.
export const inAirflow = (event) => {
  if (parent === window || keepsWindow(event)) return;
  event.preventDefault();
  parent.history.pushState(null, "", event.currentTarget.href);
  parent.dispatchEvent(new PopStateEvent("popstate"));
};

// Elsewhere: Airflow's own page opens a new window.
export const outside = (event) => {
  if (parent === window || keepsWindow(event)) return;
  event.preventDefault();
  const link = parent.document.createElement("a");
  Object.assign(link, { href: event.currentTarget.href, target: "_blank", rel: "noopener noreferrer" });
  parent.document.body.append(link);
  link.click();
  link.remove();
};

export const runAddress = (one) => `../dags/${encodeURIComponent(one.dag_id)}/runs/${encodeURIComponent(one.run_id)}`;

export const taskAddress = (one, task) => {
  const address = `${runAddress(one)}/tasks/${encodeURIComponent(task.task_id)}`;
  return task.map_index < 0 ? address : `${address}/mapped/${task.map_index}`;
};
