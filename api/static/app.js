// The page: load what the URL asks for, receive live events, draw. Each part of the screen is one module.
import { onChange, toast } from "./actions.js";
import { getIncident, getIncidents, getStatus, live, request } from "./api.js";
import { drawCameras, loadCameras } from "./cameras.js";
import { drawDetail, openEvent } from "./detail.js";
import { drawFilters, listen as listenToFilters } from "./filters.js";
import { drawHeat, loadHeat } from "./heat.js";
import { openHealth } from "./health.js";
import { drawInbox, select } from "./inbox.js";
import { listen as listenToInput } from "./keys.js";
import { PAGE, applyMarks, key, sorted, state } from "./state.js";
import { drawFunnel, drawStatus } from "./status.js";
import { now, tick } from "./text.js";
import { eventQuery, go, onRoute, param } from "./url.js";

const DEBOUNCE_MS = 250; // events that arrive closer together are shown together
const REFRESH_MS = 1000; // at most one refresh in this time, however many events arrive
const SIDE_MS = 5000; // and cameras and heat strip at most once in this
const IDLE_MS = 15_000; // they are loaded this often while no event arrives
const STATUS_MS = 6_000; // the server sends its status every two seconds; without one for this long (a proxy buffers it) the page requests it

let newest = 0;
async function loadInbox() {
  if (state.status?.watching === null) state.journal = await request("GET", "api/journal");
  const query = eventQuery(), wanted = query.toString(), one = param("incident"), turn = ++state.turn;
  query.set("limit", state.limit);
  const [response, incident] = await Promise.all([getIncidents(query).catch((error) => {
    if (error.status !== 422) throw error; // an invalid filter in the URL
    toast(error.message);
    return { incidents: [], count: 0, unreviewed: 0, levels: {} };
  }), one && follow("incident", () => getIncident(one))]);
  if (turn < newest || eventQuery().toString() !== wanted || param("incident") !== one) return; // a later response is shown already, or the URL changed
  newest = turn;
  const first = incident && incident.id !== state.incident?.id;
  state.incident = incident || null;
  if (incident) applyMarks([incident, ...incident.events]);
  state.incidents = { ...response, incidents: sorted(applyMarks(response.incidents, turn)) };
  drawInbox();
  drawFilters();
  if (first && !param("event")) select(key(incident));
  if (state.event) drawDetail();
}
/** Go to what this was merged into; say what does not exist. */
async function follow(name, work) {
  try { return await work(); } catch (error) {
    if (error.status !== 404 && error.status !== 422) throw error;
    const into = error.body?.merged_into ?? "";
    if (!into) toast(error.message);
    return void await go({ [name]: into }, true);
  }
}
function receiveStatus(status) {
  const first = state.status?.cameras_total === 0 && status.cameras_total > 0;
  Object.assign(state, { status, statusAt: now() });
  drawStatus();
  drawFunnel();
  if (first || state.lost) scheduleRefresh();
}
const loadStatus = async () => receiveStatus(await getStatus());

let shown = {};
async function route() {
  const query = eventQuery().toString(), incident = param("incident"), span = param("span"), event = Number(param("event")) || null, before = shown;
  shown = { query, incident, span };
  drawFilters();
  if (query !== before.query) { state.limit = PAGE; drawCameras(); drawHeat(); }
  await Promise.all([(query !== before.query || incident !== before.incident) && loadInbox(), span !== before.span && loadHeat()]);
  await open(event);
}
const open = (event) => follow("event", () => openEvent(event));

/** Load everything: at the start, and whenever the server is available again. */
const start = () => withErrors(async () => {
  state.missing.clear();
  await loadStatus();
  await loadCameras();
  shown = {};
  await route();
  if (new URL(location.href).searchParams.has("health")) await openHealth();
});
/** Load again what is shown. */
const refresh = () => withErrors(async () => {
  await Promise.all([loadInbox(), loadStatus(), state.event && open(state.event.id)]);
  if (performance.now() - sideAt > SIDE_MS) await loadSide();
});
let sideAt = -SIDE_MS, refreshedAt = -REFRESH_MS, refreshing = false, again = false;
function loadSide() {
  sideAt = performance.now();
  return Promise.all([loadCameras(), loadHeat()]);
}
function scheduleRefresh() {
  again = true;
  if (refreshing) return;
  refreshing = true;
  setTimeout(async () => {
    again = false;
    await (state.incidents ? refresh() : start());
    [refreshedAt, refreshing] = [performance.now(), false];
    if (again) scheduleRefresh();
  }, Math.max(DEBOUNCE_MS, refreshedAt + REFRESH_MS - performance.now()));
}
async function withErrors(work) {
  try {
    await work();
    state.lost = null;
  } catch (error) {
    if (error.status < 500) return toast(error.message);
    state.lost = error.message;
    if (!state.incidents) drawInbox();
  }
  return drawStatus();
}

onChange(scheduleRefresh);
onRoute(() => withErrors(route));
listenToFilters();
listenToInput({ start, more: () => { state.limit += 40; return loadInbox(); } });
setInterval(() => { tick(); drawStatus(); }, 1000);
setInterval(() => {
  if (document.hidden || state.lost || !state.status) return;
  withErrors(() => Promise.all([loadSide(), now() - state.statusAt > STATUS_MS && loadStatus()]));
}, IDLE_MS);
let connected = false;
live({
  status: receiveStatus, news: scheduleRefresh,
  open: () => { connected = true; state.missing.clear(); scheduleRefresh(); }, // events between the first response and now were not received
  error: () => { if (connected) withErrors(loadStatus); },
});
start();
