// The drawer of what was learned: the answers that stand, what such events get for them, each revocable.
import { request } from "./api.js";
import { $, h, put } from "./dom.js";
import { capital, dayName } from "./text.js";

export const ANSWERS = { fine: "Fine", nothing_there: "Nothing there", right: "Right" };
export const points = (n) => n < 0 ? `−${-n}` : `+${n}`;

export async function openLearned() {
  const { feedback } = await request("GET", "api/feedback"), dialog = $("learned");
  put(dialog, h("header", h("h2", { id: "learned-title" }, "Learned"), h("button.quiet", { type: "button", data: { do: "close" } }, h("span.sr", "Close"), h("kbd", { "aria-hidden": "true" }, "Esc"))),
    h("section", feedback.length ? h("ul.bad-files", feedback.map((f) => h("li", { data: { key: `f${f.id}` } }, h("strong", ANSWERS[f.answer]),
      h("p", capital(f.signature), f.why ? `: ${f.why} ${points(f.points)}` : f.answer === "nothing_there" ? ": boxes there do not count" : "", `. Until ${dayName(f.expires_at)}.`),
      h("button.quiet", { type: "button", data: { do: "revoke", id: f.id } }, "Revoke", h("span.sr", ` ${f.signature}`)))))
      : h("p", "Nothing yet. Answer “fine”, “nothing there” or “right” below an event, and events like it are judged by it from then on.")));
  if (!dialog.open) dialog.showModal();
  dialog.focus(); // rather than its first button
}
export async function revoke({ dataset: { id } }) {
  await request("DELETE", `api/feedback/${id}`);
  await openLearned();
}
