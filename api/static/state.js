// The page's state. Everything drawn is a function of this and of the URL.

export const WIDE = matchMedia("(min-width: 1100px)");
export const PAGE = WIDE.matches ? 40 : 15; // events requested at once

export const state = {
  status: null, cameras: [], incidents: null, heat: null,
  event: null, incident: null, // the open event; the unfolded incident, with its events
  past: null, // the day, month or search that is looked back at
  selected: null, frame: 0, boxes: true, limit: PAGE,
  welcome: false,     // the first camera sent its first picture, and nothing was opened since
  lost: null,         // why the server is unavailable
  statusAt: 0,        // server time of the last status, ms
  missing: new Set(), // URLs of pictures that could not be loaded
  undo: [],           // lists of marked keys, newest last
  marks: new Map(),   // key -> {reviewed, turn}: a mark that responses to requests up to `turn` may not contain yet
  turn: 0,            // number of requests for incidents
};

export const cameraName = (id) => state.cameras.find((c) => c.id === id)?.name ?? id;
/** Of an event, `5`, or incident, `i5`. */
/** Whether an incident has more to show than one event. */
export const isSeveral = (i) => i.event_count > 1 || Object.keys(i.alert_counts).length > 0;
export const key = (x) => "event_count" in x ? `i${x.id}` : String(x.id);
/** Apply marks: a response may be older than a mark, which holds until a request was sent after it was stored. */
export function applyMarks(items, turn = 0) {
  for (const [k, mark] of state.marks) if (turn > mark.turn) state.marks.delete(k);
  for (const x of items) if (state.marks.has(key(x))) x.reviewed = state.marks.get(key(x)).reviewed;
  return items;
}
const rank = (x) => x.reviewed ? -1 : x.risk_score;
/** The order of the inbox: unreviewed by risk, then time; after them the reviewed by time. */
export const sorted = (items) =>
  items.sort((a, b) => rank(b) - rank(a) || (a.started_at === b.started_at ? b.id - a.id : a.started_at < b.started_at ? 1 : -1));
/** The incidents of the inbox, and the unfolded one wherever it is. */
export function listed() {
  const list = state.incidents?.incidents ?? [], one = state.incident;
  return one && !list.some((i) => i.id === one.id) ? sorted([...list, one]) : list;
}
