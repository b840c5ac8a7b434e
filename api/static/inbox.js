// The review inbox: events to review by risk, then newest; below them the reviewed ones by day.
import { $, h, put } from "./dom.js";
import { cameraName, state } from "./state.js";
import { ago, badges, clock, dayName, glyph, number, plural, risk, things } from "./text.js";
import { filters, href } from "./url.js";

const MORE = 40;
const LIMIT_MAX = 1000; // of the API

/** A picture, or a placeholder: uploads can be deleted while their events stay. */
export const picture = (src, width, height, rest = {}) =>
  h("img", { src: !src || state.missing.has(src) ? "static/none.svg" : src, alt: "", width, height, ...rest });

const card = (e) => h("li.card", { data: { id: e.id } }, h("article",
  picture(e.thumbnail_url, 208, 117, { loading: "lazy" }), risk(e),
  h("div.what", h("p.where", h("strong", cameraName(e.camera_id)), " ", ago(e.started_at)),
    h("h3", h("a", { href: href({ event: e.id }), data: { event: e.id } }, e.summary || "Objects were detected.")),
    h("ul.chips", things(e.objects), h("li.plain", plural(e.frame_count, "frame")), badges(e))),
  h("button.quiet.tick", { type: "button", data: { do: "review", id: e.id }, "aria-label": `Mark as reviewed: ${e.summary}` }, "Reviewed ", h("kbd", "r"))));

const row = (e) => h("li.row", { data: { id: e.id } },
  h("time", { datetime: e.started_at }, clock(e.started_at)),
  h("span.score", { data: { level: e.risk_level } }, glyph(e.risk_level), h("b", e.risk_score), h("span.sr", e.risk_level)),
  h("span.cam", cameraName(e.camera_id)), h("a", { href: href({ event: e.id }), data: { event: e.id } }, e.summary || "Objects were detected."),
  h("span.objs", Object.keys(e.objects).join(", ")));

export function drawInbox() {
  const box = $("inbox"), on = filters(), only = on.get("reviewed");
  if (!state.events) {
    return put(box, state.lost && h("div.empty", h("h2", "Nothing to show yet"), h("p", "The events appear as soon as the server responds.")));
  }
  if (state.status?.cameras_total === 0 && !state.events.count) return put(box, firstRun());
  const list = state.events.events, open = list.filter((e) => !e.reviewed), done = list.filter((e) => e.reviewed);
  const left = Math.min(state.events.count, LIMIT_MAX) - list.length;
  put(box,
    only !== "true" && (open.length > 0 || !done.length || !on.size) && header(open, on),
    open.length > 0 ? h("ol.cards", open.map(card)) : !(on.size && done.length) && nothing(on, done),
    days(done).map(([day, events]) => [
      h("header.day", { data: { key: `d${day}` } }, h("h2", day), h("p", `${plural(events.length, "event")} reviewed`)),
      h("ol.rows", { data: { key: `r${day}` } }, events.map(row))]),
    left > 0 && h("button.quiet.wide", { type: "button", data: { do: "more-events" } }, `Show ${Math.min(MORE, left)} more of ${number(state.events.count)}`));
  mark();
}
/** Consecutive events of one day. */
function days(events) {
  const found = new Map();
  for (const e of events) found.set(dayName(e.started_at), [...found.get(dayName(e.started_at)) ?? [], e]);
  return [...found];
}
function header(open, on) {
  const all = on.size || state.events.count > state.events.events.length ? open.length : state.status?.to_review ?? open.length;
  const low = open.filter((e) => e.risk_level === "low").length, narrowed = [...on.keys()].some((k) => k !== "risk_level" && k !== "reviewed");
  return h("header", h("h2", "To review", open.length > 0 && h("b", ` ${number(Math.max(all, open.length))}`)),
    h("p", open.length > 1 && "by risk, then newest"),
    low > 1 && !narrowed && h("button.quiet.sweep", { type: "button", data: { do: "all-low" } }, "Mark all low reviewed"));
}
function nothing(on, done) {
  if (on.size) return h("div.empty", h("h3", "No event matches"), h("p", "Nothing fits these filters."),
    h("button.quiet", { type: "button", data: { do: "clear" } }, "Clear the filters"));
  const t = state.status?.today, last = done[0];
  return h("div.empty", h("h3", "Nothing to review"), h("p",
    t ? `${plural(t.images, "picture")} since midnight, ${plural(t.events, "event")}, none to review.` : "All events are reviewed.",
    last && [" The last one was ", ago(last.started_at), ` at ${cameraName(last.camera_id)}.`]));
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

/** Ids in the order of j, k and "mark as reviewed". */
export const order = () => [...document.querySelectorAll("#inbox li[data-id]")].map((li) => +li.dataset.id);
const item = (id) => document.querySelector(`#inbox li[data-id="${id}"]`);
function mark() {
  for (const li of document.querySelectorAll("#inbox li[data-id]")) {
    const selected = +li.dataset.id === state.selected, a = li.querySelector("a");
    li.classList.toggle("selected", selected);
    if (selected) a.setAttribute("aria-current", "true"); else a.removeAttribute("aria-current");
  }
}
export function select(id, { focus = true } = {}) {
  state.selected = id;
  mark();
  if (focus) item(id)?.querySelector("a").focus({ preventScroll: true });
  item(id)?.scrollIntoView({ block: "nearest" });
}
