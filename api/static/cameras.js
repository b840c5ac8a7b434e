// The cameras with their last pictures. The server decides which is silent, from the camera's usual rate.
import { getCameras } from "./api.js";
import { $, h, put } from "./dom.js";
import { picture } from "./inbox.js";
import { state } from "./state.js";
import { ago, number } from "./text.js";
import { filters, href } from "./url.js";

export async function loadCameras() {
  state.cameras = await getCameras();
  drawCameras();
}

export function drawCameras() {
  const selected = filters().get("camera_id");
  put($("cameras"), state.cameras.length > 0 && [h("header", h("h2", { id: "cameras-title" }, "Cameras"), h("p"), h("a.quiet", { href: href({ add: "1" }), data: { set: JSON.stringify({ add: "1" }) } }, "Add a camera")), h("ul", state.cameras.map((c) => tile(c, c.id === selected)))]);
}
function tile(c, selected) {
  const set = { camera_id: selected ? "" : c.id }, badge = c.status === "error" ? "error" : c.silent ? "silent" : "";
  return h("li", { class: badge && "silent", data: { key: c.id } },
    h("a", { href: href(set), data: { set: JSON.stringify(set) }, "aria-current": selected && "true" },
      h("span.pic", picture(c.last_image_url, 208, 117), badge && h("span.badge.warn", badge)),
      h("strong", c.name), " ", h("span.today", `${number(c.events_today)} today`), " ",
      h("small", c.last_seen_at ? ["last picture ", ago(c.last_seen_at)] : "no picture yet")),
    h("a.quiet", { href: href({ camera: c.id }), data: { set: JSON.stringify({ camera: c.id }) } }, "Set up", h("span.sr", ` ${c.name}`)));
}
