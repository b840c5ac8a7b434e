// A camera's page: what it is called, from which level it notifies, its clock, its zones, and whether it is another camera. Changes are saved at once.
import { toast } from "./actions.js";
import { request } from "./api.js";
import { loadCameras } from "./cameras.js";
import { $, h, put } from "./dom.js";
import { recipe, tree } from "./first_run.js";
import { state } from "./state.js";
import { LEVELS, ago, capital, plural, seconds } from "./text.js";
import { go, href, param } from "./url.js";
import { editor, loadZones } from "./zones.js";

let camera = null, merging = "", count = 0;
const url = (what = "") => `api/cameras/${encodeURIComponent(camera.id)}${what}`;

/** Show this camera's page. Throws the API's error. */
export async function openCamera(id) {
  if (camera?.id !== id) merging = "";
  [camera, { count }] = await Promise.all([request("GET", `api/cameras/${encodeURIComponent(id)}`), request("GET", `api/events?limit=1&camera_id=${encodeURIComponent(id)}`)]);
  loadZones(camera); // shows what fails by itself; suggestions may take a second
  drawCamera();
}
export const back = (title, ...rest) => h("header.bar", h("a.quiet", { href: href({ camera: "", settings: "", add: "" }), data: { set: JSON.stringify({ camera: "", settings: "", add: "" }) } }, "← Inbox"), h("h2", title), rest);

/** Whether the page of a camera is shown whose first picture has not come. */
export const waits = () => Boolean(camera) && camera.id === param("camera") && !camera.last_seen_at;
/** Show the page that adds a camera. */
export async function openAdd() {
  put($("setup"), back("Add a camera"), h("div.columns.halves",
    h("form.fields", { data: { add: "" } }, h("h3", "Camera"), h("label.field", h("span", "Name"), h("input", { name: "name", maxlength: 200, required: true, autocomplete: "off", autofocus: true, placeholder: "Front door" })),
      h("label.field", h("span", "Folder"), h("input", { name: "folder", maxlength: 200, autocomplete: "off", placeholder: "front_door" }), h("small", "Below ", h("code", tree()), "; without one, its name.")),
      h("button.main", "Add"), h("p", "Or let it upload first: a folder that gets a picture becomes a camera by itself.")),
    h("section", h("h3", "In the camera's FTP settings"), recipe("front_door", openAdd))));
  if (!$("setup").contains(document.activeElement)) setTimeout(() => $("setup").querySelector("[name=name]")?.focus()); // when it is shown
}
export async function addCamera({ elements: { name, folder } }) {
  const made = await request("POST", "api/cameras", { name: name.value.trim(), folder_path: folder.value.trim() || name.value.trim().toLowerCase().replaceAll(" ", "_") });
  await loadCameras();
  return go({ add: "", camera: made.id }, true);
}
export async function deleteCamera() {
  await request("DELETE", url(), undefined, 120_000);
  await loadCameras();
  toast(`${camera.name} is deleted.`);
  return go({ camera: "", ...param("camera_id") === camera.id && { camera_id: "" } }, true);
}

function drawCamera() {
  const c = camera, others = state.cameras.filter((o) => o.id !== c.id), field = (label, input, hint) => h("label.field", h("span", label), input, hint && h("small", hint));
  const option = (chosen) => ([value, text]) => h("option", { value, selected: value === chosen }, text);
  put($("setup"), back(c.name, h("p", c.last_seen_at ? [c.status, ", last picture ", ago(c.last_seen_at)] : "no picture yet", `, folder ${c.folder_path}`)),
    h("div.columns", { data: { key: c.id } }, c.last_seen_at ? h("section.zones", { id: "zones" }, editor()) : h("section", { data: { key: "recipe" } }, h("h3", "Waiting for its first picture"), h("p", "It is recognized here as soon as it is in ", h("code", `${tree()}/${c.folder_path}/`), ". In the camera's FTP settings, write:"), recipe(c.folder_path, drawCamera)), h("form.fields", { data: { camera: c.id } }, h("h3", "Camera"),
      field("Name", h("input", { name: "name", value: c.name, maxlength: 200, required: true, autocomplete: "off" })),
      field("Notes", h("input", { name: "notes", value: c.notes ?? "", maxlength: 2000, autocomplete: "off" }), "Where it hangs, what it sees; a language model reads it."),
      field("Notify", h("select", { name: "notify_level" }, [["", "As everywhere"], ...LEVELS.map((l) => [l, `${capital(l)} and above`])].map(option(c.notify_level ?? ""))), "The least level at which it sends notifications. To silence it for a while, choose Critical."),
      h("fieldset", h("legend", "Neighbours"), h("small", c.neighbours ? "A visit goes from here only to these cameras, and comes from them." : "A visit may go from here to any camera."),
        others.map((o) => h("label.check", h("input", { type: "checkbox", name: "neighbours", value: o.id, checked: !c.neighbours || c.neighbours.includes(o.id) }), o.name))),
      h("h3", "Clock"), clockText(c.clock_offset_ms),
      others.length > 0 && [h("h3", "This folder is another camera"), h("p", "If the folder of a camera was renamed, say which one it is: its pictures and events move there, for good."),
        h("div.line", h("select", { name: "into", "aria-label": "It is" }, [["", "It is…"], ...others.map((o) => [o.id, o.name])].map(option(""))),
          merging && h("button.main", { type: "button", data: { do: "merge" } }, `Merge into ${others.find((o) => o.id === merging)?.name}`))],
      h("details", h("summary", "Delete this camera"), h("p", `Deletes ${count ? `its ${plural(count, "event")} with their boxes, thumbnails, kept pictures and notes` : "what is known of it"}, your answers about it and its zones, for good. Uploads stay on disk and are not processed again; a new one creates the camera again.`),
        h("button.main", { type: "button", data: { do: "delete-camera" } }, `Delete ${c.name}${count ? ` and ${plural(count, "event")}` : ""}`)))));
}
function clockText(ms) {
  if (ms === null) return h("p", "Not known yet: it is learned from the times in file names or pictures.");
  if (Math.abs(ms) < 1000) return h("p", "Right.");
  return h("p", h("b", `${seconds(Math.abs(ms) / 1000)} ${ms > 0 ? "slow" : "fast"}. `), "Events and alerts allow for it. To correct it, set the time server (NTP) and the time zone in the camera; what is learned follows by itself.");
}

/** Save a field that was changed. */
export async function saveCamera({ name, value, form }) {
  if (name === "into") { merging = value; return drawCamera(); }
  const ids = [...form.querySelectorAll("[name=neighbours]")], chosen = ids.filter((box) => box.checked).map((box) => box.value);
  const changes = name === "neighbours" ? { neighbours: chosen.length === ids.length ? null : chosen } : { [name]: value.trim() || null };
  if (name === "name" && !changes.name) throw new Error("A camera needs a name.");
  camera = await request("PATCH", url(), changes);
  drawCamera();
  toast(`Saved: ${name === "notify_level" ? "notifications" : name}.`);
  await loadCameras();
}
export async function mergeCamera() {
  const was = camera.name, into = await request("POST", url("/merge"), { into: merging }, 120_000);
  toast(`${was} is ${into.name} now.`);
  await loadCameras();
  return go({ camera: into.id }, true);
}
