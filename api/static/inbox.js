// The review inbox: incidents to review by risk, then newest; below them the reviewed ones by day. One unfolds into its events.
import { $, h, lazy, put } from "./dom.js";
import { firstRun } from "./first_run.js";
import { drawPast } from "./history.js";
import { answerButtons } from "./learned.js";
import { fields, journal } from "./journal.js";
import { cameraName, isSeveral, key, listed, state } from "./state.js";
import { ago, badges, clock, dayName, glyph, level, localDay, now, number, plural, risk, things } from "./text.js";
import { filters, href } from "./url.js";

export const MORE = 40;
export const LIMIT_MAX = 1000; // of the API

/** A picture, or a placeholder: uploads can be deleted while their events stay. */
export const picture = (src, width, height, rest = {}) =>
  h("img", { src: !src || state.missing.has(src) ? "static/none.svg" : src, alt: "", width, height, ...rest });

const isUnfolded = (i) => state.incident?.id === i.id;
const last = (x) => x.last_at ?? x.ended_at ?? x.started_at;
const at = (x) => `${state.past ? `${dayName(x.started_at)} ` : ""}${clock(x.started_at)}${clock(x.started_at) === clock(last(x)) ? "" : `–${clock(last(x))}`}`;
/** The cameras of an incident or event. */
export const names = (i) => !i.camera_names ? cameraName(i.camera_id) : i.camera_names.length > 3 ? `${i.camera_names.slice(0, 2).join(", ")} and ${i.camera_names.length - 2} more` : i.camera_names.join(", ");
/** An event leads to its page, and so does an incident that is one event; any other unfolds. */
function link(x) {
  const one = !("event_count" in x) ? x.id : !isSeveral(x) && !isUnfolded(x) && x.gravest_event_id;
  const set = one ? { event: one } : { incident: isUnfolded(x) ? "" : x.id };
  return h("a", { href: href(set), data: { set: JSON.stringify(set) }, "aria-expanded": !one && String(isUnfolded(x)) }, x.summary || "Objects were detected.");
}
const inside = (i) => isUnfolded(i) && h("li.inside", { data: { key: `in${i.id}` } }, h("ol.rows", { "aria-label": "Events" }, state.incident.events.map(row)),
  state.incident.alerts.length > 0 && h("ol.rows", { "aria-label": "Alerts" }, state.incident.alerts.map(alert)));
/** All that a card or row is made of. */
const content = (x) => JSON.stringify([x, x.camera_id && cameraName(x.camera_id), isUnfolded(x), state.past && localDay(now()), state.missing.size]);
export const card = (i) => [lazy(key(i), content(i), () => h("li.card", { data: { id: key(i) } }, h("article",
  picture(i.thumbnail_url, 208, 117, { loading: "lazy" }), risk(i),
  h("div.what", h("p.where", h("strong", names(i)), " ", h("span", at(i)), " ", ago(last(i))), h("h3", link(i)),
    h("ul.chips", things(i.objects), things(i.alert_counts ?? {}), i.event_count > 1 && h("li", { data: { fold: isUnfolded(i) } }, plural(i.event_count, "event")), h("li.plain", plural(i.frame_count, "frame")), badges(i), state.past && i.reviewed && h("li.plain", "reviewed ✓"), i.gravest_event_id !== null && h("li.plain", answerButtons(key(i), null, `Your answer: ${i.summary}`)))),
  !i.reviewed && h("button.quiet.tick", { type: "button", data: { do: "review", id: key(i) }, "aria-label": `Mark as reviewed: ${i.summary}` }, "Reviewed ", h("kbd", "r"))))), inside(i)];
/** An alert of an unfolded incident. */
const alert = (a) => h("li.row", { data: { key: `a${a.id}` } }, h("time", { datetime: a.at }, clock(a.at)), h("span.score", { data: { level: level(a.score) } }, glyph(level(a.score)), h("b", a.score)),
  h("span.cam", cameraName(a.camera_id)), h("span", { title: fields(a.evidence) }, a.summary), h("span.objs", a.kind));
/** A reviewed incident, or an event of an unfolded one. */
const row = (x) => lazy(key(x), content(x), () => h("li.row", { data: { id: key(x) }, class: x.reviewed && "done" },
  h("time", { datetime: x.started_at }, clock(x.started_at)),
  h("span.score", { data: { level: x.risk_level } }, glyph(x.risk_level), h("b", x.risk_score), h("span.sr", x.risk_level)),
  h("span.cam", "event_count" in x ? names(x) : cameraName(x.camera_id)), link(x),
  h("span.objs", x.event_count > 1 ? plural(x.event_count, "event") : Object.keys(x.objects).join(", "), x.reviewed && h("span.sr", ", reviewed"))));

export function drawInbox() {
  const box = $("inbox"), on = filters(), only = on.get("reviewed");
  drawPast();
  if (!state.incidents) {
    return put(box, state.lost && h("div.empty", h("h2", "Nothing to show yet"), h("p", "The events appear as soon as the server responds.")));
  }
  if (state.status?.watching === null && !state.incidents.count) return put(box, journal());
  if (state.status && (state.welcome || (state.status.cameras_total === 0 && !state.incidents.count))) return put(box, firstRun(drawInbox));
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
    open.length > 1 && (narrowed || on.has("risk_level")) ? h("button.quiet.sweep", { type: "button", data: { do: "all-shown" } }, `Mark these ${number(Math.max(state.incidents.unreviewed, open.length))} reviewed`)
      : low > 1 && h("button.quiet.sweep", { type: "button", data: { do: "all-low" } }, "Mark all low reviewed"));
}
function nothing(on, done) {
  if (on.size) return h("div.empty", h("h3", "Nothing matches"), h("p", "No incident fits these filters."),
    h("button.quiet", { type: "button", data: { do: "clear" } }, "Clear the filters"));
  const t = state.status?.today, last = done[0];
  return h("div.empty", h("h3", "Nothing to review"), h("p",
    t ? `${plural(t.images, "picture")} since midnight, ${plural(t.events, "event")}, none to review.` : "All events are reviewed.",
    last && [" The last one was ", ago(last.last_at), ` at ${names(last)}.`]));
}

/** Keys in the order of j, k and "mark as reviewed". */
const items = () => document.querySelectorAll(`${state.past ? "#history" : "#inbox"} li[data-id]`);
export const order = () => [...items()].map((li) => li.dataset.id);
const item = (k) => [...items()].find((li) => li.dataset.id === k);
export function mark() {
  for (const li of items()) {
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
