// What the page knows. Everything drawn is a function of this and of the URL.

export const WIDE = matchMedia("(min-width: 1100px)");
export const PAGE = WIDE.matches ? 40 : 15; // events asked for at once

export const state = {
  status: null, cameras: [], events: null, heat: null, event: null,
  selected: null, frame: 0, boxes: true, limit: PAGE,
  lost: null,         // why the server does not answer
  heard: 0,           // server time of its last word, ms
  gone: new Set(),    // pictures that are no longer there
  undo: [],           // ids that were marked, newest last
  decided: new Map(), // event id -> {reviewed, turn}: a mark that answers asked for before `turn` do not know yet
  turn: 0,            // counts how often events were asked for
};

export const cameraName = (id) => state.cameras.find((c) => c.id === id)?.name ?? id;
/** Answers can be older than what was marked here: the mark holds until the server was asked after it had it. */
export function remember(events, turn = 0) {
  for (const [id, mark] of state.decided) if (turn > mark.turn) state.decided.delete(id);
  for (const e of events) if (state.decided.has(e.id)) e.reviewed = state.decided.get(e.id).reviewed;
  return events;
}
const rank = (e) => e.reviewed ? -1 : e.risk_score;
/** The order of the inbox: unreviewed by risk, then time; after them the reviewed by time. */
export const sorted = (events) =>
  events.sort((a, b) => rank(b) - rank(a) || (a.started_at === b.started_at ? b.id - a.id : a.started_at < b.started_at ? 1 : -1));
