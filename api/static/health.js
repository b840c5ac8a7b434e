// The health drawer: what is wrong, the ledger, services, cameras, consumers, the graph, how long each stage takes, quarantined files.
import { request } from "./api.js";
import { $, h, put } from "./dom.js";
import { graph } from "./graph.js";
import { ago, bytes, number, plural, seconds } from "./text.js";

const EVERY_MS = 5000;
let timer;

export async function openHealth() {
  const dialog = $("health");
  if (dialog.open) return;
  put(dialog, top());
  dialog.showModal();
  dialog.focus(); // rather than its first button
  await loadHealth();
  timer ??= setInterval(() => dialog.open && loadHealth(), EVERY_MS);
}
async function loadHealth() {
  try {
    const [health, stats, gpu, set, running] = await Promise.all(["health", "stats", "gpu", "quarantine", "graph"].map((what) => request("GET", `api/system/${what}`)));
    put($("health"), top(health.timestamp), conditions(health), ledger(stats.ledger), services(health.services), cameras(health.services.cameras.details), consumers(health.services.consumers.details), graph(running), stages(stats.stages), pair(stats, gpu), quarantined(set.frames));
  } catch (error) { put($("health"), top(), h("section", h("p", error.message))); }
}

const top = (at) => h("header", h("h2", { id: "health-title" }, "Health"), at && h("p", ago(at)),
  h("button.quiet", { type: "button", data: { do: "close" } }, h("span.sr", "Close"), h("kbd", { "aria-hidden": "true" }, "Esc")));

/** What is wrong; a service that is bad for a reason that is no condition is listed with it, so that the two never contradict. */
function conditions({ conditions: all, services }) {
  const list = Object.entries(services), bad = list.filter(([, s]) => ["degraded", "unhealthy"].includes(s.status) && !all.some((c) => s.message.startsWith(c.message))), whys = Map.groupBy(bad, ([, s]) => s.message);
  return h("section", h("h3", "Problems"), all.length || bad.length ? h("ul.conditions", all.map((c) => h("li", { class: c.severity !== "info" && "warn", data: { key: `${c.kind}/${c.subject}` } },
    h("span", c.message), " ", h("small", "for ", ago(c.since, "")))), [...whys].map(([why, some]) => h("li.warn", { data: { key: why } }, h("span", `${some.map(([name]) => name).join(", ")}: ${why}`))))
    : h("p", list.some(([, s]) => s.status === "starting") ? "None so far: the pipeline is starting." : "All is well."));
}
/** A table of what there is several of: a row for each name, a column for each head. */
function table(title, heads, rows) {
  return rows.length > 0 && h("section", h("h3", title), h("table.stages.plain", h("thead", h("tr", h("th", { scope: "col" }, h("span.sr", "Name")), heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", rows.map(([name, bad, ...cells]) => h("tr", { class: bad && "warn", data: { key: name } }, h("th", { scope: "row" }, name), cells.map((cell) => h("td", cell)))))));
}
const cameras = (all) => table("Cameras, last hour", ["last picture", "pictures", "unusable", "clock"], Object.values(all).map((c) => [c.name, c.silent || c.quarantined_share > 0.5,
  c.last_picture ? ago(c.last_picture) : "none yet", number(c.pictures), number(c.quarantined), offset(c.clock_offset_seconds)]));
const offset = (s) => s === null || Math.abs(s) < 1 ? "right" : `${seconds(Math.abs(s))} ${s > 0 ? "slow" : "fast"}`;
const consumers = (all) => table("Consumers", ["last success", "delivered", "failed", "waiting"], Object.entries(all).map(([name, c]) => [name, Boolean(c.error),
  c.last_success ? ago(c.last_success) : "none yet", number(c.delivered), number(c.failed), number(c.lag)]));
/** The page adds up the states itself, so that it shows a server's wrong count. */
function ledger(l) {
  const parts = ["settled", "discovered", "quarantined"], off = l.files - parts.reduce((sum, name) => sum + l[name], 0);
  return h("section", h("h3", "Every file is accounted for"),
    h("p.ledger", ["files", ...parts].map((name, i) => [i > 0 && h("i", i === 1 ? "=" : "+"),
      h("span", { class: name === "quarantined" && l[name] && "warn" }, h("b", number(l[name])), name)])),
    off ? h("p.odd", `Off by ${number(Math.abs(off))}: this should never happen. Please report it.`) : h("p.even", "✓ Balanced: nothing lost, nothing counted twice."));
}
function services(all) {
  return h("section", h("h3", "Services"), h("ul.services", Object.entries(all).map(([name, s]) =>
    h("li", { class: ["healthy", "starting", "disabled"].includes(s.status) ? "" : "warn" }, h("b", name), h("span", s.status === "disabled" ? "off" : s.status), h("p", s.message ?? "")))));
}
function stages(all) {
  if (!all?.length) return null;
  const log = (s) => Math.log10(1 + (s ?? 0) * 1000), slowest = Math.max(...all.map((s) => log(s.p95_s)), 1);
  return h("section", h("h3", "Stages"), h("table.stages",
    h("thead", h("tr", h("th", { scope: "col" }, h("span.sr", "Stage")), h("th", { scope: "col" }, "p50"), h("th", { scope: "col" }, "p95"),
      h("th", { scope: "col" }, h("span.sr", "p95, log scale")), h("th", { scope: "col" }, "waiting"))),
    h("tbody", all.map((s) => h("tr", h("th", { scope: "row" }, s.name), h("td", seconds(s.p50_s)), h("td", seconds(s.p95_s)),
      h("td", h("i", { style: { "--n": (log(s.p95_s) / slowest).toFixed(2) } })), h("td", s.waiting === null || s.waiting === undefined ? "–" : number(s.waiting)))))));
}
const share = (label, a, b) => h("meter", { min: 0, max: b, value: a, "aria-label": label }, `${Math.round(100 * a / b)} %`);
function pair(stats, gpu) {
  const speed = stats.images_per_s_history ?? [], peak = Math.max(...speed, 0.01), d = stats.disk, l = stats.llm;
  return h("section.pair",
    h("div", h("h3", "Pictures"), h("p", h("b", (stats.images_per_s ?? 0).toFixed(2)), " per second"),
      speed.length > 1 && [h("svg.spark", { viewBox: "0 0 240 36", preserveAspectRatio: "none", role: "img", "aria-label": "Pictures per second in the last 15 hours, by quarters" },
        h("polyline", { points: speed.map((v, i) => `${i * 240 / (speed.length - 1)},${34 - v / peak * 32}`).join(" ") })), h("small", `last 15 hours, busiest quarter ${peak.toFixed(2)}`)]),
    l && h("div", h("h3", "Language model"), h("p", l.model ? [h("b", number(l.pending ?? 0)), " pending"] : "off, only the rules judge events"),
      l.model && h("small", l.model)),
    gpu?.gpu_utilization !== null && gpu?.gpu_utilization !== undefined
      ? h("div", h("h3", "GPU"), h("p", h("b", `${Math.round(gpu.gpu_utilization)} %`), " busy, ", h("b", `${Math.round(gpu.temperature)} °C`)),
        share("GPU memory", gpu.memory_used, gpu.memory_total), h("small", `${bytes(gpu.memory_used)} of ${bytes(gpu.memory_total)} memory`))
      : h("div", h("h3", "GPU"), h("p", "none, detection runs on the CPU")),
    d && h("div", h("h3", "Disk"), h("p", h("b", bytes(d.used)), ` of ${bytes(d.total)}`), share("Disk", d.used, d.total),
      h("small", `Kept ${plural(d.retention_days, "day")}.`, d.full_in_days && ` Without deletion full in ${plural(d.full_in_days, "day")}.`)));
}
function quarantined(frames) {
  return h("section", h("h3", "Quarantined"), frames.length ? h("ul.bad-files", frames.map((f) => h("li", { data: { key: f.id } },
    h("code", f.path), h("p", `${f.stage}: ${f.reason}. `, f.attempt > 1 && `Tried ${f.attempt} times. `, f.at && ago(f.at)),
    f.retried ? h("span.quiet", "queued again") : h("button.quiet", { type: "button", data: { do: "retry-frame", frame: f.id } }, "Try again")))) : h("p", "No file is quarantined."));
}
