// The filter bar: level, camera, object, day, reviewed, text. It shows the URL and changes the URL.
import { $, h, put } from "./dom.js";
import { state } from "./state.js";
import { LEVELS, capital, clock, dayName, glyph, localDay, now, number } from "./text.js";
import { FILTERS, filters, go } from "./url.js";

const OBJECTS = ["person", "bicycle", "car", "motorcycle", "bus", "truck", "bird", "cat", "dog", "horse", "bear", "backpack", "handbag", "suitcase", "package"];
const DAYS = 7;

export function drawFilters() {
  const form = $("filters"), on = filters(), count = state.incidents?.levels ?? {}, levels = on.get("risk_level")?.split(",") ?? [];
  const seen = [...new Set((state.incidents?.incidents ?? []).flatMap((e) => Object.keys(e.objects)))].filter((o) => !OBJECTS.includes(o));
  options(form.elements.camera_id, "Any camera", state.cameras.map((c) => [c.id, c.name]), on.get("camera_id"));
  options(form.elements.object_type, "Any object", [...OBJECTS, ...seen].map((o) => [o, o]), on.get("object_type"));
  options(form.elements.day, "Any day", Array.from({ length: DAYS }, (_, d) => new Date(now()).setHours(12) - d * 864e5).map((t) => [localDay(t), dayName(t)]), on.get("day"));
  for (const name of ["q", "camera_id", "object_type", "day", "reviewed"]) {
    const field = form.elements[name];
    if (name !== "q" || document.activeElement !== field) field.value = on.get(name) ?? "";
    field.classList.toggle("on", on.has(name));
  }
  put($("levels"), h("legend.sr", "Risk level"), LEVELS.map((level) => h("button", {
    type: "button", data: { do: "level", level }, "aria-pressed": String(levels.includes(level)) },
  glyph(level), ` ${capital(level)} `, h("b", count[level] === undefined ? "" : number(count[level])))));
  put($("active"),
    on.has("from") && h("button.quiet", { type: "button", data: { set: JSON.stringify({ from: "", to: "" }) }, "aria-label": "Remove the time filter" },
      `${dayName(on.get("from"))} ${clock(on.get("from"))}–${clock(on.get("to"))} ×`),
    on.size > 0 && h("button.quiet", { type: "button", data: { do: "clear" } }, "Clear"));
}
/** The chosen value is always an option, even if no event has it any more. */
function options(field, any, values, chosen) {
  const all = !chosen || values.some(([value]) => value === chosen) ? values : [...values, [chosen, chosen]];
  put(field, [["", any], ...all].map(([value, label]) => h("option", { value, data: { key: value || "any" } }, label)));
}

export function toggleLevel(level) {
  const on = new Set(filters().get("risk_level")?.split(","));
  if (!on.delete(level)) on.add(level);
  return go({ risk_level: LEVELS.filter((l) => on.has(l)).join(",") });
}
export const clear = () => go(Object.fromEntries(FILTERS.map((name) => [name, ""])));
export function unfold(force) {
  const on = $("filters").classList.toggle("open", force);
  document.querySelector("[data-do=more]").setAttribute("aria-expanded", on);
}

const TYPING_MS = 200;
let typed;
export function listen() {
  $("filters").addEventListener("input", ({ target }) => {
    clearTimeout(typed);
    typed = setTimeout(() => go({ [target.name]: target.value, ...target.name === "day" && { from: "", to: "" }, ...["q", "day"].includes(target.name) && { past: "", hours: "", show: "" } }, target.name === "q"), target.name === "q" ? TYPING_MS : 0);
  });
  $("filters").addEventListener("submit", (ev) => ev.preventDefault());
}
