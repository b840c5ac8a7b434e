// The page: loads what the URL asks for, listens to the server, and draws. Each part of the screen has a module of its own.
import { onChange, toast } from "./actions.js";
import { getEvents, getStatus, live } from "./api.js";
import { drawCameras, loadCameras } from "./cameras.js";
import { drawDetail, openEvent } from "./detail.js";
import { drawFilters, listen as listenToFilters } from "./filters.js";
import { drawHeat, loadHeat } from "./heat.js";
import { openHealth } from "./health.js";
import { drawInbox } from "./inbox.js";
import { listen } from "./keys.js";
import { PAGE, remember, sorted, state } from "./state.js";
import { drawFunnel, drawStatus } from "./status.js";
import { now, tick } from "./text.js";
import { asked, go, onRoute, param } from "./url.js";

const GATHER_MS = 250; // events that come closer together are shown together
const EVERY_MS = 1000; // and in a flood of them the page is renewed this often
const ASIDE_MS = 5000; // cameras and heat strip this often
const SIDE_MS = 15_000; // and this often while nothing happens
const QUIET_MS = 6_000; // the server tells its status every two seconds; where a proxy swallows that, we ask

let newest = 0;
async function loadEvents() {
  const query = asked(), wanted = query.toString(), turn = ++state.turn;
  query.set("limit", state.limit);
  const answer = await getEvents(query).catch((error) => {
    if (error.status !== 422) throw error; // somebody wrote a filter by hand
    toast(error.message);
    return { events: [], count: 0, levels: {} };
  });
  if (turn < newest || asked().toString() !== wanted) return; // a later answer is there, or the filters moved on
  newest = turn;
  state.events = { ...answer, events: sorted(remember(answer.events, turn)) };
  drawInbox();
  drawFilters();
  if (state.event) drawDetail();
}
function heard(status) {
  const first = state.status?.cameras_total === 0 && status.cameras_total > 0;
  Object.assign(state, { status, heard: now() });
  drawStatus();
  drawFunnel();
  if (first || state.lost) soon();
}
const loadStatus = async () => heard(await getStatus());

let shown = {};
async function route() {
  const query = asked().toString(), span = param("span"), event = Number(param("event")) || null, before = shown;
  shown = { query, span };
  drawFilters();
  if (query !== before.query) { state.limit = PAGE; drawCameras(); drawHeat(); }
  await Promise.all([query !== before.query && loadEvents(), span !== before.span && loadHeat()]);
  await open(event);
}
async function open(event) {
  try { await openEvent(event); } catch (error) {
    if (error.status !== 404) throw error;
    const into = error.body?.merged_into ?? error.body?.detail?.merged_into;
    if (!into) toast(error.message);
    await go({ event: into ?? "" }, true);
  }
}

/** Everything anew: at the start, and whenever the server is back. */
const start = () => trying(async () => {
  state.gone.clear();
  await loadStatus();
  await loadCameras();
  shown = {};
  await route();
  if (new URL(location.href).searchParams.has("health")) await openHealth();
});
/** What is shown, once more. */
const refresh = () => trying(async () => {
  await Promise.all([loadEvents(), loadStatus(), state.event && open(state.event.id)]);
  if (performance.now() - aside > ASIDE_MS) await loadAside();
});
let aside = -ASIDE_MS, renewed = -EVERY_MS, renewing = false, again = false;
function loadAside() {
  aside = performance.now();
  return Promise.all([loadCameras(), loadHeat()]);
}
function soon() {
  again = true;
  if (renewing) return;
  renewing = true;
  setTimeout(async () => {
    again = false;
    await (state.events ? refresh() : start());
    [renewed, renewing] = [performance.now(), false];
    if (again) soon();
  }, Math.max(GATHER_MS, renewed + EVERY_MS - performance.now()));
}
async function trying(work) {
  try {
    await work();
    state.lost = null;
  } catch (error) {
    if (error.status < 500) return toast(error.message);
    state.lost = error.message;
    if (!state.events) drawInbox();
  }
  return drawStatus();
}

onChange(soon);
onRoute(() => trying(route));
listenToFilters();
listen({ start, more: () => { state.limit += 40; return loadEvents(); } });
setInterval(() => { tick(); drawStatus(); }, 1000);
setInterval(() => {
  if (document.hidden || state.lost || !state.status) return;
  trying(() => Promise.all([loadAside(), now() - state.heard > QUIET_MS && loadStatus()]));
}, SIDE_MS);
let connected = false;
live({
  status: heard, event: soon,
  back: () => { connected = true; state.gone.clear(); soon(); }, // what came between the first answer and now was told to nobody
  gone: () => { if (connected) trying(loadStatus); },
});
start();
