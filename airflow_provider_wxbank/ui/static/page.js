// SPDX-License-Identifier: Apache-2.0
// The page: all imports at ./, one DAG run's at ./import, a package that was filled elsewhere at ./package.
import { Trouble, pace } from "./asking.js";
import { importView } from "./detail.js";
import { listView } from "./list.js";
import { packageView } from "./package.js";
import { tellAirflow, wantedByAirflow } from "./links.js";
import { clockTime, language, words } from "./words.js";

const main = document.getElementById("main");
const trouble = document.getElementById("trouble");
const refreshed = document.getElementById("refreshed");
const query = new URLSearchParams(location.search);
const route = location.pathname.split("/").at(-1);

const tell = (failure) => {
  if (!(failure instanceof Trouble)) throw failure;
  trouble.textContent = failure.message;
  trouble.hidden = false;
};

// view: given what asks anew at once, and what says what went wrong, gives what refreshes the page.
const keepFresh = (view) => {
  let timer;
  let next = 0;
  const run = async () => {
    clearTimeout(timer);
    let seconds = pace(true);
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
      clearTimeout(timer);
      timer = setTimeout(wake, seconds * 1000);
    }
  };
  // Nobody is asked for a page that nobody sees.
  const wake = () => {
    if (document.hidden) return;
    if (Date.now() >= next - 50) run();
  };
  const refresh = view(run);
  document.addEventListener("visibilitychange", wake);
  document.getElementById("refresh").addEventListener("click", run);
  run();
};

const views = { import: () => importView(main, query), package: () => packageView(main, query) };

document.documentElement.lang = language;
document.title = words.title;
document.getElementById("title").textContent = words.title;
document.getElementById("refresh").textContent = words.refresh;
refreshed.textContent = words.loading;
main.setAttribute("aria-busy", "true");

const wanted = wantedByAirflow(route);
if (wanted !== undefined) location.replace(wanted);
else {
  tellAirflow();
  keepFresh(views[route] ?? ((again) => listView(main, again, tell)));
}
