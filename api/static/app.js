// The page: load what the URL asks for, receive live events, draw. Each part of the screen is one module.
import { onChange, sendMarks, toast } from "./actions.js";
import { getIncident, getIncidents, getStatus, live, request } from "./api.js";
import { openAdd, openCamera, waits } from "./camera.js";
import { drawCameras, loadCameras } from "./cameras.js";
import { drawDetail, openEvent } from "./detail.js";
import { $ } from "./dom.js";
import { drawFilters, listen as listenToFilters } from "./filters.js";
import { drawHeat, loadHeat } from "./heat.js";
import { openHealth } from "./health.js";
import { loadPast, listen as listenToHistory } from "./history.js";
import { LIMIT_MAX, MORE, drawInbox, select } from "./inbox.js";
import { listen as listenToInput } from "./keys.js";
import { openSettings } from "./settings.js";
import { PAGE, applyMarks, key, sorted, state } from "./state.js";
import { drawFunnel, drawStatus } from "./status.js";
import { now, tick } from "./text.js";
import { eventQuery, go, has, onRoute, param } from "./url.js";

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
  Object.assign(state, { status, statusAt: now(), welcome: state.welcome || first });
  drawStatus();
  drawFunnel();
  if (first) withErrors(loadCameras).then(drawInbox);
  else if (waits()) withErrors(async () => { await loadCameras(); if (state.cameras.some((c) => c.id === param("camera") && c.last_seen_at)) await openSetup(); });
  if (first || state.lost) scheduleRefresh();
}
const loadStatus = async () => receiveStatus(await getStatus());

let shown = {};
async function route() {
  const query = eventQuery().toString(), incident = param("incident"), span = param("span"), event = Number(param("event")) || null, before = shown;
  shown = { query, incident, span };
  drawFilters();
  if (has("health")) openHealth(); else $("health").close();
  if (query !== before.query) { if (before.query !== undefined) state.limit = PAGE; drawCameras(); drawHeat(); }
  await Promise.all([(query !== before.query || incident !== before.incident) && loadInbox(), span !== before.span && loadHeat(), loadPast()]);
  await Promise.all([open(event), openSetup()]);
}
/** Show a page that takes the place of inbox and side; none: those. */
async function openSetup() {
  const camera = param("camera"), shows = Boolean(camera || param("settings") || param("add")), box = $("setup");
  if (shows) await (camera ? openCamera(camera) : param("add") ? openAdd() : openSettings()).catch((error) => { go({ camera: "", settings: "", add: "" }, true); throw error; });
  document.body.classList.toggle("setting", shows);
  if (shows && state.welcome) leaveFirstRun();
  if (box.hidden === shows) { box.hidden = !shows; scrollTo(0, 0); }
}
const open = (event) => follow("event", () => openEvent(event));

/** Load everything: at the start, and whenever the server is available again. */
const start = () => withErrors(async () => {
  state.missing.clear();
  await loadStatus();
  await sendMarks();
  await loadCameras();
  shown = {};
  await route();
});
/** Load again what is shown. */
const refresh = () => withErrors(async () => {
  await sendMarks();
  await Promise.all([loadInbox(), loadPast(true), loadStatus(), state.event && open(state.event.id)]);
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

function leaveFirstRun() {
  state.welcome = false;
  drawInbox();
  drawStatus();
}
$("health").addEventListener("close", () => has("health") && go({ health: "" }, true));
onChange(scheduleRefresh);
onRoute(() => withErrors(route));
listenToFilters();
listenToHistory();
listenToInput({ start, inbox: leaveFirstRun, more: () => { state.limit = Math.min(LIMIT_MAX, state.limit + MORE); return loadInbox(); } });
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

// The page opens without the server, too, and says so; browsers allow this over TLS and on this machine.
const policy = globalThis.trustedTypes?.createPolicy("hearthwatch", { createScriptURL: (url) => url }) ?? { createScriptURL: (url) => url };
navigator.serviceWorker?.register(policy.createScriptURL("static/offline.js"), { scope: "./" }).catch(() => {}); // without it the page is as before
