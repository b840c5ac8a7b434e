// The first line, the banner and the day's funnel. Red only when a person is needed; stale data looks stale.
// "live" is the pipeline's heartbeat (`at`), not that the web server responds.
import { $, h, put } from "./dom.js";
import { cameraName, state } from "./state.js";
import { age, ago, capital, clock, dayName, glyph, now, number, plural, span } from "./text.js";
import { href } from "./url.js";

const STALE_MS = 15_000; // the heartbeat comes every second or two, the status every two
const BEHIND = 20; // seconds a picture may wait before a warning, as in the API's health

/** Why the page may be stale: no server, or no pipeline; null while it is live. */
function stale() {
  const s = state.status, at = s?.at && +new Date(s.at);
  if (state.lost) return { why: state.lost, since: s && state.statusAt };
  if (!s) return null;
  if (now() - state.statusAt > STALE_MS) return { why: "The server has stopped sending.", since: state.statusAt };
  if (!at) return { why: "The pipeline has not run yet. Start it with", command: "hearthwatch run" };
  if (now() - at > STALE_MS) return { why: "The pipeline sends no heartbeat. Pictures wait on disk and are processed when it runs again.", since: at };
  return null;
}

export function drawStatus() {
  const s = state.status, old = stale();
  document.body.classList.toggle("stale", Boolean(old));
  document.body.classList.toggle("bare", !s || s.cameras_total === 0 || state.welcome);
  drawBanner(old);
  if (!s) {
    put($("status"), old ? h("li.head.off", h("i.dot"), "No connection") : h("li.head", "Connecting…"));
    return;
  }
  const bad = s.needs_person, silent = state.cameras.filter((c) => c.silent);
  document.title = [old && "(stale)", bad && "!", s.to_review ? `${s.to_review} to review · Hearthwatch` : "Hearthwatch"].filter(Boolean).join(" ");
  put($("status"),
    bad
      ? h("li.head.bad", { data: { level: bad.level } }, h("a", { href: href({ event: bad.event_id }), data: { event: bad.event_id } },
        glyph("critical"), ` ${capital(bad.level)} at ${cameraName(bad.camera_id)}`))
      : (old || !s.problem) && h("li.head", { class: old && "off" }, h("i.dot"), old ? "Not live" : s.starting ? "Starting" : s.cameras_total ? "All well" : "Ready"),
    !old && s.problem && problem(s.problems, s.problem),
    s.watching !== null && [h("li", h("a", { href: href({ reviewed: "false", event: "" }), data: { set: JSON.stringify({ reviewed: "false", event: "" }) } },
      h("b", number(s.to_review)), s.to_review === 1 ? " event to review" : " events to review")),
    h("li", { class: silent.length && "warn" }, h("a", { href: "#cameras", title: silent.map((c) => `${c.name} is silent`).join(", ") || null },
      h("b", `${s.cameras_online}/${s.cameras_total}`), " cameras", silent.length > 0 && h("span.sr", `, silent: ${silent.map((c) => c.name).join(", ")}`))),
    h("li", { class: (s.stalled || (s.behind_seconds > BEHIND && !s.importing_since)) && "warn" }, s.importing_since && !s.stalled ? [`importing: events ${when(s.importing_since)} are being judged, `, h("b", number(s.backlog)), " pictures left"] : ["backlog ", h("b", number(s.backlog),
      s.stalled ? ", stalled" : s.behind_seconds > BEHIND && `, ${span(s.behind_seconds)} behind`)]),
    part("detector", s.detector), part("LLM", s.llm)],
    s.gpu_percent !== null && s.gpu_percent !== undefined && h("li", "GPU ", h("b", `${Math.round(s.gpu_percent)} %`)),
    h("li.live", old ? old.since ? h("b", `${age(old.since)} old`) : h("b", "not live") : [h("i.pulse"), "live"]));
}
/** From when on pictures are imported: `of last night`, `of yesterday`, `from Monday, 23 Nov on`. */
function when(at) {
  const hour = new Date(at).getHours(), day = dayName(at), hours = (now() - new Date(at)) / 36e5;
  if (hours < 20 && (hour >= 20 || hour < 5)) return "of last night";
  return day === "Today" ? "of today" : day === "Yesterday" ? "of yesterday" : `from ${day} on`;
}
/** The worst problem in words, and how many there are. */
function problem(count, { message }) {
  return h("li.warn.problem", h("a", { href: href({ health: "1" }), data: { do: "health" }, title: message },
    h("i.dot"), h("b", `${plural(count, "problem")}: ${message}`)));
}
/** The detector is shown only when it fails; a language model is optional, so "off" is no warning. */
function part(label, is) {
  if (label === "detector" && (["ok", "starting"].includes(is) || !is)) return null;
  return h("li", { class: !["ok", "disabled", "off", "starting"].includes(is ?? "off") && "warn" }, `${label} `, h("b", is === "disabled" || !is ? "off" : is));
}
function drawBanner(old) {
  $("banner").hidden = !old;
  if (!old) return put($("banner"));
  put($("banner"), h("strong", state.status ? "Not live." : "No connection."), ` ${old.why} `,
    old.command && [h("code", old.command), ". "],
    old.since ? [`Everything below is from ${clock(old.since)}, `, ago(new Date(old.since).toISOString()), ". "]
      : !state.status && "Nothing is lost: cameras keep uploading, pictures wait on disk. ",
    h("button.quiet", { type: "button", data: { do: "retry" } }, "Try again"));
}

export function drawFunnel() {
  const t = state.status?.today, n = (value, label, kind) => h("li", { class: kind }, h("b", number(value)), ` ${label}`);
  put($("funnel"), t && [h("h2", "Since midnight"), h("ol", n(t.images, t.images === 1 ? "picture" : "pictures"), n(t.with_objects, "with objects"),
    n(t.events, t.events === 1 ? "event" : "events"), n(t.to_review, "to review", "yours"))]);
}
