// The settings page: notifiers with a test, what is kept, what was learned, and every setting with what sets it.
import { request } from "./api.js";
import { back } from "./camera.js";
import { $, h, put } from "./dom.js";
import { answers } from "./learned.js";
import { cameraName } from "./state.js";
import { ago, bytes, number, plural } from "./text.js";

const TEST_MS = 45_000; // the server gives up after 40 s
const now = { given: null, graph: null, health: null, stats: null, feedback: [], baselines: [], results: {} };

export async function openSettings() {
  const paths = ["system/settings", "system/graph", "system/health", "system/stats", "feedback", "baselines"];
  const [given, graph, health, stats, { feedback }, { baselines }] = await Promise.all(paths.map((path) => request("GET", `api/${path}`)));
  Object.assign(now, { given, graph, health, stats, feedback, baselines });
  drawSettings();
}
function drawSettings() {
  const { settings, folder, flow } = now.given, set = settings.filter((s) => s.source !== "default");
  put($("setup"), back("Settings"),
    h("div.columns.halves", h("div", notifiers(), kept(), learned()),
      h("section", h("h3", "Set"), h("p", "Settings are read at the start. To change one, write it into ", h("code", `${folder}/.env`), flow && [" or the table [settings] of ", h("code", flow)], " and start ", h("code", "hearthwatch run"), " again. A variable of the environment wins over .env, the flow file over both."),
        set.length ? rows(set) : h("p", "All settings have their defaults."),
        h("details", h("summary", `The other ${number(settings.length - set.length)}, with their defaults`), rows(settings.filter((s) => s.source === "default"))))));
}
/** Text with `names` in it, as the reference has them. */
const marked = (text) => text.split("`").map((part, n) => n % 2 ? h("code", part) : part);
const rows = (some) => h("dl.settings", some.map((s) => h("div", { data: { key: s.name } }, h("dt", h("code", s.name)), h("dd", h("b", s.value ?? "unset"), s.source !== "default" && h("small", ` from ${s.source === "environment" ? "the environment" : s.source}`), h("p", marked(`${s.meaning} Allowed: ${s.allowed}.`))))));
const value = (name) => now.given.settings.find((s) => s.name === name)?.value;

function notifiers() {
  const all = now.graph.nodes.filter((n) => n.notifies), consumers = now.health.services.consumers.details;
  return h("section", h("h3", "Notifications"), h("p", `From ${value("HEARTHWATCH_NOTIFY_LEVEL")} on`, value("HEARTHWATCH_QUIET_HOURS") && `, below high not between ${value("HEARTHWATCH_QUIET_HOURS")}`, ". A camera's page may set another level."),
    all.length ? h("ul.notifiers", all.map((n) => {
      const { last_success: sent, error } = consumers[n.name] ?? {}, result = now.results[n.name];
      return h("li", { data: { key: n.name } }, h("strong", n.name), h("small", n.label), h("button.quiet", { type: "button", data: { do: "test-notifier", name: n.name }, "aria-disabled": result === null && "true" }, "Send a test", h("span.sr", ` through ${n.name}`)),
        h("p", { role: "status", class: (result ? !result.ok : error) && "warn" }, result === null ? "Sending…" : result ? result.message : error || (sent ? ["last sent ", ago(sent)] : "nothing sent yet")));
    })) : h("p", "No notifier. Set ", h("code", "HEARTHWATCH_NTFY_URL"), ", ", h("code", "…_WEBHOOK_URL"), ", ", h("code", "…_MQTT_URL"), " or ", h("code", "…_APPRISE_URLS"), "."));
}
export async function testNotifier({ dataset: { name } }) {
  if (now.results[name] === null) return;
  now.results[name] = null;
  drawSettings();
  now.results[name] = await request("POST", `api/system/notifiers/${encodeURIComponent(name)}/test`, undefined, TEST_MS).catch((error) => ({ ok: false, message: error.message }));
  drawSettings();
}
function kept() {
  const { disk } = now.stats, limit = value("HEARTHWATCH_RETENTION_GB"), oldest = disk.oldest && [", the oldest picture is from ", ago(disk.oldest)];
  return h("section", h("h3", "Kept"), h("p", `${plural(disk.retention_days, "day")}`, limit && ` and at most ${limit} GB`, `; ${bytes(now.given.data_bytes)} are used`, oldest, ". ",
    value("HEARTHWATCH_RETENTION_ORIGINALS") === "true" ? "Uploads are deleted with their events." : "Uploads are never deleted."), h("p", `The disk has ${bytes(disk.total - disk.used)} free of ${bytes(disk.total)}.`),
  h("p", "To change it: ", h("code", "RETENTION_DAYS"), ", ", h("code", "HEARTHWATCH_RETENTION_GB"), "."));
}
function learned() {
  return h("section", h("h3", "Learned from your answers"), answers(now.feedback), h("h3", "What is normal"),
    now.baselines.length ? h("ul.notifiers", now.baselines.map((b) => h("li", { data: { key: b.camera_id } }, h("strong", cameraName(b.camera_id)), h("small", `${plural(b.days, "watched day")}`),
      h("p", Object.entries(b.per_day).slice(0, 5).map(([kind, n]) => `${kind} ${n < 0.1 ? "less than 0.1" : n.toFixed(1)} a day`).join(", ") || "nothing was seen")))) : h("p", "Not known yet: a camera has to be watched for a week."));
}
