// The zone editor: polygons over a camera's newest picture, drawn by clicks or keys. What one would have changed can be shown before it
// is added; each change is saved at once, and can be undone.
import { request } from "./api.js";
import { $, h, put } from "./dom.js";
import { state } from "./state.js";
import { capital, clock, dayName, number, plural } from "./text.js";
import { href, param } from "./url.js";

const KINDS = { public: "public ground", private: "private ground", own_door: "own door", window: "window", vehicle: "parked vehicles", ignore: "ignored" };
const STEP = 0.02; // of the picture, for each press of an arrow key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PREVIEW_MS = 75_000; // the server allows it 60 s
const CHANGES = { appears: "+", vanishes: "−", rises: "↑", falls: "↓" }; // of an event's level
const now = { camera: "", zones: [], suggested: [], corners: [], cross: null, before: null, note: "", report: null, busy: false };
const url = (what) => `api/cameras/${encodeURIComponent(now.camera)}${what}`;

export async function openZones() {
  const dialog = $("zones");
  dialog.onclick = onClick; dialog.onkeydown = onKey; dialog.onsubmit = add; dialog.onchange = ({ target: { name, value } }) => name === "camera" ? load(value) : name === "kind" && corners([...now.corners]);
  dialog.showModal();
  await load(param("camera_id") || state.cameras[0].id);
}
async function load(camera) {
  Object.assign(now, { camera, zones: [], suggested: [], corners: [], cross: null, before: null, note: "" });
  draw();
  $("zones").querySelector("[name=camera]").value = camera;
  await attempt(async () => { now.zones = (await request("GET", url(""))).zones ?? []; });
}
/** Do this, then draw with the suggestions that are left; a failure is shown in the dialog, which covers everything else. */
async function attempt(work) {
  const { camera } = now;
  try {
    await work();
    const { zones } = await request("GET", url("/zones/suggestions"));
    if (camera === now.camera) now.suggested = zones;
  } catch (error) { now.note = error.message; }
  draw();
}
const save = (zones, note, before = now.zones) => attempt(async () => {
  now.zones = (await request("PUT", url("/zones"), zones)).zones ?? [];
  Object.assign(now, { before, note, report: null });
});
/** Ask what the drawn zone would have changed; the response is about these corners, and shown as long as they stay. */
async function preview() {
  const { camera, corners: of } = now;
  Object.assign(now, { busy: true, note: "Computing what would change…" });
  draw();
  await attempt(async () => {
    try {
      const report = await request("POST", url("/zones/preview"), [...now.zones, drawn()], PREVIEW_MS);
      if (camera === now.camera) now.report = { ...report, of };
      now.note = "";
    } finally { now.busy = false; }
  });
}
function differences({ counts, events }) {
  const sum = (kinds) => kinds.reduce((n, kind) => n + (counts[kind] ?? 0), 0), moved = sum(Object.keys(CHANGES)), others = sum(["cut", "changes"]);
  const shown = events.filter((e) => e.kind in CHANGES), level = (l) => capital(l ?? "no event");
  return h("section", { "aria-label": "What would change" }, h("p", moved || others ? `Of the last 7 days, ${moved ? plural(moved, "event") : "no event"} would have another level` : "No event of the last 7 days would change",
    others > 0 && `, ${number(others)} another score or other pictures`, shown.length < moved && `; ${shown.length} are shown`, "."),
  h("ul", shown.map((e) => h("li", { data: { key: `e${e.event_id}/${e.kind}` } }, h("span", { "aria-hidden": "true" }, CHANGES[e.kind]),
    h("strong", e.before ? h("a", { href: href({ event: e.event_id }), target: "_blank" }, when(e)) : when(e)), h("small", e.why.join("; ")), h("b", `${level(e.before)} → ${level(e.after)}`)))));
}
const when = (e) => `${dayName(e.started_at)} ${clock(e.started_at)}`;

const path = (points, open) => `M${points.map((p) => p.join(" ")).join("L")}${open ? "" : "Z"}`;
const swatch = (kind) => h("i", { class: kind, "aria-hidden": "true" });
function draw() {
  const button = (what, i, text, name) => h("button.quiet", { type: "button", data: { zone: what, i } }, text, h("span.sr", ` ${name}`));
  put($("zones"), h("div", h("header", h("h2", { id: "zones-title" }, "Zones"),
    h("label", h("span.sr", "Camera"), h("select", { name: "camera" }, state.cameras.map((c) => h("option", { value: c.id }, c.name)))),
    h("button.quiet", { type: "button", data: { do: "close" } }, h("span.sr", "Close"), h("kbd", { "aria-hidden": "true" }, "Esc"))),
  h("div.plan", { id: "plan", tabindex: 0, role: "application", "aria-label": `The newest picture, ${now.corners.length} corners set. Arrow keys move the cross, Enter sets a corner, Backspace removes the last.` },
    h("img", { src: url("/snapshot"), alt: "", data: { key: now.camera } }),
    h("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, now.suggested.map((z) => h("path.idea", { class: z.kind, d: path(z.points) })),
      now.zones.map((z) => h("path", { class: z.kind, d: path(z.points) })), now.corners.length > 0 && h("path.new", { d: path(now.corners, now.corners.length < 3) })),
    [...now.corners, ...now.cross ? [now.cross] : []].map(([x, y], i) => h("b", { class: i === now.corners.length && "cross", style: { left: `${x * 100}%`, top: `${y * 100}%` }, "aria-hidden": "true" }))),
  h("form", h("label", h("span.sr", "Kind"), h("select", { name: "kind" }, Object.entries(KINDS).map(([kind, name]) => h("option", { value: kind }, capital(name))))),
    h("label.note", h("span.sr", "Name"), h("input", { name: "name", maxlength: 100, placeholder: "Name", autocomplete: "off" })),
    h("button.quiet", { type: "button", data: { zone: "back" }, disabled: !now.corners.length }, "Remove corner"),
    h("button.quiet", { type: "button", data: { zone: "preview" }, disabled: now.corners.length < 3, "aria-disabled": now.busy && "true" }, "What would change"), h("button.main", { disabled: now.corners.length < 3 }, "Add zone")),
  h("p", { role: "status" }, now.note || (now.corners.length ? `${plural(now.corners.length, "corner")}${now.corners.length < 3 ? " of at least 3" : ""}.` : "Click the corners of a place, where feet touch the ground."), " ",
    now.before && h("button.quiet", { type: "button", data: { zone: "undo" } }, "Undo")),
  now.report?.of === now.corners && differences(now.report),
  h("ul", now.zones.map((z, i) => h("li", swatch(z.kind), h("strong", z.name), h("small", KINDS[z.kind]), button("delete", i, "Delete", z.name))),
    now.suggested.map((z, i) => h("li.idea", swatch(z.kind), h("strong", `Suggested: ${KINDS[z.kind]}`), h("small", z.why), button("use", i, "Use", KINDS[z.kind]))))));
}

function add(ev) {
  ev.preventDefault();
  const zone = drawn();
  form().name.value = "";
  now.corners = [];
  return save([...now.zones, zone], `Added: ${zone.name}.`);
}
const form = () => $("zones").querySelector("form").elements;
const drawn = () => ({ name: form().name.value.trim() || KINDS[form().kind.value], kind: form().kind.value, points: now.corners });
function corners(all) {
  Object.assign(now, { corners: all, note: "", before: null });
  draw();
}
const corner = (x, y) => corners([...now.corners, [x, y].map((v) => +Math.min(1, Math.max(0, v)).toFixed(4))]);
const back = () => corners(now.corners.slice(0, -1));
function use({ kind, name, points }) {
  form().kind.value = kind;
  form().name.value = name;
  corners(points);
}
function onClick(ev) {
  const { zone, i } = ev.target.closest("[data-zone]")?.dataset ?? {}, plan = ev.target.closest("#plan")?.getBoundingClientRect();
  if (plan && ev.detail) { now.cross = null; corner((ev.clientX - plan.left) / plan.width, (ev.clientY - plan.top) / plan.height); }
  if (zone === "back") back();
  if (zone === "undo") save(now.before, "Undone.", null);
  if (zone === "delete") save(now.zones.filter((_, n) => n !== +i), `Deleted: ${now.zones[i].name}.`);
  if (zone === "use") use(now.suggested[i]);
  if (zone === "preview" && !now.busy) preview();
}
function onKey(ev) {
  if (ev.target.id !== "plan" || !(ev.key in ARROWS || ["Enter", "Backspace"].includes(ev.key))) return;
  ev.preventDefault();
  const [x, y] = now.cross ?? [0.5, 0.5], [dx, dy] = ARROWS[ev.key] ?? [0, 0], within = (v) => Math.min(1, Math.max(0, v));
  if (ev.key === "Backspace") return back();
  now.cross = [within(x + dx * STEP), within(y + dy * STEP)];
  return ev.key === "Enter" ? corner(...now.cross) : draw();
}
