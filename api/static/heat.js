// The heat strip: events and highest risk per camera and hour. An hour without pictures is hatched: it is not a quiet hour.
import { byName, request } from "./api.js";
import { $, h, put } from "./dom.js";
import { cameraName, state } from "./state.js";
import { clock, dayName, localDay, plural } from "./text.js";
import { filters, param } from "./url.js";

export async function loadHeat() {
  const week = param("span") === "7d";
  state.heat = await request("GET", `api/timeline?hours=${week ? 168 : 24}&step=${week ? 21600 : 3600}&tz_offset_minutes=${-new Date().getTimezoneOffset()}`);
  byName(state.heat.cameras, "camera_name");
  drawHeat();
}

export function drawHeat() {
  const t = state.heat;
  if (!t?.cameras.length) return put($("heat"));
  const step = t.step_seconds * 1000, week = step > 3_600_000, from = +new Date(t.from), n = t.cameras[0].cells.length;
  const hour = (i) => {
    const d = new Date(from + i * step);
    return week ? d.getHours() < 6 ? d.toLocaleDateString("en-GB", { weekday: "short" }) : "" : d.getHours() % 3 === 0 ? clock(d).slice(0, 2) : "";
  };
  const segment = (span, label) => h("button", { type: "button", data: { set: JSON.stringify({ span }) }, "aria-pressed": String(param("span") === span) }, label);
  put($("heat"),
    h("header", h("h2", { id: "heat-title" }, week ? "Last 7 days" : "Last 24 hours"), h("p", "height: events, colour: highest risk"),
      h("span.seg", { role: "group", "aria-label": "Span" }, segment("", "24 h"), segment("7d", "7 days"))),
    h("table", { role: "grid", "aria-labelledby": "heat-title" },
      h("tbody", t.cameras.map((row) => h("tr", { data: { key: row.camera_id } },
        h("th", { scope: "row" }, h("button", { type: "button", data: { set: JSON.stringify({ camera_id: row.camera_id }) } }, cameraName(row.camera_id))),
        row.cells.map((cell, i) => square(row.camera_id, cell, from + i * step, step, week))))),
      h("tfoot", { "aria-hidden": "true" }, h("tr", h("td"), Array.from({ length: n }, (_, i) => h("td", hour(i)))))));
  const home = document.querySelector("#heat td [aria-pressed=true]") ?? document.querySelector("#heat td button");
  if (!document.activeElement.closest("#heat td")) home?.setAttribute("tabindex", "0"); // one stop for Tab, arrows inside
}
function square(camera, cell, from, step, week) {
  const level = cell.max_risk >= 85 ? "critical" : cell.max_risk >= 60 ? "high" : cell.max_risk >= 30 ? "medium" : "low";
  const stamp = (at) => `${localDay(at)}T${clock(at)}`, on = filters();
  const what = cell.events ? `${plural(cell.events, "event")}, highest ${cell.max_risk} ${level}` : cell.pictures ? "no event" : "no pictures";
  const text = `${cameraName(camera)}, ${week ? `${dayName(from)} ` : ""}${clock(from)}–${clock(from + step)}: ${what}`;
  const tall = Math.min(1, (0.9 + Math.log2(cell.events || 1)) / (week ? 4.6 : 3)).toFixed(2);
  return h("td", h("button", {
    type: "button", tabindex: -1, "aria-label": text, title: text, class: !cell.pictures && !cell.events && "gap",
    "aria-pressed": String(on.get("from") === stamp(from) && on.get("camera_id") === camera),
    data: { cell: JSON.stringify({ camera_id: camera, from: stamp(from), to: stamp(from + step) }), level: cell.events ? level : "" },
  }, cell.events > 0 && h("i", { style: { "--n": tall } })));
}
/** Move the focus among the squares; returns true for an arrow key. */
export function moveFocus(button, key) {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  if (!way) return false;
  const td = button.parentElement, rows = td.closest("tbody").rows;
  const to = rows[td.parentElement.sectionRowIndex + way[1]]?.cells[td.cellIndex + way[0]]?.querySelector("[data-cell], a");
  if (to) { button.tabIndex = -1; to.tabIndex = 0; to.focus(); }
  return true;
}
