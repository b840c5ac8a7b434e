// One event: its pictures with boxes, the verdict and its reasons, how the score changed, how long each step took.
import { getEvent } from "./api.js";
import { $, h, put } from "./dom.js";
import { order, select } from "./inbox.js";
import { answerButtons } from "./learned.js";
import { WIDE, applyMarks, cameraName, listed, state } from "./state.js";
import { LEVELS, badges, capital, clock, dayName, plural, provisional, risk, seconds, things } from "./text.js";
import { param } from "./url.js";
import { full, stage, view } from "./viewer.js";

/** Show this event, or none. Throws the API's error. */
export async function openEvent(id) {
  if ((Number(param("event")) || null) !== id) return; // another one was opened meanwhile: it stays selected
  const box = $("detail"), changed = (state.event?.id ?? null) !== id;
  if (id === null) {
    state.event = null;
    $("toast").style.bottom = "";
    if (view.full) full(false);
    box.hidden = true;
    document.body.classList.remove("detailed");
    return;
  }
  select(String(id), { focus: false }); // at once: the next key may come before it is loaded
  const event = await getEvent(id);
  if (Number(param("event")) !== id) return; // another event was opened meanwhile
  applyMarks([event]);
  if (!changed) state.frame = Math.max(0, event.frames.findIndex((f) => f.id === state.event.frames[state.frame]?.id));
  state.event = event;
  if (changed) state.frame = best(event);
  document.body.classList.add("detailed");
  box.hidden = false;
  select(String(id), { focus: false });
  drawDetail();
  if (!changed) return;
  box.scrollTop = 0;
  showStrip("center");
  if (!WIDE.matches) { scrollTo(0, 0); box.focus(); }
}
/** Scroll the film strip to the current picture. */
export const showStrip = (inline = "nearest") => document.querySelector(".strip [aria-current]")?.scrollIntoView({ block: "nearest", inline });

/** The first picture to show: that of the event's thumbnail, else the middle one. */
function best(event) {
  const i = event.frames.findIndex((f) => f.thumbnail_url && f.thumbnail_url === event.thumbnail_url);
  return i >= 0 ? i : Math.max(0, Math.floor((event.frames.length - 1) / 2));
}

const ANALYZER = { rules: "rules", nemotron: "language model" };
const arrow = (step, off, label, sign, key) => h("button.quiet.arrow", { type: "button", data: { do: step }, disabled: off },
  h("span.sr", label), h("span", { "aria-hidden": "true" }, `${sign} `, h("kbd", key)));

export function drawDetail() {
  const e = state.event, keys = order(), i = keys.indexOf(state.selected), nth = listed().filter((x) => !x.reviewed).findIndex((x) => x.id === e.incident_id);
  put($("detail"),
    h("header.bar", h("button.quiet.back", { type: "button", data: { do: "close" } }, "← Inbox"),
      h("p", h("strong", cameraName(e.camera_id)), ` ${dayName(e.started_at)}, ${clock(e.started_at, true)}${e.ended_at ? `–${clock(e.ended_at, true)}` : ", in progress"}`),
      h("span.nth", !e.reviewed && nth >= 0 && `${nth + 1} of ${state.incidents.unreviewed} to review`),
      arrow("prev", i <= 0, "Previous event", "↑", "k"), arrow("next", i === keys.length - 1, "Next event", "↓", "j"),
      h("button.quiet.esc", { type: "button", data: { do: "close" } }, h("span.sr", "Close"), h("kbd", { "aria-hidden": "true" }, "Esc"))),
    h("figure", { id: "stage", class: view.full && "full" }, stage(e)),
    h("div.verdict", risk(e), h("div", h("h2", e.summary || "Objects were detected."),
      h("ul.chips", things(e.objects), badges(e), !provisional(e) && h("li.plain", `revision ${e.revision}, judged by ${e.analyzer === "nemotron" ? "the language model" : "rules"}`)))),
    h("div.facts",
      h("section.why", h("h3", "Reasoning"), h("p", e.reasoning || "None given.")),
      h("section", h("h3", "Score"), scores(e)),
      e.picture_verdict && h("section.shown", h("h3", "Pictures"), shown(e)),
      h("section.path", h("h3", "From file to verdict"), h("ol", steps(e).map(([name, s]) =>
        h("li", { class: s === null && "wait" }, h("span", name), " ", h("b", s === 0 ? "0" : seconds(s)))))),
      h("section.meta", h("h3", "Verdict by"), h("dl", h("dt", "Model"), h("dd", e.model ?? ANALYZER[e.analyzer]), h("dt", "Prompt"), h("dd", e.prompt_version ?? "–"),
        h("dt", "Event"), h("dd", `${e.id}, ${plural(e.frame_count, "frame")}`), h("dt", "Batch"), h("dd", e.batch_id)))),
    h("div.acts", { data: { key: `acts${e.id}` } },
      h("button.main", { type: "button", data: { do: "review", id: e.id } }, e.reviewed ? "Reviewed ✓ " : "Mark reviewed ", h("kbd", e.reviewed ? "u" : "r")),
      answerButtons(String(e.id), e.answer),
      h("label.note", h("span.sr", "Note"), h("input", { id: "note", name: "note", placeholder: "Add a note", value: e.notes ?? "", maxlength: 2000, autocomplete: "off" })),
      h("button.quiet", { type: "button", data: { do: "copy", text: `${location.origin}${location.pathname}?event=${e.id}` } }, "Copy link")));
  $("toast").style.bottom = `${document.querySelector("#detail .acts").offsetHeight + 12}px`; // above the buttons
}

const SAW = { confirmed: "they show what the boxes claim", rejected: "they show nothing of what the boxes claim", unclear: "they neither show it nor rule it out",
  unverified: "no model has judged them" };
/** The pictures that the model was shown, cut as it saw them, each with what it saw there; then what it made of each track. */
function shown(e) {
  const { shown: pictures = [], tracks = {}, acts = [], writing, cue } = e.analysis;
  return [h("p", h("strong", capital(e.picture_verdict)), `: ${SAW[e.picture_verdict]}.`),
    h("ol", pictures.map((p) => h("li", crop(e, p), h("span", h("b", capital(tracks[p.track]?.sees?.[p.picture] ?? (p.track ? "" : "scene"))), " ", p.note)))),
    h("ul", Object.entries(tracks).map(([n, t]) => h("li", h("b", `Track ${n}: ${t.is}.`), " ", t.because)),
      acts.map((a) => h("li", h("b", capital(a.act)), ` in picture ${a.picture}`)),
      writing && h("li", h("b", "Reads:"), ` “${writing}”`), cue && h("li", h("b", "Expected:"), ` ${cue}`))];
}
function crop(e, { frame_id, region, note }) {
  const f = e.frames.find((x) => x.id === frame_id), url = [f?.image_url, f?.thumbnail_url].find((u) => u && !state.missing.has(u));
  // A thumbnail has black bars; `slice` cuts them off again.
  return h("svg", { viewBox: region.join(" "), role: "img", "aria-label": note }, url && h("image", { href: url, width: f.width, height: f.height, preserveAspectRatio: "xMidYMid slice" }));
}

/** The verdicts in order, without those that changed nothing. */
function scores(e) {
  const verdicts = e.history.filter((r) => !r.shadow && r.risk_score !== null)
    .filter((r, i, all) => !i || r.risk_score !== all[i - 1].risk_score || r.analyzer !== all[i - 1].analyzer);
  const waits = e.status === "closed" && e.analysis_status === "pending";
  return [verdicts.length > 0 && ruler(verdicts, e), h("ol.scores", verdicts.map((r) => h("li", { data: { level: r.risk_level } },
    h("b", r.risk_score), ` ${ANALYZER[r.analyzer] ?? r.analyzer} `, h("time", { datetime: r.at }, clock(r.at, true)))),
  waits && h("li.busy", "language model ", h("span.badge.busy", "analyzing…")))];
}
function ruler(verdicts, e) {
  const marks = [0, 30, 60, 85, 100], first = verdicts[0], last = verdicts.at(-1), x = (v) => 4 + v * 2.92, shift = (i) => i ? 1 : 0;
  return h("svg.ruler", { viewBox: "0 0 300 40", role: "img", "aria-label": `Score from ${first.risk_score} to ${last.risk_score} of 100` },
    LEVELS.map((level, i) => [
      h("rect", { data: { level }, x: x(marks[i]) + shift(i), y: 18, width: x(marks[i + 1]) - x(marks[i]) - 2, height: 4, rx: 1 }),
      h("text", { x: x(marks[i]) + shift(i), y: 36 }, `${marks[i]} ${level}`)]),
    Math.abs(x(last.risk_score) - x(first.risk_score)) > 14 && h("path", { d: `M${x(first.risk_score)} 8H${x(last.risk_score)}` }),
    verdicts.length > 1 && h("circle.from", { cx: x(first.risk_score), cy: 8, r: 4 }),
    h("circle", { class: provisional(e) ? "from" : "to", data: { level: last.risk_level }, cx: x(last.risk_score), cy: 8, r: 5 }));
}
/** Seconds since the first file arrived; null: not yet. Without a language model there is no step of it. */
function steps(e) {
  const l = e.latencies, all = [["file closed", 0], ["detected", l.detected], ["opened", l.opened], ["closed", l.closed]];
  if (e.analysis_status !== "disabled" || l.analyzed !== null) all.push([e.analysis_status === "failed" ? "not analyzed" : "analyzed", l.analyzed]);
  return all.map(([name, s]) => [capital(name), s ?? null]);
}
