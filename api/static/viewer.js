// The pictures of the open event: the original with its boxes, else the thumbnail, never boxes on an empty stage; zoom and pan.
import { $, h } from "./dom.js";
import { picture } from "./inbox.js";
import { cameraName, state } from "./state.js";
import { clock, plural } from "./text.js";

const ZOOM_MAX = 8, ZOOM_STEP = 1.5;
const SWIPE = 48; // pixels that a finger moves at least
const shown = new Set(); // URLs of pictures that were loaded: their boxes are drawn at once

/** How the open event is shown: its picture `z` times as large, moved by shares of the stage; whether it plays, and how fast. */
export const view = { event: null, z: 1, x: 0, y: 0, full: false, playing: false, speed: 1 };
const control = (act, label, sign, key, rest = {}) => h("button.quiet", { type: "button", title: label, data: { do: act }, ...rest }, h("span.sr", label), h("span", { "aria-hidden": "true" }, sign), key && h("kbd", { "aria-hidden": "true" }, key));

export function stage(e) {
  const f = e.frames[state.frame], n = e.frames.length;
  if (!f) return h("p.none", "Its pictures were deleted.");
  if (view.event !== e.id) Object.assign(view, { event: e.id, z: 1, x: 0, y: 0, playing: false });
  const what = f.detections.map((d) => d.object_type).join(", ") || "no objects", start = new Date(e.frames[0].captured_at);
  const src = [f.image_url, f.thumbnail_url].find((url) => url && !state.missing.has(url)), whole = src === f.image_url, after = (g) => `+${Math.round((new Date(g.captured_at) - start) / 1000)} s`;
  for (const near of [e.frames[state.frame + 1], e.frames[state.frame - 1]]) preload(near?.image_url);
  return [
    h("div.shot", { class: view.z > 1 && "zoomed", style: { "--ratio": (whole ? (f.width || 16) / (f.height || 9) : 4 / 3).toFixed(4) } },
      src ? h("div.zoom", { style: { "--z": view.z, transform: transform() } },
        picture(src, f.width, f.height, { alt: `${cameraName(e.camera_id)} at ${clock(f.captured_at, true)}: ${what}`, decoding: "sync", draggable: "false", data: { key: src, shot: src } }),
        whole && h("div.boxes", { hidden: !state.boxes || !shown.has(src), "aria-hidden": "true" }, f.detections.map((d) => box(d, f, e.evidence ?? []))))
        : h("p.none", "This picture was deleted.")),
    src && !whole && h("p.left", "The original was deleted. This is its thumbnail, with the boxes drawn on it."),
    h("div.controls", { role: "group", "aria-label": "Pictures" },
      n > 1 && [control("play", view.playing ? "Pause" : "Play", view.playing ? "❚❚" : "▶", "Space", { "aria-pressed": String(view.playing) }),
        h("input", { id: "scrub", type: "range", min: 0, max: n - 1, value: state.frame, "aria-label": "Picture", "aria-valuetext": `${state.frame + 1} of ${n}, ${after(f)}` }),
        h("output", `${state.frame + 1}/${n} ${after(f)}`), control("speed", `Speed ${view.speed}×, change`, `${view.speed}×`)],
      h("span.end", control("zoom-out", "Zoom out", "−", null, { disabled: view.z === 1 }), control("zoom-in", "Zoom in", "+", null, { disabled: view.z === ZOOM_MAX }),
        control("full", view.full ? "Leave full screen" : "Full screen", h("svg.corners", { viewBox: "0 0 14 14" }, h("path", { d: "M1 5V1h4M9 1h4v4M13 9v4H9M5 13H1V9" })), "f", { "aria-pressed": String(view.full) }),
        whole && h("a.quiet", { href: src, download: `${e.camera_id}-${f.captured_at.slice(0, 19).replaceAll(":", "")}.${/\.png/i.test(src) ? "png" : "jpg"}`, title: "Download the original" }, h("span.sr", "Download the original"), h("span", { "aria-hidden": "true" }, "⤓"), h("kbd", { "aria-hidden": "true" }, "d")),
        whole && h("button.quiet", { type: "button", data: { do: "boxes" }, "aria-pressed": String(state.boxes) }, "Boxes ", h("kbd", "b")))),
    h("figcaption.sr", `Frame ${state.frame + 1} of ${n}`),
    h("ol.strip", { data: { key: `strip${e.id}` } }, e.frames.map((g, i) => h("li", h("button", {
      type: "button", data: { do: "frame", i }, "aria-current": i === state.frame && "true", class: !g.detections.length && "none" },
    picture(g.thumbnail_url ?? g.image_url, 100, 56, { alt: `Frame ${i + 1}, ${plural(g.detections.length, "object")}`, loading: "lazy" }),
    h("span", after(g)))))),
  ];
}
/** Note that a picture was loaded; whether boxes that wait for it can be shown now. `preload` may have noted it before. */
export function loaded({ dataset: { shot } }) {
  if (shot) shown.add(shot);
  return shot && state.boxes && document.querySelector(".shot .boxes")?.hidden;
}
/** Load a picture that will be shown; resolves when it is there, or cannot be. */
export const preload = (url) => !url || shown.has(url) || state.missing.has(url) ? Promise.resolve() : new Promise((done) => {
  const image = new Image();
  image.onload = () => done(shown.add(url));
  image.onerror = done;
  image.src = url;
});

const transform = () => `translate(${(view.x * 100).toFixed(3)}%, ${(view.y * 100).toFixed(3)}%) scale(${view.z.toFixed(4)})`;
/** Show the picture `factor` times as large; the point (px, py), in shares of the stage, stays where it is. */
export function zoom(factor, px = 0.5, py = 0.5, draw = () => {}) {
  const z = Math.min(ZOOM_MAX, Math.max(1, view.z * factor)), k = z / view.z, turned = (z > 1) !== (view.z > 1) || z === ZOOM_MAX;
  Object.assign(view, { z, x: px - (px - view.x) * k, y: py - (py - view.y) * k });
  pan(0, 0);
  if (turned) draw();
}
export const zoomIn = (draw) => zoom(ZOOM_STEP, 0.5, 0.5, draw), zoomOut = (draw) => zoom(1 / ZOOM_STEP, 0.5, 0.5, draw);
/** Move the picture by shares of the stage, not beyond its borders. */
export function pan(dx, dy) {
  const inside = (v) => Math.min(0, Math.max(1 - view.z, v)), at = document.querySelector("#stage .zoom");
  Object.assign(view, { x: inside(view.x + dx), y: inside(view.y + dy) });
  at?.style.setProperty("transform", transform());
  at?.style.setProperty("--z", view.z);
}
export async function full(on = !view.full) {
  view.full = on;
  if (on) await document.documentElement.requestFullscreen?.().catch(() => {}); // a phone without it: the picture fills the page
  else if (document.fullscreenElement) await document.exitFullscreen();
}

/** Wheel, fingers and double clicks on the stage; `draw` the detail, `show` the picture so many further. */
export function listenToStage(draw, show) {
  const fingers = new Map(), of = (ev) => !ev.target.closest?.("button, a, input") && ev.target.closest?.(".shot");
  const share = (shot, x, y) => { const r = shot.getBoundingClientRect(); return [(x - r.left) / r.width, (y - r.top) / r.height]; };
  let first = null, many = false;
  document.addEventListener("wheel", (ev) => {
    const shot = of(ev), grows = ev.deltaY < 0;
    if (!shot || (view.z === 1 && (!grows || $("detail").scrollTop > 0))) return; // the page scrolls
    ev.preventDefault();
    zoom(Math.exp(-Math.max(-60, Math.min(60, ev.deltaY)) / 200), ...share(shot, ev.clientX, ev.clientY), draw);
  }, { passive: false });
  document.addEventListener("dblclick", (ev) => { if (of(ev)) zoom(view.z > 1 ? 0 : 2.5, ...share(of(ev), ev.clientX, ev.clientY), draw); });
  document.addEventListener("pointerdown", (ev) => {
    if (!of(ev) || ev.button) return;
    fingers.set(ev.pointerId, ev);
    many = fingers.size > 1;
    if (!many) first = ev;
    if (view.z > 1) of(ev).setPointerCapture(ev.pointerId);
  });
  document.addEventListener("pointermove", (ev) => {
    const before = fingers.get(ev.pointerId), shot = document.querySelector(".shot");
    if (!before || !shot) return;
    const r = shot.getBoundingClientRect(), other = [...fingers.values()].find((f) => f.pointerId !== ev.pointerId), apart = (f) => Math.hypot(f.clientX - other.clientX, f.clientY - other.clientY) || 1;
    fingers.set(ev.pointerId, ev);
    const half = other ? 2 : 1; // the middle between two fingers moves half as far as one of them
    if (other) zoom(apart(ev) / apart(before), ...share(shot, (ev.clientX + other.clientX) / 2, (ev.clientY + other.clientY) / 2), draw);
    if (view.z > 1) pan((ev.clientX - before.clientX) / r.width / half, (ev.clientY - before.clientY) / r.height / half);
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, (ev) => {
    if (!fingers.delete(ev.pointerId) || many || end === "pointercancel" || ev.pointerType !== "touch" || view.z > 1) return;
    const dx = ev.clientX - first.clientX, dy = ev.clientY - first.clientY;
    if (Math.abs(dx) > SWIPE && Math.abs(dx) > 2 * Math.abs(dy)) show(dx < 0 ? 1 : -1);
  });
  document.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement && view.full) { view.full = false; draw(); } });
}
/** Placed in per cent of the picture, so that it fits every size; its label is placed where there is room. */
function box(d, f, evidence) {
  const part = (n, of) => `${(100 * n / of).toFixed(4)}%`;
  const side = [d.bbox_y < 0.06 * f.height && "low", d.bbox_x > 0.8 * f.width && "right", evidence.includes(d.id) && "cited"].filter(Boolean).join(" ");
  return h("div.box", { class: side, data: { key: `b${d.id}` }, style: { left: part(d.bbox_x, f.width), top: part(d.bbox_y, f.height),
    width: part(d.bbox_width, f.width), height: part(d.bbox_height, f.height) } }, h("span", [`${d.object_type} ${d.confidence.toFixed(2)}`, ...Object.entries(d.attributes).map(([name, v]) => `${name} ${v}`)].join(" · ")));
}
