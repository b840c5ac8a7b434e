// Format numbers, times and levels. `now` is the server's clock, so that a wrong clock in the browser does not look like stale data.
import { h } from "./dom.js";

export const LEVELS = ["low", "medium", "high", "critical"];

let ahead = 0; // server clock - browser clock, ms
export const now = () => Date.now() + ahead;
export const setClock = (server) => { if (Number.isFinite(server)) ahead = server - Date.now(); };

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const number = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");
export const plural = (n, one) => `${number(n)} ${one}${n === 1 ? "" : "s"}`;
export const bytes = (n) => n >= 1e12 ? `${(n / 1e12).toFixed(1)} TB` : n >= 1e11 ? `${Math.round(n / 1e9)} GB`
  : n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : `${Math.round(n / 1e6)} MB`;
export const seconds = (s) => s === null || s === undefined ? "…" : s < 0.1 ? `${Math.round(s * 1000)} ms`
  : s < 10 ? `${s.toFixed(2)} s` : s < 120 ? `${Math.round(s)} s` : span(s);

const two = (n) => String(n).padStart(2, "0");
export function clock(at, withSeconds) {
  const d = new Date(at);
  return `${two(d.getHours())}:${two(d.getMinutes())}${withSeconds ? `:${two(d.getSeconds())}` : ""}`;
}
export function localDay(at) {
  const d = new Date(at);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}
export function dayName(at) {
  const noon = (t) => new Date(`${localDay(t)}T12:00`), days = Math.round((noon(now()) - noon(at)) / 864e5);
  return days === 0 ? "Today" : days === 1 ? "Yesterday"
    : new Date(at).toLocaleDateString("en-GB", { weekday: "long", day: "numeric", month: "short", ...days > 300 && { year: "numeric" } });
}

export function span(s) {
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h${s < 36000 && s % 3600 >= 60 ? ` ${Math.floor(s % 3600 / 60)} min` : ""}`;
  return plural(Math.floor(s / 86400), "day");
}
export const age = (at) => span(Math.max(0, (now() - new Date(at)) / 1000));
/** An age that `tick` updates. */
export const ago = (at, after = " ago") =>
  h("time", { datetime: at, title: new Date(at).toLocaleString(), data: { age: at, after } }, age(at) + after);
export const tick = () => {
  for (const time of document.querySelectorAll("time[data-age]")) {
    const text = age(time.dataset.age) + time.dataset.after;
    if (time.textContent !== text) time.textContent = text;
  }
};

export const level = (score) => LEVELS[[30, 60, 85].filter((n) => score >= n).length];

/** One to three bars, or a filled square with a mark: the level without colour. */
export function glyph(level) {
  const n = LEVELS.indexOf(level), at = { viewBox: "0 0 14 12", "aria-hidden": "true" };
  if (n === 3) return h("svg.glyph", at, h("rect", { x: 1, width: 12, height: 12, rx: 2.5 }),
    h("path.ink", { d: "M6.2 2.4h1.6l-.2 4.4H6.4zM6.2 8h1.6v1.6H6.2z" }));
  return h("svg.glyph", at, [0, 1, 2].map((i) =>
    h("rect", { x: 1 + i * 4.5, y: 8 - i * 4, width: 3, height: 4 + i * 4, rx: 1, opacity: i <= n ? 1 : 0.28 })));
}

/** A verdict of the rules that a language model or further pictures will replace. */
export const provisional = (e) => e.analyzer === "rules" && (e.status === "open" || e.analysis_status === "pending");
export const risk = (e) => h("span.risk", { data: { level: e.risk_level, provisional: provisional(e) } },
  h("b", provisional(e) && h("i", { title: "provisional" }, "~"), e.risk_score), " ", h("span", glyph(e.risk_level), " ", capital(e.risk_level)));
export const things = (objects) => Object.entries(objects).map(([type, n]) => h("li", type, n > 1 && ` ×${n}`));
export function badges(e) {
  return [
    e.status === "open" ? h("li.badge.busy", { title: "More pictures may join it" }, "in progress")
      : e.analysis_status === "pending" && h("li.badge.busy", e.analyzer === "nemotron" ? "analyzing again…" : "analyzing…"),
    provisional(e) && h("li.badge", "provisional, by rules"),
    e.analysis_status === "failed" && h("li.badge.warn", { title: "The language model gave no valid response; the rules' verdict stands" }, "model failed, by rules"),
  ];
}
