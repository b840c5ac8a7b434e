// The zone editor: polygons over a camera's newest picture, drawn and changed by mouse, touch or keys. What one would have changed can be
// shown before it is saved; each save can be undone.
import { request } from "./api.js";
import { $, h, put } from "./dom.js";
import { capital, clock, dayName, number, plural } from "./text.js";
import { href } from "./url.js";

const KINDS = { public: "public ground", private: "private ground", own_door: "own door", window: "window", vehicle: "parked vehicles", ignore: "ignored" };
const STEP = 0.02, FINE = 0.004; // of the picture, for each press of an arrow key, and with Shift
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const NEAR = 0.03; // a click this close to an edge adds its corner there
const PREVIEW_MS = 75_000; // the server allows it 60 s
const CHANGES = { appears: "+", vanishes: "−", rises: "↑", falls: "↓" }; // of an event's level
const EMPTY = { corners: [], at: -1, of: -1, closed: false }; // what is drawn: its corners, the selected one, the zone it replaces, whether it has edges to add to
const now = { camera: "", zones: [], suggested: [], ...EMPTY, cross: null, drag: false, before: null, note: "", report: null, busy: false };
const url = (what) => `api/cameras/${encodeURIComponent(now.camera)}${what}`;

/** Edit the zones of this camera, as the API gives it; what is being drawn on it stays. */
export async function loadZones({ id, zones }) {
  if (id !== now.camera) Object.assign(now, { camera: id, suggested: [], ...EMPTY, cross: null, before: null, note: "", report: null });
  now.zones = zones ?? [];
  await attempt(() => {});
}
/** Do this, then draw with the suggestions that are left; a failure is shown beside the picture. */
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
  Object.assign(now, { ...EMPTY, before, note, report: null });
});
const changed = () => now.of < 0 ? [...now.zones, drawn()] : now.zones.with(now.of, drawn());
/** Ask what the drawn zone would have changed; the response is about these corners, and shown as long as they stay. */
async function preview() {
  const { camera, corners: about } = now;
  Object.assign(now, { busy: true, note: "Computing what would change…" });
  draw();
  await attempt(async () => {
    try {
      const report = await request("POST", url("/zones/preview"), changed(), PREVIEW_MS);
      if (camera === now.camera) now.report = { ...report, about };
      now.note = "";
    } finally { now.busy = false; }
  });
}
function differences({ counts, events, before, after }) {
  const sum = (kinds) => kinds.reduce((n, kind) => n + (counts[kind] ?? 0), 0), moved = sum(Object.keys(CHANGES)), others = sum(["cut", "changes"]);
  const shown = events.filter((e) => e.kind in CHANGES), level = (l) => capital(l ?? "no event");
  const count = (name, one) => before[name] === after[name] ? `${plural(after[name], one)} as before` : `${plural(before[name], one)} to ${number(after[name])}`;
  return h("section", { "aria-label": "What would change" }, h("p", h("strong", moved || others ? `In the last 7 days this would have changed ${count("incidents", "incident")}` : "Nothing of the last 7 days would have changed"),
    moved || others ? ` (${count("notifications", "notification")}): ` : ".", (moved || others) > 0 && `${moved ? plural(moved, "event") : "no event"} with another level`,
    others > 0 && `, ${number(others)} with another score or other pictures`, shown.length < moved && `; ${shown.length} are shown`, (moved || others) > 0 && "."),
  h("ul", shown.map((e) => h("li", { data: { key: `e${e.event_id}/${e.kind}` } }, h("span", { "aria-hidden": "true" }, CHANGES[e.kind]),
    h("strong", e.before ? h("a", { href: href({ event: e.event_id, camera: "" }), target: "_blank" }, when(e)) : when(e)), h("small", e.why.join("; ")), h("b", `${level(e.before)} → ${level(e.after)}`)))));
}
const when = (e) => `${dayName(e.started_at)} ${clock(e.started_at)}`;

const path = (points, open) => `M${points.map((p) => p.join(" ")).join("L")}${open ? "" : "Z"}`;
const swatch = (kind) => h("i", { class: kind, "aria-hidden": "true" });
const place = ([x, y]) => ({ left: `${x * 100}%`, top: `${y * 100}%` });
const draw = () => $("zones") && put($("zones"), editor());
/** The editor as it is now, for the element with the id `zones`. */
export function editor() {
  const { corners, of, at } = now, few = corners.length < 3;
  const button = (what, text, rest = {}, name = "") => h("button.quiet", { type: "button", ...rest, data: { zone: what, ...rest.data } }, text, name && h("span.sr", ` ${name}`));
  return [h("h3", "Zones"),
    h("div.plan", { id: "plan", tabindex: 0, role: "application", "aria-label": `The newest picture, ${corners.length} corners set. Arrow keys move the cross, Enter sets a corner, Backspace removes the last.` },
      h("img", { src: url("/snapshot"), alt: "", draggable: "false", data: { key: now.camera } }),
      h("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, now.suggested.map((z) => h("path.idea", { class: z.kind, d: path(z.points) })),
        now.zones.map((z, i) => i !== of && h("path", { class: z.kind, d: path(z.points) })), corners.length > 0 && h("path.new", { d: path(corners, few) })),
      corners.map((c, i) => h("button.corner", { type: "button", data: { key: `c${i}`, corner: i }, style: place(c), "aria-pressed": String(i === at),
        "aria-label": `Corner ${i + 1} of ${corners.length}. Arrow keys move it, Enter adds one behind it, Delete removes it.` })),
      now.cross && h("b.cross", { style: place(now.cross), "aria-hidden": "true" })),
    h("form", h("label", h("span.sr", "Kind"), h("select", { name: "kind" }, Object.entries(KINDS).map(([kind, name]) => h("option", { value: kind }, capital(name))))),
      h("label.note", h("span.sr", "Name"), h("input", { name: "name", maxlength: 100, placeholder: "Name", autocomplete: "off" })),
      button("remove", "Remove corner", { disabled: !corners.length }), button("cancel", "Cancel", { disabled: !corners.length }),
      button("preview", "What would change", { disabled: few, "aria-disabled": now.busy && "true" }), h("button.main", { disabled: few }, of < 0 ? "Add zone" : "Save zone")),
    h("p", { role: "status" }, now.note || (corners.length ? `${plural(corners.length, "corner")}${few ? " of at least 3" : ": drag one to move it, click an edge to add one"}.` : "Click the corners of a place, where feet touch the ground."), " ",
      now.before && button("undo", "Undo")),
    now.report?.about === corners && differences(now.report),
    h("ul", now.zones.map((z, i) => h("li", { class: i === of && "on" }, swatch(z.kind), h("strong", z.name), h("small", KINDS[z.kind]), h("span", button("edit", "Edit", { data: { i } }, z.name), button("delete", "Delete", { data: { i } }, z.name)))),
      now.suggested.map((z, i) => h("li.idea", swatch(z.kind), h("strong", `Suggested: ${KINDS[z.kind]}`), h("small", z.why), button("use", "Use", { data: { i } }, KINDS[z.kind]))))];
}

const form = () => $("zones").querySelector("form").elements;
const drawn = () => ({ name: form().name.value.trim() || KINDS[form().kind.value], kind: form().kind.value, points: now.corners });
function corners(all, at = -1) {
  Object.assign(now, { corners: all, at, note: "", before: null });
  draw();
}
const within = (v) => +Math.min(1, Math.max(0, v)).toFixed(4);
/** Add a corner: on the edge that is near it, or nearest where the zone is closed already; else as the last one. */
function corner(x, y) {
  const all = now.corners, far = all.map(([ax, ay], i) => {
    const [bx, by] = all[(i + 1) % all.length], dx = bx - ax, dy = by - ay, t = within(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1));
    return Math.hypot(x - ax - t * dx, y - ay - t * dy);
  });
  const nearest = Math.min(...far), i = all.length > 2 && (now.closed || nearest < NEAR) ? far.indexOf(nearest) + 1 : all.length;
  corners(all.toSpliced(i, 0, [within(x), within(y)]), i);
}
const move = (i, x, y) => corners(now.corners.with(i, [within(x), within(y)]), i);
const remove = (i = now.at < 0 ? now.corners.length - 1 : now.at) => corners(now.corners.toSpliced(i, 1), Math.min(i, now.corners.length - 2));
/** Take a zone, or a suggestion, into the drawing. */
function edit({ kind, name, points }, of = -1) {
  [form().kind.value, form().name.value] = [kind, name];
  Object.assign(now, { of, closed: true });
  corners(points);
}
const actions = {
  remove: () => remove(), cancel: () => { Object.assign(now, EMPTY); corners([]); }, preview: () => now.busy || preview(), undo: () => save(now.before, "Undone.", null),
  edit: (i) => edit(now.zones[i], i), use: (i) => edit(now.suggested[i]), delete: (i) => save(now.zones.toSpliced(i, 1), `Deleted: ${now.zones[i].name}.`),
};
const at = ({ clientX, clientY }) => { const plan = $("plan").getBoundingClientRect(); return [(clientX - plan.left) / plan.width, (clientY - plan.top) / plan.height]; };
const dragged = ({ target }) => target.dataset.corner && now.drag ? +target.dataset.corner : -1;

function onClick(ev) {
  const { zone, i } = ev.target.closest("[data-zone]")?.dataset ?? {}, { corner: c } = ev.target.dataset;
  if (zone) return actions[zone](+i);
  if (c !== undefined) return corners([...now.corners], +c);
  if (ev.target.closest("#plan") && ev.detail) { now.cross = null; corner(...at(ev)); }
}
function onKey(ev) {
  const is = ev.target.dataset.corner, [dx, dy] = (ARROWS[ev.key] ?? [0, 0]).map((v) => v * (ev.shiftKey ? FINE : STEP));
  if (!(is || ev.target.id === "plan") || !(ev.key in ARROWS || ["Enter", "Backspace", "Delete"].includes(ev.key))) return;
  ev.preventDefault();
  if (is) {
    const i = +is, [[x, y], [nx, ny]] = [now.corners[i], now.corners[(i + 1) % now.corners.length]];
    if (ev.key in ARROWS) return move(i, x + dx, y + dy);
    if (ev.key === "Enter") corners(now.corners.toSpliced(i + 1, 0, [within((x + nx) / 2), within((y + ny) / 2)]), i + 1); else remove(i);
    return ($("plan").querySelector(`[data-corner="${now.at}"]`) ?? $("plan")).focus();
  }
  if (ev.key !== "Enter" && !(ev.key in ARROWS)) return now.corners.length && remove(now.corners.length - 1);
  const [x, y] = now.cross ?? [0.5, 0.5];
  now.cross = [within(x + dx), within(y + dy)];
  return ev.key === "Enter" ? corner(...now.cross) : draw();
}
/** Listen to what happens inside this element, which holds the editor. */
export function listenToZones(box) {
  const mine = (f) => (ev) => { if (ev.target.closest?.("#zones")) f(ev); };
  box.addEventListener("click", mine(onClick));
  box.addEventListener("keydown", mine(onKey));
  box.addEventListener("submit", mine((ev) => {
    ev.preventDefault();
    save(changed(), `${now.of < 0 ? "Added" : "Saved"}: ${drawn().name}.`);
    form().name.value = "";
  }));
  box.addEventListener("change", mine(({ target }) => target.name === "kind" && corners([...now.corners], now.at)));
  box.addEventListener("pointerdown", mine((ev) => {
    if (!ev.target.dataset.corner) return;
    ev.target.setPointerCapture(ev.pointerId);
    now.drag = true;
  }));
  box.addEventListener("pointermove", mine((ev) => { if (dragged(ev) >= 0) move(dragged(ev), ...at(ev)); }));
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => { now.drag = false; });
}
