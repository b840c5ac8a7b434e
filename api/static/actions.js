// Actions on incidents and events: mark, undo, note, next, previous. A mark shows at once and is sent to the server right after.
import { patch, patchEvents, request, retry, reviewMatching } from "./api.js";
import { drawDetail, showStrip } from "./detail.js";
import { $, h, put } from "./dom.js";
import { clear } from "./filters.js";
import { drawInbox, names, order, select } from "./inbox.js";
import { drop, keep, kept, sendKept } from "./kept.js";
import { ANSWERS, points, revoke } from "./learned.js";
import { cameraName, isSeveral, key, listed, sorted, state } from "./state.js";
import { plural } from "./text.js";
import { eventQuery, filters, go, param } from "./url.js";

const TOAST_MS = 6000, IDS_MAX = 1000; // of one request: 64 kB are taken
let fading, refresh = () => {};
/** Set the function that loads the server's state again, a little later. */
export const onChange = (f) => { refresh = f; };

export function toast(text, undo) {
  clearTimeout(fading);
  put($("toast"), text, " ", undo && h("button.quiet", { type: "button", data: { do: "undo" } }, "Undo ", h("kbd", "u")));
  $("toast").hidden = false;
  fading = setTimeout(dismissToast, TOAST_MS);
}
/** Hide the message: it is old, or not true any more. */
export const dismissToast = () => { $("toast").hidden = true; };

const events = () => [...state.event ? [state.event] : [], ...state.incident?.events ?? [], ...state.past?.items ?? []];
const all = () => [...events(), ...listed(), ...state.incident ? [state.incident] : []];
const find = (k) => all().find((x) => key(x) === k);
/** What a mark marks as well: the events of an incident; the incident of an event, if it was the last one to review. */
function implied(k, reviewed) {
  const incident = find(`i${find(k)?.incident_id}`);
  if (!incident) return events().filter((e) => `i${e.incident_id}` === k).map(key);
  const whole = state.incident?.id === incident.id ? state.incident.events : [];
  const last = !isSeveral(incident) || (whole.length > 0 && whole.every((e) => e.reviewed || key(e) === k));
  return reviewed && !last ? [] : [key(incident)];
}
const writing = new Map(); // key -> its last write
/** Write each event and incident one after the other; a failure is shown, and the server's state is loaded again. */
function write(given, reviewed, work) {
  const keys = [...given, ...given.flatMap((k) => implied(k, reviewed))], mark = { reviewed, turn: Infinity };
  const done = Promise.all(keys.map((k) => writing.get(k))).then(work)
    .then(() => { mark.turn = state.turn; }, (error) => { if (!keepUnsent(error, keys, mark)) { mark.turn = -1; toast(error.message); } }).then(refresh);
  for (const k of keys) { state.marks.set(k, mark); writing.set(k, done); }
  const changed = listed().filter((i) => keys.includes(key(i)) && i.reviewed !== reviewed).length;
  for (const x of all()) if (keys.includes(key(x))) x.reviewed = reviewed;
  if (state.incidents) { state.incidents.unreviewed += reviewed ? -changed : changed; sorted(state.incidents.incidents); }
  drawInbox();
  if (state.event) drawDetail();
}
/** Keep a mark that could not be sent, and say so; false: the server refused it. */
function keepUnsent({ unsent }, keys, mark) {
  if (!unsent) return false;
  mark.kept = keep({ ...unsent, keys, reviewed: mark.reviewed });
  if (!mark.kept) mark.turn = -1;
  toast(mark.kept ? "The server does not respond. Marks are kept in this browser and sent when it does." : "The server does not respond. The mark is lost: this browser stores nothing for this page.");
  return true;
}
/** Send the marks that were kept, also those of an earlier visit. */
export async function sendMarks() {
  const waiting = kept();
  if (!waiting.length) return;
  for (const { keys, reviewed } of waiting) for (const k of keys) state.marks.set(k, { reviewed, turn: Infinity, kept: true });
  const { sent, refused } = await sendKept(), left = new Set(kept().flatMap((m) => m.keys));
  for (const [k, mark] of state.marks) if (mark.kept && !left.has(k)) mark.turn = state.turn;
  if (sent || refused.length) toast([sent && `${plural(sent, "mark")} that waited ${sent === 1 ? "was" : "were"} sent.`, refused.length && `${plural(refused.length, "mark")} ${refused.length === 1 ? "is" : "are"} lost: ${refused[0]}`].filter(Boolean).join(" "));
}
/** Open what has this key: an event, or the gravest event of an incident, which unfolds if it has several. */
function open(k) {
  const x = find(k), event = x && (key(x) === `i${x.id}` ? x.gravest_event_id : x.id);
  if (x?.event_count > 1) state.selected = String(event); // at once: the next key may come before it is loaded
  return go({ event: event ?? "", ...x?.alert_counts && isSeveral(x) && { incident: x.id } }, true);
}

/** Mark an event or an incident as reviewed and select the next one to review. */
export function review(k) {
  const x = find(k);
  if (!x) return null;
  if (x.reviewed) return step(1);
  if (x.event_count === 1 && !isSeveral(x) && x.gravest_event_id === state.event?.id) return review(key(state.event)); // with its note
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
export async function reviewShown() {
  const query = eventQuery();
  query.set("reviewed", "false");
  const { ids } = await reviewMatching(query);
  state.undo.push(ids.map(String));
  toast(`${plural(ids.length, "event")} reviewed.`, ids.length > 0);
  refresh();
}
export async function undo(keys = state.undo.pop() ?? (state.event?.reviewed ? [key(state.event)] : [])) {
  if (!keys.length) return;
  dismissToast();
  if (keys.answer) {
    const { id } = await keys.learned, waited = !id && drop("POST", `api/events/${keys.answer}/feedback`); // it may have been sent since
    const stands = id ?? (!waited && (await request("GET", "api/feedback")).feedback.find((f) => f.event_id === keys.answer)?.id);
    if (stands) await revoke(stands).catch((error) => keepUnsent(error, [], {}) || toast(error.message));
    if (state.event?.id === keys.answer) { state.event.answer = null; drawDetail(); }
    if (keys.was) return void refresh();
  }
  write(keys, false, async () => {
    if (keys.length === 1) return patch(keys[0], { reviewed: false });
    for (let i = 0; i < keys.length; i += IDS_MAX) await patchEvents({ reviewed: false, ids: keys.slice(i, i + IDS_MAX).map(Number) });
  });
  select(keys[0]);
  if (param("event") && keys.length === 1) open(keys[0]);
}
export async function saveNote(value) {
  const { id } = state.event;
  state.event.notes = value || null;
  await patch(String(id), { notes: value || null });
  toast("Note saved.");
}
/** Answer what an event was, or an incident by its gravest event; it is reviewed with it, and an open event stays open. */
export function answer({ dataset: { answer: given, of } }) {
  const x = find(of), id = x.gravest_event_id ?? x.id;
  if (state.event?.id === id) state.event.answer = given;
  const step = Object.assign([of], { answer: id, was: x.reviewed });
  step.learned = new Promise((done) => {
    write([of], true, async () => {
      try {
        const learned = await request("POST", `api/events/${id}/feedback`, { answer: given });
        toast(`Answered: ${ANSWERS[given].toLowerCase()}. ${learnedText(learned)}`, true);
        done(learned);
      } finally { done({}); }
    });
  });
  state.undo.push(step);
}
const learnedText = ({ answer: given, signature, points: n }) => given === "nothing_there" ? `Boxes like these do not count from now on: ${signature}.`
  : n ? `Such events get ${points(n)} from now on: ${signature}.` : `Noted for ${signature}; it changes no score yet.`;
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
  if (!$("setup").hidden) return go({ camera: "", settings: "", add: "" });
  if (event) return go({ event: "" }).then(() => select(selected));
  return incident ? go({ incident: "" }).then(() => select(key(incident))) : filters().size && clear();
}
