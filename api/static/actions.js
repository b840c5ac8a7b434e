// Actions on incidents and events: mark, undo, note, next, previous. A mark shows at once and is sent to the server right after.
import { patch, patchEvents, request, retry } from "./api.js";
import { drawDetail, showStrip } from "./detail.js";
import { $, h, put } from "./dom.js";
import { clear } from "./filters.js";
import { drawInbox, names, order, select } from "./inbox.js";
import { ANSWERS, points } from "./learned.js";
import { cameraName, key, listed, sorted, state } from "./state.js";
import { plural } from "./text.js";
import { filters, go, param } from "./url.js";

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

const events = () => [...state.event ? [state.event] : [], ...state.incident?.events ?? []];
const all = () => [...events(), ...listed(), ...state.incident ? [state.incident] : []];
const find = (k) => all().find((x) => key(x) === k);
/** What a mark marks as well: the events of an incident; the incident of an event, if it was the last one to review. */
function implied(k, reviewed) {
  const incident = find(`i${find(k)?.incident_id}`);
  if (!incident) return events().filter((e) => `i${e.incident_id}` === k).map(key);
  const whole = state.incident?.id === incident.id ? state.incident.events : [];
  const last = incident.event_count === 1 || (whole.length > 0 && whole.every((e) => e.reviewed || key(e) === k));
  return reviewed && !last ? [] : [key(incident)];
}
const writing = new Map(); // key -> its last write
/** Write each event and incident one after the other; a failure is shown, and the server's state is loaded again. */
function write(given, reviewed, work) {
  const keys = [...given, ...given.flatMap((k) => implied(k, reviewed))], mark = { reviewed, turn: Infinity };
  const done = Promise.all(keys.map((k) => writing.get(k))).then(work)
    .then(() => { mark.turn = state.turn; }, (error) => { mark.turn = -1; toast(error.message); }).then(refresh);
  for (const k of keys) { state.marks.set(k, mark); writing.set(k, done); }
  const changed = listed().filter((i) => keys.includes(key(i)) && i.reviewed !== reviewed).length;
  for (const x of all()) if (keys.includes(key(x))) x.reviewed = reviewed;
  if (state.incidents) { state.incidents.unreviewed += reviewed ? -changed : changed; sorted(state.incidents.incidents); }
  drawInbox();
  if (state.event) drawDetail();
}
/** Open what has this key: an event, or the gravest event of an incident, which unfolds if it has several. */
function open(k) {
  const x = find(k), event = x && (key(x) === `i${x.id}` ? x.gravest_event_id : x.id);
  if (x?.event_count > 1) state.selected = String(event); // at once: the next key may come before it is loaded
  return go({ event: event ?? "", ...x?.event_count > 1 && { incident: x.id } }, true);
}

/** Mark an event or an incident as reviewed and select the next one to review. */
export function review(k) {
  const x = find(k);
  if (!x) return null;
  if (x.reviewed) return step(1);
  if (x.event_count === 1 && x.gravest_event_id === state.event?.id) return review(key(state.event)); // with its note
  const keys = order(), at = Math.max(keys.indexOf(k), keys.indexOf(`i${x.incident_id}`)), done = [k, ...implied(k, true)];
  const waiting = keys.filter((j) => !done.includes(j) && !find(j).reviewed), next = waiting.find((j) => keys.indexOf(j) > at) ?? waiting.at(-1);
  const notes = state.event && key(state.event) === k ? $("note").value : null, noted = notes !== null && notes !== (x.notes ?? "");
  state.undo.push([k]);
  write([k], true, () => patch(k, { reviewed: true, ...noted && { notes: notes || null } }));
  toast(`Reviewed: ${x.camera_names ? names(x) : cameraName(x.camera_id)}, ${x.event_count > 1 ? `${x.event_count} events, ` : ""}${x.risk_score} ${x.risk_level}.`, true);
  if (next) select(next);
  return param("event") && open(next); // also while it is being loaded
}
/** Mark the whole incident of what is selected or open. */
export function reviewIncident() {
  const x = state.event ?? find(state.selected ?? order()[0]);
  return x && review(`i${x.incident_id ?? x.id}`);
}
export async function reviewLow() {
  const changed = await patchEvents({ reviewed: true, risk_level: "low" }), keys = changed.ids.map(String);
  state.undo.push(keys);
  toast(`${plural(changed.count, "low event")} reviewed.`, keys.length > 0);
  refresh();
}
export function undo(keys = state.undo.pop() ?? (state.event?.reviewed ? [key(state.event)] : [])) {
  if (!keys.length) return;
  $("toast").hidden = true;
  write(keys, false, () => keys.length === 1 ? patch(keys[0], { reviewed: false }) : patchEvents({ reviewed: false, ids: keys.map(Number) }));
  select(keys[0]);
  if (param("event") && keys.length === 1) open(keys[0]);
}
export async function saveNote(value) {
  const { id } = state.event;
  state.event.notes = value || null;
  await patch(String(id), { notes: value || null });
  toast("Note saved.");
}
/** Answer what the open event was; it is reviewed with it, and stays open. */
export function answer({ dataset: { answer: given } }) {
  const { id } = state.event;
  state.event.answer = given;
  write([String(id)], true, async () => {
    const learned = await request("POST", `api/events/${id}/feedback`, { answer: given });
    toast(`Answered: ${ANSWERS[given].toLowerCase()}.${learned.points ? ` Such events get ${points(learned.points)} from now on.` : ""}`);
  });
}
export async function retryFrame(frame) {
  await retry(frame);
  toast("Queued again.");
}

export function step(by) {
  const keys = order().filter((k) => !state.event || k !== `i${state.incident?.id}`), i = keys.indexOf(state.selected);
  const k = keys[i < 0 ? 0 : Math.min(keys.length - 1, Math.max(0, i + by))];
  if (k === undefined) return;
  select(k);
  if (param("event")) open(k);
}
export function showFrame(i) {
  state.frame = Math.min(state.event.frames.length - 1, Math.max(0, i));
  drawDetail();
  showStrip();
}
/** Close the dialog, else the event, else fold the incident, else clear the filters. */
export function close() {
  const dialog = document.querySelector("dialog[open]:not(#token)"), { event, incident, selected } = state;
  if (dialog) return dialog.close();
  if (event) return go({ event: "" }).then(() => select(selected));
  return incident ? go({ incident: "" }).then(() => select(key(incident))) : filters().size && clear();
}
