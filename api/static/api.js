// The seam to the server: JSON over fetch, the session, the live stream. Shapes that the page reads are named here.
import { $ } from "./dom.js";
import { capital, setClock } from "./text.js";

const ANSWER_MS = 15_000; // a server that is silent for longer counts as gone

/** Asks the API; the answer's JSON, or an Error for the reader with `status` (undefined: no answer) and `body`. */
export async function request(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method, signal: AbortSignal.timeout(ANSWER_MS), headers: { Accept: "application/json", ...body && { "Content-Type": "application/json" } },
      body: body && JSON.stringify(body), keepalive: method === "PATCH", // a mark counts even if the tab is closed right after
    });
  } catch { throw new Error("The server does not answer."); }
  if (answer.status === 401) { await token(); return request(method, path, body); }
  setClock(Date.parse(answer.headers.get("Date")) + 500); // it has whole seconds: half of one is nearest
  const said = await answer.json().catch(() => null);
  if (!answer.ok) throw Object.assign(new Error(reason(said, answer)), { status: answer.status, body: said });
  return said;
}
function reason(said, answer) {
  const wrong = Array.isArray(said?.detail) && said.detail.map((d) => `${d.loc?.at(-1)}: ${d.msg}`).join("; ");
  const detail = wrong || (said?.detail?.error ?? said?.detail);
  return typeof detail === "string" ? `${capital(detail.replace(/\.$/, ""))}.` : `The server answered ${answer.status} ${answer.statusText}`.trim() + ".";
}

/** Asks for the token, once for all who wait; resolves when the server has taken it. */
let asking = null;
function token() {
  asking ??= new Promise((done) => {
    const dialog = $("token"), form = dialog.querySelector("form"), wrong = $("token-wrong");
    form.onsubmit = async (ev) => {
      ev.preventDefault();
      const answer = await fetch("api/session", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: form.elements.token.value }),
      }).catch(() => null);
      wrong.hidden = Boolean(answer?.ok);
      wrong.textContent = answer ? "That is not the token." : "The server does not answer.";
      if (!answer?.ok) return form.elements.token.select();
      form.reset(); dialog.close(); asking = null; done();
    };
    dialog.oncancel = (ev) => ev.preventDefault();
    if (!dialog.open) dialog.showModal();
  });
  return asking;
}

/** Calls `on.status(status)`, `on.event(message)`, `on.back()` after every (re)connection; comes back by itself, for ever. */
export function live(on) {
  const source = new EventSource("api/live");
  source.addEventListener("open", () => on.back());
  source.addEventListener("status", (ev) => on.status(JSON.parse(ev.data)));
  source.addEventListener("event", (ev) => on.event(JSON.parse(ev.data)));
  source.addEventListener("error", () => {
    on.gone();
    if (source.readyState === EventSource.CLOSED) setTimeout(() => live(on), 3000); // refused: the browser would give up
  });
}

export const getStatus = () => request("GET", "api/status");
export const getCameras = async () => (await request("GET", "api/cameras")).cameras;
export const getEvents = (query) => request("GET", `api/events?${query}`);
export const patchEvent = (id, changes) => request("PATCH", `api/events/${id}`, changes);
export const patchEvents = (changes) => request("PATCH", "api/events", changes);
export const retry = (frame) => request("POST", `api/system/quarantine/${frame}/retry`);

export const getEvent = (id) => request("GET", `api/events/${id}`);
