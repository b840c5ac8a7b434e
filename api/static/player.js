// Play pictures: those of the open event in their own time or four times as fast, those of a card while the mouse is on it. A finger
// that moves a card to the side marks it as reviewed.
import { review, showFrame } from "./actions.js";
import { getEvent } from "./api.js";
import { drawDetail } from "./detail.js";
import { key, listed, state } from "./state.js";
import { preload, view } from "./viewer.js";

const SHORTEST_MS = 100; // that a picture is shown
const HOVER_MS = 250, HOVER_EACH_MS = 500, HOVER_MAX = 8; // nothing is loaded before the mouse has rested so long
const SWIPED = 96; // pixels
const CALM = matchMedia("(prefers-reduced-motion: reduce)");

let turn = 0;
export function pause() {
  turn += 1;
  view.playing = false;
}
/** Play from here, or from the start when it was played to the end; or stop. */
export async function play() {
  if (view.playing || state.event.frames.length < 2) { pause(); return drawDetail(); }
  const mine = turn += 1, { id } = state.event, goes = () => turn === mine && state.event?.id === id;
  view.playing = true;
  showFrame(state.frame + 1 < state.event.frames.length ? state.frame : 0);
  while (goes() && state.frame + 1 < state.event.frames.length) {
    const [now, next] = state.event.frames.slice(state.frame);
    const ms = (new Date(next.captured_at) - new Date(now.captured_at)) / view.speed;
    await Promise.all([new Promise((done) => setTimeout(done, Math.max(SHORTEST_MS, ms))), preload(next.image_url)]);
    if (goes()) showFrame(state.frame + 1);
  }
  if (turn === mine) { pause(); if (state.event) drawDetail(); }
}
export function changeSpeed() {
  view.speed = view.speed === 1 ? 4 : 1;
  drawDetail();
}

export function listenToCards() {
  let over = null, swiped = null;
  const cardOf = (ev) => ev.target.closest?.("#inbox .card") ?? null, incidentOf = (card) => listed().find((i) => key(i) === card.dataset.id);
  const leave = () => {
    if (!over) return;
    clearTimeout(over.timer);
    if (over.src) over.card.querySelector("img")?.setAttribute("src", over.src);
    over = null;
  };
  document.addEventListener("pointerover", (ev) => {
    const card = ev.pointerType === "mouse" ? cardOf(ev) : null;
    if (card === (over?.card ?? null)) return;
    leave();
    if (card && !CALM.matches) over = { card, timer: setTimeout(playCard, HOVER_MS) };
  });
  document.addEventListener("pointerout", (ev) => { if (!ev.relatedTarget) leave(); });
  async function playCard() {
    const mine = over, event = await getEvent(incidentOf(mine.card)?.gravest_event_id).catch(() => null);
    const all = (event?.frames ?? []).filter((f) => f.thumbnail_url), n = Math.min(HOVER_MAX, all.length);
    const urls = Array.from({ length: n }, (_, i) => all[Math.round(i * (all.length - 1) / Math.max(1, n - 1))].thumbnail_url);
    await Promise.all(urls.map(preload));
    const img = mine.card.querySelector("img"), usable = urls.filter((url) => !state.missing.has(url));
    if (over !== mine || usable.length < 2) return;
    mine.src = img.getAttribute("src");
    const show = (i) => { img.setAttribute("src", usable[i % usable.length]); mine.timer = setTimeout(show, HOVER_EACH_MS, i + 1); };
    show(0);
  }
  document.addEventListener("pointerdown", (ev) => { const card = ev.pointerType === "touch" && cardOf(ev); if (card) swiped = { card, x: ev.clientX, y: ev.clientY, dx: 0 }; });
  document.addEventListener("pointermove", (ev) => {
    if (!swiped) return;
    const dx = ev.clientX - swiped.x;
    swiped.dx = Math.abs(dx) > 2 * Math.abs(ev.clientY - swiped.y) ? dx : 0;
    swiped.card.firstChild.style.setProperty("transform", swiped.dx ? `translateX(${swiped.dx}px)` : "");
    swiped.card.classList.toggle("swiped", Math.abs(swiped.dx) > SWIPED);
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => {
    const done = swiped;
    swiped = null;
    done?.card.firstChild.style.removeProperty("transform");
    done?.card.classList.remove("swiped");
    if (end === "pointerup" && Math.abs(done?.dx ?? 0) > SWIPED) review(done.card.dataset.id);
  });
}
