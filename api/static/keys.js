// Clicks and keys. Elements that can be clicked have data-do (an action), data-set (URL), data-event or data-cell.
import { answer, close, dismissToast, retryFrame, review, reviewIncident, reviewLow, reviewShown, saveNote, showFrame, step, toast, undo } from "./actions.js";
import { addCamera, deleteCamera, mergeCamera, saveCamera } from "./camera.js";
import { $ } from "./dom.js";
import { drawDetail } from "./detail.js";
import { clear, toggleLevel, unfold } from "./filters.js";
import { moveFocus } from "./heat.js";
import { loadOlder, togglePast } from "./history.js";
import { order } from "./inbox.js";
import { openLearned, revoke } from "./learned.js";
import { changeSpeed, listenToCards, pause, play } from "./player.js";
import { openSettings, testNotifier } from "./settings.js";
import { state } from "./state.js";
import { go, param } from "./url.js";
import { full, listenToStage, loaded, pan, view, zoom, zoomIn, zoomOut } from "./viewer.js";
import { listenToZones } from "./zones.js";

const boxes = () => { state.boxes = !state.boxes; drawDetail(); };
const frame = (i) => { pause(); showFrame(i); };
const fill = () => full().then(drawDetail);
/** Move the picture if it is zoomed, else show the one so many further; false: neither. */
const arrow = (x, y, by) => state.event && (view.z > 1 ? pan(x / 5, y / 5) : by ? frame(state.frame + by) : false);
const zooms = (work) => state.event && (work(() => {}), drawDetail());
const showHealth = () => go({ health: "1" });
const help = () => $("help").showModal();

/** The actions of buttons; `start`, `inbox` and `more` come from the page. */
const actions = ({ start, inbox, more }) => ({
  close, inbox, clear, help, boxes, retry: start, health: showHealth, merge: mergeCamera, "delete-camera": deleteCamera, learned: openLearned, past: togglePast, older: loadOlder, answer, "test-notifier": testNotifier,
  revoke: async ({ dataset: { id } }) => { await revoke(id); dismissToast(); await (param("settings") ? openSettings() : openLearned()); }, "more-events": more, undo: () => undo(), "all-low": reviewLow, "all-shown": reviewShown, more: () => unfold(),
  review: ({ dataset: { id } }) => String(state.event?.id) === id && state.event.reviewed ? undo([id]) : review(id),
  prev: () => step(-1), next: () => step(1), frame: (b) => frame(+b.dataset.i), play, speed: changeSpeed, full: fill, "zoom-in": () => zooms(zoomIn), "zoom-out": () => zooms(zoomOut), level: (b) => toggleLevel(b.dataset.level),
  "retry-frame": (b) => retryFrame(+b.dataset.frame),
  copy: async (b) => { await navigator.clipboard?.writeText(b.dataset.text); toast("Copied."); },
});
const KEYS = {
  j: () => step(1), k: () => step(-1), u: () => undo(), h: showHealth, l: openLearned, p: togglePast, "?": help,
  r: () => review(state.selected ?? order()[0]), R: reviewIncident, A: () => { const all = document.querySelector("#inbox .sweep"); if (all?.checkVisibility()) all.click(); },
  b: () => state.event && boxes(),
  Space: (ev) => state.event && !ev.target.closest("button:not(.strip button)") ? play() : false,
  "+": () => zooms(zoomIn), "=": () => zooms(zoomIn), "-": () => zooms(zoomOut), 0: () => zooms(() => zoom(0)),
  d: () => document.querySelector("#stage [download]")?.click(),
  f: () => { if (state.event) return fill(); unfold(true); $("levels").querySelector("button").focus(); },
  Enter: (ev) => ev.target === document.body && document.querySelector(":is(#inbox, #history) .selected a")?.click(),
  "/": () => $("filters").elements.q.focus(),
  ArrowLeft: () => arrow(1, 0, -1), ArrowRight: () => arrow(-1, 0, 1), ArrowUp: () => arrow(0, 1), ArrowDown: () => arrow(0, -1),
};

export function listen(page) {
  const act = actions(page), showErrors = (work) => Promise.resolve(work).catch((error) => toast(error.message));
  document.addEventListener("click", (ev) => {
    const t = ev.target.closest("[data-do], [data-set], [data-event], [data-cell]");
    if (ev.target.matches("dialog:not(#token)")) return ev.target.close(); // a click on the backdrop
    if (!t || ev.metaKey || ev.ctrlKey || ev.shiftKey) return null;
    ev.preventDefault();
    return showErrors(onClick(t, act));
  });
  document.addEventListener("keydown", (ev) => showErrors(onKey(ev)));
  document.addEventListener("change", ({ target }) => {
    if (target.id === "note") showErrors(saveNote(target.value));
    if (target.closest("[data-camera]")) showErrors(saveCamera(target));
  });
  document.addEventListener("input", ({ target }) => target.id === "scrub" && frame(+target.value));
  listenToStage(drawDetail, (by) => frame(state.frame + by));
  listenToCards();
  document.addEventListener("submit", (ev) => {
    if (!ev.target.matches("[data-camera], [data-add]")) return;
    ev.preventDefault();
    if (ev.target.matches("[data-add]")) showErrors(addCamera(ev.target));
  });
  listenToZones($("setup"));
  document.addEventListener("error", ({ target }) => {
    if (target.tagName !== "IMG" || target.src.endsWith("none.svg")) return;
    state.missing.add(target.getAttribute("src"));
    target.setAttribute("src", "static/none.svg");
    if (target.dataset.shot && state.event) drawDetail();
  }, true);
  document.addEventListener("load", ({ target }) => { if (target.dataset?.shot && loaded(target) && state.event) drawDetail(); }, true);
}
function onClick(t, act) {
  if (t.dataset.do) return act[t.dataset.do](t);
  if (t.dataset.event) return go({ event: t.dataset.event });
  if (t.dataset.set) return go(JSON.parse(t.dataset.set));
  const off = t.getAttribute("aria-pressed") === "true", cell = JSON.parse(t.dataset.cell);
  return go(off ? { camera_id: "", from: "", to: "" } : { ...cell, day: "", event: "" });
}
function onKey(ev) {
  if (ev.metaKey || ev.ctrlKey || ev.altKey) return null;
  const typing = ev.target.matches("input:not(#scrub), select, textarea"), dialog = document.querySelector("dialog[open]");
  if (ev.key === "Escape") return typing && !dialog ? ev.target.blur() : dialog ? null : view.full ? fill() : close();
  if (typing || dialog) return null;
  if (ev.target.closest?.("#heat td button, #history td a") && moveFocus(ev.target, ev.key)) return ev.preventDefault();
  const name = ev.key === " " ? "Space" : ev.key;
  if (ev.target.id === "scrub" && name.startsWith("Arrow")) return null; // the browser moves it
  if (!KEYS[name] || (!$("setup").hidden && !"hl?".includes(ev.key))) return null;
  const work = KEYS[name](ev);
  if (name !== "Enter" && work !== false) ev.preventDefault(); // links and buttons handle it
  return work;
}
