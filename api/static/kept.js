// Marks that could not be sent are kept in this browser, and sent in their order when the server responds again.
import { request } from "./api.js";

const NAME = "hearthwatch.marks";
/** The marks that wait, oldest first: the request, the keys that it marks, and how. */
export function kept() {
  try { return JSON.parse(localStorage.getItem(NAME)) ?? []; } catch { return []; }
}
function store(marks) {
  try { localStorage.setItem(NAME, JSON.stringify(marks)); return true; } catch { return false; }
}
/** Keep a mark; false: this browser stores nothing for this page, so it is lost. */
export const keep = (mark) => store([...kept(), mark]);
/** Delete the marks of this request that wait; whether there was one. */
export const drop = (method, path) => { const all = kept(), left = all.filter((m) => m.method !== method || m.path !== path); return left.length < all.length && store(left); };

let sending = null;
/** Send what waits; resolves to the number that was sent and what the server refused, in words. */
export const sendKept = () => sending ??= send().finally(() => { sending = null; });
async function send() {
  const done = { sent: 0, refused: [] };
  for (let next; (next = kept()[0]);) {
    try { await request(next.method, next.path, next.body); done.sent += 1; } catch (error) {
      if (error.unsent) break; // later
      if (error.status !== 409) done.refused.push(error.message);
    }
    store(kept().slice(1));
  }
  return done;
}
