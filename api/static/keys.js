// Clicks and keys. Elements that can be clicked have data-do (an action), data-set (URL), data-event or data-cell.
import { answer, close, retryFrame, review, reviewIncident, reviewLow, saveNote, showFrame, step, toast, undo } from "./actions.js";
import { $ } from "./dom.js";
import { drawDetail } from "./detail.js";
import { clear, toggleLevel, unfold } from "./filters.js";
import { moveFocus } from "./heat.js";
import { openHealth } from "./health.js";
import { order } from "./inbox.js";
import { openLearned, revoke } from "./learned.js";
import { state } from "./state.js";
import { go } from "./url.js";
import { openZones } from "./zones.js";

const boxes = () => { state.boxes = !state.boxes; drawDetail(); };
const help = () => $("help").showModal();

/** The actions of buttons; `start` and `more` come from the page. */
const actions = ({ start, more }) => ({
  close, clear, help, boxes, retry: start, health: openHealth, zones: openZones, learned: openLearned, answer, revoke, "more-events": more, undo: () => undo(), "all-low": reviewLow, more: () => unfold(),
  review: ({ dataset: { id } }) => String(state.event?.id) === id && state.event.reviewed ? undo([id]) : review(id),
  prev: () => step(-1), next: () => step(1), frame: (b) => showFrame(+b.dataset.i), level: (b) => toggleLevel(b.dataset.level),
  "retry-frame": (b) => retryFrame(+b.dataset.frame),
  copy: async (b) => { await navigator.clipboard?.writeText(b.dataset.text); toast("Copied."); },
});
const KEYS = {
  j: () => step(1), k: () => step(-1), u: () => undo(), h: openHealth, l: openLearned, "?": help,
  r: () => review(state.selected ?? order()[0]), R: reviewIncident,
  b: () => state.event && boxes(),
  f: () => { unfold(true); $("levels").querySelector("button").focus(); },
  Enter: (ev) => ev.target === document.body && document.querySelector("#inbox .selected a")?.click(),
  "/": () => $("filters").elements.q.focus(),
  ArrowLeft: () => state.event && showFrame(state.frame - 1), ArrowRight: () => state.event && showFrame(state.frame + 1),
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
  document.addEventListener("change", (ev) => ev.target.id === "note" && showErrors(saveNote(ev.target.value)));
  document.addEventListener("error", ({ target }) => {
    if (target.tagName !== "IMG" || target.src.endsWith("none.svg")) return;
    state.missing.add(target.getAttribute("src"));
    target.setAttribute("src", "static/none.svg");
  }, true);
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
  const typing = ev.target.matches("input, select, textarea"), dialog = document.querySelector("dialog[open]");
  if (ev.key === "Escape") return typing && !dialog ? ev.target.blur() : dialog ? null : close();
  if (typing || dialog) return null;
  if (ev.target.closest?.("#heat td button") && moveFocus(ev.target, ev.key)) return ev.preventDefault();
  if (!KEYS[ev.key]) return null;
  if (ev.key !== "Enter") ev.preventDefault(); // links and buttons handle it
  return KEYS[ev.key](ev);
}
