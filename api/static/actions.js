// Actions on events: mark, undo, note, next, previous. A mark shows at once and is sent to the server right after.
import { patchEvent, patchEvents, retry } from "./api.js";
import { drawDetail, showStrip } from "./detail.js";
import { $, h, put } from "./dom.js";
import { clear } from "./filters.js";
import { drawInbox, order, select } from "./inbox.js";
import { drawFunnel, drawStatus } from "./status.js";
import { cameraName, sorted, state } from "./state.js";
import { plural } from "./text.js";
import { filters, go } from "./url.js";

const TOAST_MS = 6000;
let fading, refresh = () => {};
/** Set the function that loads the server's state again, a little later. */
export const onChange = (f) => { refresh = f; };

export function toast(text, undo) {
  clearTimeout(fading);
  put($("toast"), text, " ", undo && h("button.quiet", { type: "button", data: { do: "undo" } }, "Undo ", h("kbd", "u")));
  $("toast").hidden = false;
  fading = setTimeout(() => { $("toast").hidden = true; }, TOAST_MS);
}

const findEvent = (id) => state.event?.id === id ? state.event : state.events?.events.find((e) => e.id === id);
const writing = new Map(); // event id -> its last write
/** Write to each event one after the other; a failure is shown, and the server's state is loaded again. */
function write(ids, reviewed, work) {
  const mark = { reviewed, turn: Infinity };
  const done = Promise.all(ids.map((id) => writing.get(id))).then(work)
    .then(() => { mark.turn = state.turn; }, (error) => { mark.turn = -1; toast(error.message); }).then(refresh);
  for (const id of ids) { state.marks.set(id, mark); writing.set(id, done); }
  show(ids, reviewed);
}
function show(ids, reviewed) {
  const changed = ids.filter((id) => findEvent(id) && findEvent(id).reviewed !== reviewed).length;
  for (const e of [state.event, ...state.events?.events ?? []]) if (e && ids.includes(e.id)) e.reviewed = reviewed;
  if (state.status) state.status.to_review = Math.max(0, state.status.to_review - (reviewed ? changed : -changed));
  if (state.events) sorted(state.events.events);
  drawStatus(); drawFunnel(); drawInbox();
  if (state.event) drawDetail();
}

/** Mark an event as reviewed and select the next one to review. */
export function review(id) {
  const e = findEvent(id);
  if (!e || e.reviewed) return step(1);
  const ids = order(), waiting = ids.filter((i) => i !== id && !findEvent(i).reviewed);
  const next = waiting.find((i) => ids.indexOf(i) > ids.indexOf(id)) ?? waiting.at(-1);
  const notes = state.event?.id === id ? $("note").value : null, noted = notes !== null && notes !== (e.notes ?? "");
  const changes = { reviewed: true, ...noted && { notes: notes || null } };
  state.undo.push([id]);
  write([id], true, () => patchEvent(id, changes));
  toast(`Reviewed: ${cameraName(e.camera_id)}, ${e.risk_score} ${e.risk_level}.`, true);
  if (next) select(next);
  return state.event && go({ event: next ?? "" }, true);
}
export async function reviewLow() {
  const changed = await patchEvents({ reviewed: true, risk_level: "low" }), ids = changed.ids ?? [];
  state.undo.push(ids);
  toast(`${plural(changed.count ?? ids.length, "low event")} reviewed.`, ids.length > 0);
  refresh();
}
export function undo(ids = state.undo.pop() ?? (state.event?.reviewed ? [state.event.id] : [])) {
  if (!ids.length) return;
  $("toast").hidden = true;
  write(ids, false, () => ids.length === 1 ? patchEvent(ids[0], { reviewed: false }) : patchEvents({ reviewed: false, ids }));
  select(ids[0]);
  if (state.event && ids.length === 1) go({ event: ids[0] }, true);
}
export async function saveNote(value) {
  const { id } = state.event;
  state.event.notes = value || null;
  await patchEvent(id, { notes: value || null });
  toast("Note saved.");
}
export async function retryFrame(frame) {
  await retry(frame);
  toast("Queued again.");
}

export function step(by) {
  const ids = order(), i = ids.indexOf(state.selected);
  const id = ids[i < 0 ? 0 : Math.min(ids.length - 1, Math.max(0, i + by))];
  if (id === undefined) return;
  select(id);
  if (state.event) go({ event: id }, true);
}
export function showFrame(i) {
  state.frame = Math.min(state.event.frames.length - 1, Math.max(0, i));
  drawDetail();
  showStrip();
}
/** Close the dialog, else the event, else clear the filters. */
export function close() {
  const dialog = document.querySelector("dialog[open]:not(#token)");
  if (dialog) return dialog.close();
  if (!state.event) return filters().size && clear();
  const { id } = state.event;
  return go({ event: "" }).then(() => select(id));
}
