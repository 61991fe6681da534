// SPDX-License-Identifier: Apache-2.0
// Questions to the page's own server.
import { words } from "./words.js";

// What is told to whoever looks, instead of what was asked for.
export class Trouble extends Error {}

// signal: of an AbortController; whoever uses it is told by an AbortError.
export const ask = async (path, signal) => {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" }, credentials: "same-origin", signal });
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new Trouble(words.unreachable);
  }
  if (answer.ok) return answer.json();
  if (answer.status === 401) throw new Trouble(words.signedOut);
  if (answer.status === 403) throw new Trouble(words.notAllowed);
  if (answer.status === 404) throw new Trouble(words.gone);
  if (answer.status === 422) throw new Trouble(words.invalid);
  throw new Trouble(words.unreachable);
};

// Seconds until the page asks again.
export const ASKING_SECONDS = 2;
const BUSY_SECONDS = 15;
const QUIET_SECONDS = 60;

export const isBusy = (one) => ["exporting", "exported", "uploading", "processing"].includes(one.state);
export const pace = (busy) => (busy ? BUSY_SECONDS : QUIET_SECONDS);
