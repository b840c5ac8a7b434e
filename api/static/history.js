// Looking back: a month's calendar, the incidents and all pictures of a day, and what a search found. The URL says which.
import { request } from "./api.js";
import { $, h, put } from "./dom.js";
import { card, mark, picture } from "./inbox.js";
import { applyMarks, cameraName, state } from "./state.js";
import { clock, dayName, localDay, now, number, plural } from "./text.js";
import { FILTERS, eventQuery, filters, go, href, param } from "./url.js";

const PAGE = 30, REEL = 24;
const NIGHT = "22-06";
const FOUND_MAX = 1000; // the API counts no further

const isDay = (text) => /^\d{4}-\d\d-\d\d$/.test(text);
const month = () => (param("past") || localDay(now())).slice(0, 7);
const longDay = (date) => new Date(`${date}T12:00`).toLocaleDateString("en-GB", { weekday: "long", day: "numeric", month: "long" });
const monthName = (text) => new Date(`${text}-01T12:00`).toLocaleDateString("en-GB", { month: "long", year: "numeric" });
const hours = () => { const [, from, to] = /^(\d\d?)[-–](\d\d?)$/.exec(param("hours")) ?? [0, 0, 24]; return [Number(from) % 24, Number(to) || 24]; };
function otherMonth(by) {
  const d = new Date(`${month()}-15T12:00`);
  d.setMonth(d.getMonth() + by);
  return localDay(d).slice(0, 7);
}
/** From and until: hours of a day, those that end before they begin on the next one; or a month. */
function span(past) {
  const [from, to] = hours(), at = (days, hour) => { const d = new Date(`${past}T00:00`); d.setDate(d.getDate() + days); d.setHours(hour); return d; };
  return isDay(past) ? [at(0, from), at(to <= from ? 1 : 0, to)] : [new Date(`${past}-01T00:00`), new Date(`${otherMonth(1)}-01T00:00`)];
}
function query(changes) {
  const q = eventQuery(), past = param("past");
  q.delete("sort");
  if (param("q")) q.set("q", param("q"));
  else for (const [i, at] of span(past).entries()) q.set(i ? "end_date" : "start_date", at.toISOString());
  for (const [name, value] of Object.entries(changes)) if (value) q.set(name, value);
  return q;
}

/** Load what the URL asks for; `again`: as much of it as is shown. */
export async function loadPast(again = false) {
  const on = Boolean(param("past") || param("q")), box = $("history"), view = FILTERS.map(param).join("|"), before = state.past;
  document.body.classList.toggle("past", on);
  document.querySelector(".skip").href = on ? "#history" : "#inbox";
  box.hidden = !on;
  if (!on) { state.past = null; return; }
  if (before?.view === view && !again) return;
  const fresh = before?.view !== view, searched = param("q"), pictures = !searched && param("show") === "pictures";
  const past = state.past = fresh ? { view, items: [], days: [], month: month(), reels: new Map() } : before;
  if (fresh && before?.month === past.month) past.days = before.days;
  const camera = param("camera_id"), limit = Math.min(1000, Math.max(PAGE, past.items.length));
  const [calendar, page] = await Promise.all([
    !searched && request("GET", `api/calendar?month=${month()}${camera && `&camera_id=${encodeURIComponent(camera)}`}`),
    !pictures && request("GET", searched ? `api/search?${query({ limit })}` : `api/incidents?${query({ limit })}`)]);
  if (state.past !== past) return; // another view was opened meanwhile
  Object.assign(past, calendar && { days: calendar.days }, page && { count: page.count, chips: page.filters ?? [], cursor: page.next_cursor, items: applyMarks(page.events ?? page.incidents) });
  past.loaded = true;
  drawPast();
  if (fresh && before === null && !param("event")) box.scrollTop = 0;
}
/** Load the next page: of the list, or of a camera's pictures. */
export async function loadOlder({ dataset: { camera } }) {
  const past = state.past, reel = camera && past.reels.get(camera);
  if ((reel || past).loading) return;
  (reel || past).loading = true;
  try {
    if (reel) {
      const page = await request("GET", `api/frames?${query({ camera_id: camera, limit: REEL, cursor: reel.cursor })}`);
      Object.assign(reel, { count: page.count, cursor: page.next_cursor, frames: [...reel.frames, ...page.frames] });
    } else {
      const page = await request("GET", `api/${param("q") ? "search" : "incidents"}?${query({ limit: PAGE, cursor: past.cursor })}`);
      Object.assign(past, { cursor: page.next_cursor, items: [...past.items, ...applyMarks(page.events ?? page.incidents)] });
    }
  } finally { (reel || past).loading = false; }
  if (state.past === past) drawPast();
}
const near = new IntersectionObserver((seen) => { for (const { isIntersecting, target } of seen) if (isIntersecting && target.isConnected) loadOlder(target).catch(() => {}); }, { rootMargin: "300px" });
const older = (camera) => h("button.quiet.wide", { type: "button", data: { do: "older", key: `older${camera ?? ""}`, ...camera && { camera } } }, "Show more", camera && h("span.sr", ` of ${cameraName(camera)}`));

export function drawPast() {
  const past = state.past, searched = param("q");
  if (!past?.loaded) return;
  put($("history"),
    searched ? found(past, searched) : [calendar(past), tools(past)],
    !searched && param("show") === "pictures" ? reels(past) : past.items.length > 0 ? [h("ol.cards", past.items.map(card)), past.cursor && older()]
      : h("div.empty", h("h3", searched ? "Nothing found" : "No incidents"), h("p", searched ? past.chips.length > 0 ? "No event fits all of this: take a filter off, or leave out a word." : "No event has all of these words." : "Nothing began then that fits the filters."),
        [...filters().keys()].some((name) => !["past", "hours", "show"].includes(name)) && h("button.quiet", { type: "button", data: { do: "clear" } }, "Clear the filters")));
  for (const button of document.querySelectorAll("#history [data-do=older]")) { near.unobserve(button); near.observe(button); }
  mark();
}
function found(past, searched) {
  const off = (text) => searched.replace(text, " ").replace(/\s+/g, " ").trim();
  return [h("header", h("h2", "Found", h("b", ` ${past.count < FOUND_MAX ? number(past.count) : "1\u202f000 or more"}`)), h("p", "newest first"),
    h("button.quiet", { type: "button", data: { set: JSON.stringify({ q: "" }) } }, "Close the search")),
  past.chips.length > 0 && h("ul.off", { "aria-label": "Understood as filters" }, past.chips.map((c) => h("li", { data: { key: c.text } },
    h("button", { type: "button", data: { set: JSON.stringify({ q: off(c.text) }) }, "aria-label": `Remove the filter ${c.text}` }, meaning(c), " ×"))))];
}
function meaning(c) {
  if (c.kind === "camera") return c.camera_ids.map(cameraName).join(", ");
  if (!c.start_date) return `every day ${c.hours.join("–")}`;
  const day = dayName(c.start_date), means = c.hours ? `${day}, ${clock(c.start_date)}–${clock(c.end_date)}` : day;
  return c.text.toLowerCase() === means.toLowerCase() ? means : `${c.text}: ${means}`;
}

function calendar(past) {
  const first = past.days.length ? (new Date(`${past.days[0].date}T12:00`).getDay() + 6) % 7 : 0, today = localDay(now());
  const cells = [...Array(first).fill(null), ...past.days], weeks = Array.from({ length: Math.ceil(cells.length / 7) }, (_, w) => Array.from({ length: 7 }, (__, d) => cells[w * 7 + d]));
  const turn = (by, sign, label) => h("button.quiet", { type: "button", data: { set: JSON.stringify({ past: otherMonth(by), hours: "" }) }, disabled: by > 0 && month() >= today.slice(0, 7) }, h("span.sr", label), h("span", { "aria-hidden": "true" }, sign));
  return [h("header", h("h2", { id: "month" }, monthName(month())), h("p", "number: incidents, dot: to review"), turn(-1, "‹", "Previous month"), turn(1, "›", "Next month"),
    h("button.quiet", { type: "button", data: { do: "past" } }, "To the inbox")),
  h("table.month", { "aria-labelledby": "month" },
    h("thead", h("tr", ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].map((d) => h("th", { scope: "col" }, d)))),
    h("tbody", weeks.map((week) => h("tr", week.map((d) => h("td", d && d.date <= today && date(d), d && d.date > today && h("span", Number(d.date.slice(8)))))))))];
}
function date(d) {
  const set = { past: d.date, q: "" }, shown = param("past") === d.date;
  return h("a", { href: href(set), data: { set: JSON.stringify(set), key: d.date }, class: [!d.pictures && "none", d.unreviewed && "todo"].filter(Boolean).join(" "), "aria-current": shown && "date",
    "aria-label": `${longDay(d.date)}: ${plural(d.incidents, "incident")}, ${d.unreviewed} to review, ${plural(d.pictures, "picture")}` },
  h("span", Number(d.date.slice(8))), h("b", d.incidents > 0 && number(d.incidents)));
}
function tools(past) {
  const choose = (show, label) => h("button", { type: "button", data: { set: JSON.stringify({ show }) }, "aria-pressed": String((param("show") || "") === show) }, label);
  const [from, to] = hours(), day = isDay(param("past")), hour = (name, label, value, first) => h("label", h("span.sr", label), h("select", { name },
    Array.from({ length: 24 }, (_, i) => i + first).map((n) => h("option", { value: n, selected: n === value, data: { key: n } }, `${String(n).padStart(2, "0")}:00`))));
  return h("header.day", h("h2", day ? longDay(param("past")) : monthName(month())), h("p", past.count !== undefined && param("show") !== "pictures" && plural(past.count, "incident")),
    day && h("span.hours", { role: "group", "aria-label": "Hours" }, hour("from", "From", from, 0), "–", hour("to", "Until", to, 1), h("button.quiet", { type: "button", data: { set: JSON.stringify({ hours: param("hours") === NIGHT ? "" : NIGHT }) }, "aria-pressed": String(param("hours") === NIGHT) }, "Night")),
    h("span.seg", { role: "group", "aria-label": "Show" }, choose("", "Incidents"), choose("pictures", "Pictures")));
}
function reels(past) {
  const ids = param("camera_id") ? [param("camera_id")] : state.cameras.map((c) => c.id);
  for (const id of ids) if (!past.reels.has(id)) past.reels.set(id, { frames: [] });
  return ids.map((id) => reel(id, past.reels.get(id), ids.length === 1));
}
function reel(id, r, alone) {
  return h("section.reel", { data: { key: `reel${id}` }, "aria-label": `Pictures of ${cameraName(id)}`, class: alone && "alone" },
    h("header", h("h3", cameraName(id)), h("p", r.count !== undefined && plural(r.count, "picture"))),
    h("ol", r.frames.map((f) => shot(id, f)), r.cursor !== null && h("li", { data: { key: "more" } }, older(id))));
}
function shot(id, f) {
  const set = f.event_id !== null && { event: f.event_id }, what = [...new Set(f.detections.map((d) => d.object_type))].join(", ");
  return h("li", { data: { key: `f${f.id}` }, class: set && "seen" }, h("a", set ? { href: href(set), data: { set: JSON.stringify(set) } } : { href: f.image_url, target: "_blank", rel: "noopener" },
    picture(f.thumbnail_url ?? f.image_url, 128, 72, { loading: "lazy", alt: `${cameraName(id)} at ${clock(f.captured_at, true)}: ${what || "nothing found"}` }), h("span", { "aria-hidden": "true" }, clock(f.captured_at, true))));
}

/** Open the history of today, or go back to the inbox. */
export const togglePast = () => go({ past: param("past") ? "" : localDay(now()), hours: "", show: "", q: "", day: "", from: "", to: "", event: "", incident: "" });
export function listen() {
  $("history").addEventListener("change", () => {
    const [from, to] = ["from", "to"].map((name) => Number($("history").querySelector(`[name=${name}]`).value));
    return go({ hours: from === 0 && to === 24 ? "" : `${String(from).padStart(2, "0")}-${String(to).padStart(2, "0")}` });
  });
}
