// The drawer of what was learned: the answers that stand, what such events get for them, each revocable.
import { request } from "./api.js";
import { $, h, put } from "./dom.js";
import { capital, dayName } from "./text.js";

export const ANSWERS = { fine: "Fine", nothing_there: "Nothing there", right: "Right" };
export const points = (n) => n < 0 ? `−${-n}` : `+${n}`;

export const answers = (feedback) => feedback.length ? h("ul.bad-files", feedback.map((f) => h("li", { data: { key: `f${f.id}` } }, h("strong", ANSWERS[f.answer], f.source === "pictures" && [" ", h("span.badge", "by the language model")]),
  h("p", capital(f.signature), f.why ? `: ${f.why} ${points(f.points)}` : f.answer === "nothing_there" ? ": boxes there do not count" : "", `. Until ${dayName(f.expires_at)}.`),
  h("button.quiet", { type: "button", data: { do: "revoke", id: f.id } }, "Revoke", h("span.sr", ` ${f.signature}`)))))
  : h("p", "Nothing yet. Answer “fine”, “nothing there” or “right” about an event, and events like it are judged by it from then on.");

export async function openLearned() {
  const { feedback } = await request("GET", "api/feedback"), dialog = $("learned");
  put(dialog, h("header", h("h2", { id: "learned-title" }, "Learned"), h("button.quiet", { type: "button", data: { do: "close" } }, h("span.sr", "Close"), h("kbd", { "aria-hidden": "true" }, "Esc"))),
    h("section", answers(feedback)));
  if (!dialog.open) dialog.showModal();
  dialog.focus(); // rather than its first button
}
/** The buttons of the answers about what has this key, `chosen` if it was given. */
export const answerButtons = (of, chosen, label = "Your answer") => h("span.answers", { role: "group", "aria-label": label }, Object.entries(ANSWERS).map(([answer, text]) =>
  h("button.quiet", { type: "button", data: { do: "answer", answer, of, key: answer }, "aria-pressed": String(chosen === answer) }, text)));
export const revoke = (id) => request("DELETE", `api/feedback/${id}`);
