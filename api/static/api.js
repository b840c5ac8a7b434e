// Requests to the server: JSON over fetch, the session, the live stream.
import { $ } from "./dom.js";
import { capital, setClock } from "./text.js";

const TIMEOUT_MS = 15_000; // then the server counts as unavailable

/** Send a request; returns JSON, or throws an Error to show, with `status` (undefined: no response), `body`, and `unsent` if it may be sent again. */
export async function request(method, path, body, timeout = TIMEOUT_MS) {
  let response;
  try {
    response = await fetch(path, {
      method, signal: AbortSignal.timeout(timeout), headers: { Accept: "application/json", ...body && { "Content-Type": "application/json" } },
      body: body && JSON.stringify(body), keepalive: method === "PATCH", // a mark is sent even if the tab is closed right after
    });
  } catch { throw Object.assign(new Error("The server does not respond."), { unsent: { method, path, body } }); }
  if (response.status === 401) { await signIn(); return request(method, path, body, timeout); }
  setClock(Date.parse(response.headers.get("Date")) + 500); // whole seconds, half a second late on average
  const content = parse(await response.text().catch(() => ""));
  if (!response.ok) throw Object.assign(new Error(errorText(content, response)), { status: response.status, body: content, ...response.status >= 500 && { unsent: { method, path, body } } });
  return content;
}
/** Parse JSON, or give null; paths of pictures become relative, so that they are found below any path that a proxy has. */
function parse(text) {
  try { return JSON.parse(text, (name, value) => name.endsWith("_url") && typeof value === "string" ? value.replace(/^\//, "") : value); } catch { return null; }
}
function errorText(content, response) {
  const invalid = Array.isArray(content?.detail) && content.detail.map((d) => `${d.loc?.at(-1)}: ${d.msg}`).join("; ");
  const detail = invalid || (content?.detail?.error ?? content?.detail);
  return typeof detail === "string" ? `${capital(detail.replace(/\.$/, ""))}.` : `The server responded ${response.status} ${response.statusText}`.trim() + ".";
}

/** Ask for the token, once for all waiting requests; resolves when the server has accepted it. */
let signingIn = null;
function signIn() {
  signingIn ??= new Promise((done) => {
    const dialog = $("token"), form = dialog.querySelector("form"), wrong = $("token-wrong");
    form.onsubmit = async (ev) => {
      ev.preventDefault();
      const response = await fetch("api/session", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: form.elements.token.value }),
      }).catch(() => null);
      wrong.hidden = Boolean(response?.ok);
      wrong.textContent = response ? response.status === 429 ? "Too many attempts: try again in a few seconds." : "The token is wrong." : "The server does not respond.";
      if (!response?.ok) return form.elements.token.select();
      form.reset(); dialog.close(); signingIn = null; done();
    };
    dialog.oncancel = (ev) => ev.preventDefault();
    if (!dialog.open) dialog.showModal();
  });
  return signingIn;
}

/** Call `on.status(status)`, `on.news()` at every message of an event or incident, `on.open()` after every connection, `on.error()` when it breaks; reconnects for ever. */
export function live(on) {
  const source = new EventSource("api/live");
  source.addEventListener("open", () => on.open());
  source.addEventListener("status", (ev) => on.status(JSON.parse(ev.data)));
  for (const kind of ["event", "incident", "item"]) source.addEventListener(kind, on.news);
  source.addEventListener("error", () => {
    on.error();
    if (source.readyState === EventSource.CLOSED) setTimeout(() => live(on), 3000); // refused: the browser does not reconnect
  });
}

export const getStatus = () => request("GET", "api/status");
/** Cameras by name, Camera 2 before Camera 10. */
export const getCameras = async () => byName((await request("GET", "api/cameras")).cameras, "name");
export const byName = (cameras, name) => cameras.sort((a, b) => a[name].localeCompare(b[name], "en", { numeric: true }));
export const getIncidents = (query) => request("GET", `api/incidents?${query}`);
export const getIncident = (id) => request("GET", `api/incidents/${id}`);
/** Change an event by its key, `5`, or an incident, `i5`. */
export const patch = (key, changes) => request("PATCH", key[0] === "i" ? `api/incidents/${key.slice(1)}` : `api/events/${key}`, changes);
export const patchEvents = (changes) => request("PATCH", "api/events", changes);
export const reviewMatching = (query) => request("PATCH", `api/incidents?${query}`, { reviewed: true });
export const retry = (frame) => request("POST", `api/system/quarantine/${frame}/retry`);

export const getEvent = (id) => request("GET", `api/events/${id}`);
