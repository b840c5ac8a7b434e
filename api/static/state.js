// The page's state. Everything drawn is a function of this and of the URL.

export const WIDE = matchMedia("(min-width: 1100px)");
export const PAGE = WIDE.matches ? 40 : 15; // events requested at once

export const state = {
  status: null, cameras: [], events: null, heat: null, event: null,
  selected: null, frame: 0, boxes: true, limit: PAGE,
  lost: null,         // why the server is unavailable
  statusAt: 0,        // server time of the last status, ms
  missing: new Set(), // URLs of pictures that could not be loaded
  undo: [],           // ids of marked events, newest last
  marks: new Map(),   // event id -> {reviewed, turn}: a mark that responses to requests up to `turn` may not contain yet
  turn: 0,            // number of requests for events
};

export const cameraName = (id) => state.cameras.find((c) => c.id === id)?.name ?? id;
/** Apply marks to events: a response may be older than a mark, which holds until a request was sent after it was stored. */
export function applyMarks(events, turn = 0) {
  for (const [id, mark] of state.marks) if (turn > mark.turn) state.marks.delete(id);
  for (const e of events) if (state.marks.has(e.id)) e.reviewed = state.marks.get(e.id).reviewed;
  return events;
}
const rank = (e) => e.reviewed ? -1 : e.risk_score;
/** The order of the inbox: unreviewed by risk, then time; after them the reviewed by time. */
export const sorted = (events) =>
  events.sort((a, b) => rank(b) - rank(a) || (a.started_at === b.started_at ? b.id - a.id : a.started_at < b.started_at ? 1 : -1));
