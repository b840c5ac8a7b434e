// The review inbox: incidents to review by risk, then newest; below them the reviewed ones by day. One unfolds into its events.
import { $, h, put } from "./dom.js";
import { cameraName, key, listed, state } from "./state.js";
import { journal } from "./journal.js";
import { ago, badges, clock, dayName, glyph, number, plural, risk, things } from "./text.js";
import { filters, href } from "./url.js";

const MORE = 40;
const LIMIT_MAX = 1000; // of the API

/** A picture, or a placeholder: uploads can be deleted while their events stay. */
export const picture = (src, width, height, rest = {}) =>
  h("img", { src: !src || state.missing.has(src) ? "static/none.svg" : src, alt: "", width, height, ...rest });

const isUnfolded = (i) => state.incident?.id === i.id;
const at = (i) => clock(i.started_at) === clock(i.last_at) ? clock(i.started_at) : `${clock(i.started_at)}–${clock(i.last_at)}`;
export const names = (i) => i.camera_names.length > 3 ? `${i.camera_names.slice(0, 2).join(", ")} and ${i.camera_names.length - 2} more` : i.camera_names.join(", ");
/** An event leads to its page, and so does an incident that is one event; any other unfolds. */
function link(x) {
  const one = !("event_count" in x) ? x.id : x.event_count === 1 && !isUnfolded(x) && x.gravest_event_id;
  const set = one ? { event: one } : { incident: isUnfolded(x) ? "" : x.id };
  return h("a", { href: href(set), data: { set: JSON.stringify(set) }, "aria-expanded": !one && String(isUnfolded(x)) }, x.summary || "Objects were detected.");
}
const inside = (i) => isUnfolded(i) && h("li.inside", { data: { key: `in${i.id}` } }, h("ol.rows", { "aria-label": "Events" }, state.incident.events.map(row)));
const card = (i) => [h("li.card", { data: { id: key(i) } }, h("article",
  picture(i.thumbnail_url, 208, 117, { loading: "lazy" }), risk(i),
  h("div.what", h("p.where", h("strong", names(i)), " ", h("span", at(i)), " ", ago(i.last_at)), h("h3", link(i)),
    h("ul.chips", things(i.objects), i.event_count > 1 && h("li", { data: { fold: isUnfolded(i) } }, plural(i.event_count, "event")), h("li.plain", plural(i.frame_count, "frame")), badges(i))),
  h("button.quiet.tick", { type: "button", data: { do: "review", id: key(i) }, "aria-label": `Mark as reviewed: ${i.summary}` }, "Reviewed ", h("kbd", "r")))), inside(i)];
/** A reviewed incident, or an event of an unfolded one. */
const row = (x) => h("li.row", { data: { id: key(x) }, class: x.reviewed && "done" },
  h("time", { datetime: x.started_at }, clock(x.started_at)),
  h("span.score", { data: { level: x.risk_level } }, glyph(x.risk_level), h("b", x.risk_score), h("span.sr", x.risk_level)),
  h("span.cam", "event_count" in x ? names(x) : cameraName(x.camera_id)), link(x),
  h("span.objs", x.event_count > 1 ? plural(x.event_count, "event") : Object.keys(x.objects).join(", "), x.reviewed && h("span.sr", ", reviewed")));

export function drawInbox() {
  const box = $("inbox"), on = filters(), only = on.get("reviewed");
  if (!state.incidents) {
    return put(box, state.lost && h("div.empty", h("h2", "Nothing to show yet"), h("p", "The events appear as soon as the server responds.")));
  }
  if (state.status?.watching === null && !state.incidents.count) return put(box, journal());
  if (state.status?.cameras_total === 0 && !state.incidents.count) return put(box, firstRun());
  const list = listed(), open = list.filter((i) => !i.reviewed), done = list.filter((i) => i.reviewed);
  const left = Math.min(state.incidents.count, LIMIT_MAX) - state.incidents.incidents.length;
  put(box,
    only !== "true" && (open.length > 0 || !done.length || !on.size) && header(open, on),
    open.length > 0 ? h("ol.cards", open.map(card)) : !(on.size && done.length) && nothing(on, done),
    days(done).map(([day, some]) => [
      h("header.day", { data: { key: `d${day}` } }, h("h2", day), h("p", `${plural(some.length, "incident")} reviewed`)),
      h("ol.rows", { data: { key: `r${day}` } }, some.map((i) => [row(i), inside(i)]))]),
    left > 0 && h("button.quiet.wide", { type: "button", data: { do: "more-events" } }, `Show ${Math.min(MORE, left)} more of ${number(state.incidents.count)}`));
  mark();
}
/** Consecutive incidents of one day. */
function days(incidents) {
  const found = new Map();
  for (const i of incidents) found.set(dayName(i.started_at), [...found.get(dayName(i.started_at)) ?? [], i]);
  return [...found];
}
function header(open, on) {
  const low = open.filter((i) => i.risk_level === "low").length, narrowed = [...on.keys()].some((k) => k !== "risk_level" && k !== "reviewed");
  return h("header", h("h2", "To review", open.length > 0 && h("b", ` ${number(Math.max(state.incidents.unreviewed, open.length))}`)),
    h("p", open.length > 1 && "by risk, then newest"),
    low > 1 && !narrowed && h("button.quiet.sweep", { type: "button", data: { do: "all-low" } }, "Mark all low reviewed"));
}
function nothing(on, done) {
  if (on.size) return h("div.empty", h("h3", "Nothing matches"), h("p", "No incident fits these filters."),
    h("button.quiet", { type: "button", data: { do: "clear" } }, "Clear the filters"));
  const t = state.status?.today, last = done[0];
  return h("div.empty", h("h3", "Nothing to review"), h("p",
    t ? `${plural(t.images, "picture")} since midnight, ${plural(t.events, "event")}, none to review.` : "All events are reviewed.",
    last && [" The last one was ", ago(last.last_at), ` at ${names(last)}.`]));
}
function firstRun() {
  const s = state.status, folder = s.watching ?? "", path = `${folder.replace(/\/$/, "")}/front_door/`;
  const step = (ok, what, how) => h("li", { class: ok }, what, h("span", how));
  const fine = (is) => is === "ok" ? "ok" : "";
  return h("div.first", h("h2", "Waiting for the first picture"),
    h("p", "Every folder below ", h("code", folder), " is a camera. Point a camera's FTP upload at one, or drop a JPEG into ", h("code", "…/front_door/"), " to test:"),
    h("pre", { tabindex: 0 }, h("code", `mkdir -p ${path}\ncp any-photo.jpg ${path}`)),
    h("button.quiet", { type: "button", data: { do: "copy", text: `mkdir -p ${path} && cp any-photo.jpg ${path}` } }, "Copy the commands"),
    h("ol.steps", step(s.at ? "ok" : "", "Pipeline runs", s.at ? "ok" : "not yet"), step(fine(s.detector), "Detector is loaded", s.detector ?? "not yet"),
      s.llm && s.llm !== "disabled" && step(fine(s.llm), "Language model responds", s.llm), step("now", "First picture", "waiting…")),
    h("p.hint", "A picture with a person in it becomes an event at once; the event closes about 30 seconds after its last picture."));
}

/** Keys in the order of j, k and "mark as reviewed". */
export const order = () => [...document.querySelectorAll("#inbox li[data-id]")].map((li) => li.dataset.id);
const item = (k) => document.querySelector(`#inbox li[data-id="${k}"]`);
function mark() {
  for (const li of document.querySelectorAll("#inbox li[data-id]")) {
    const selected = li.dataset.id === state.selected, a = li.querySelector("a");
    li.classList.toggle("selected", selected);
    if (selected) a.setAttribute("aria-current", "true"); else a.removeAttribute("aria-current");
  }
}
/** Select an incident, or an event: its incident where that is not unfolded. */
export function select(k, { focus = true } = {}) {
  const one = !item(k) && (state.event?.id === Number(k) ? state.event.incident_id : listed().find((i) => i.event_count === 1 && i.gravest_event_id === Number(k))?.id);
  state.selected = one ? `i${one}` : k;
  mark();
  if (focus) item(state.selected)?.querySelector("a").focus({ preventScroll: true });
  for (const li of [item(state.selected)?.nextElementSibling, item(state.selected)]) li?.scrollIntoView({ block: "nearest" }); // with its events
}
