// The page before there is a camera: how to add the first one, what is ready, and the first picture when it comes.
import { request } from "./api.js";
import { h } from "./dom.js";
import { state } from "./state.js";
import { ago } from "./text.js";
import { href } from "./url.js";

const LOOPBACK = /^(localhost|127\.|\[?::1)/;
let address = "";
/** Learn this machine's address, if the page was reached by one that a camera cannot use. */
async function findAddress(draw) {
  address = LOOPBACK.test(location.hostname) ? "this machine" : location.hostname;
  if (address === location.hostname) return;
  address = (await request("GET", "api/system/settings")).address;
  draw();
}
const SERVER = (folder, name) => `apt install vsftpd
grep -qx /bin/false /etc/shells || echo /bin/false >> /etc/shells
useradd --no-create-home --home-dir ${folder}/${name} --shell /bin/false ${name}
passwd ${name}
install -d -o ${name} -m 755 ${folder}/${name}
echo ${name} >> /etc/vsftpd.cameras
systemctl restart vsftpd`;
const CONF = ["listen=YES", "listen_ipv6=NO", "anonymous_enable=NO", "local_enable=YES", "write_enable=YES", "pam_service_name=vsftpd", "secure_chroot_dir=/var/run/vsftpd/empty", "use_localtime=YES", "userlist_enable=YES", "userlist_deny=NO", "userlist_file=/etc/vsftpd.cameras", "chroot_local_user=YES", "allow_writeable_chroot=YES", "local_umask=022", "download_enable=NO", "dirlist_enable=NO", "cmds_denied=DELE,RMD", "pasv_min_port=30000", "pasv_max_port=30100"].join("\n");

export const tree = () => (state.status?.watching ?? "").replace(/\/$/, "");
/** What to write into the FTP settings of the camera whose folder is `name`. `draw` is called when more is known. */
export function recipe(name, draw) {
  const folder = tree();
  if (!address) findAddress(draw).catch(() => {});
  return [h("dl.recipe", [["Server", address], ["Port", "21"], ["User", `the camera's own of your FTP server, such as ${name}`], ["Folder", `/ (its own folder is ${name})`], ["Upload", "JPEG pictures on motion, one or two each second, with date and time in the name"], ["Time", "the same time server (NTP) as this machine"]]
    .map(([label, what]) => h("div", h("dt", label), h("dd", what)))),
  h("details", h("summary", "No FTP server here yet?"), h("p", "On Debian and Ubuntu, as root:"), h("pre", { tabindex: 0 }, h("code", SERVER(folder, name))), h("p", "and before the last line, in ", h("code", "/etc/vsftpd.conf"), ":"), h("pre", { tabindex: 0 }, h("code", CONF)))];
}
/** Likewise. */
export function firstRun(draw) {
  const s = state.status, folder = tree(), path = `${folder}/front_door/`, camera = s.cameras_total > 0 && state.cameras[0];
  const step = (ok, what, how) => h("li", { class: ok }, what, h("span", how)), ready = (is) => is === "ok" ? "ok" : "";
  const steps = h("ol.steps", { "aria-live": "polite" }, step(s.at ? "ok" : "", "Pipeline runs", s.at ? "ok" : "not yet"), step(ready(s.detector), "Detector is loaded", s.detector ?? "not yet"),
    s.llm && s.llm !== "disabled" && step(ready(s.llm), "Language model responds", s.llm),
    step(camera ? "ok" : "now", "First picture", camera ? [`${camera.name}, `, camera.last_seen_at ? ago(camera.last_seen_at) : "added"] : "waiting…"));
  if (camera) {
    const set = { camera: camera.id };
    return h("div.first", h("h2", `${camera.name} is here`), h("p", "Its pictures arrive. Next: give it a name, and draw where the street is and where your own ground."), steps,
      h("a.main", { href: href(set), data: { set: JSON.stringify(set) } }, `Set up ${camera.name}`), h("button.quiet", { type: "button", data: { do: "inbox" } }, "To the inbox"));
  }
  return h("div.first", h("h2", "Waiting for the first picture"), h("p", "Every folder below ", h("code", folder), " is a camera. In the camera's FTP settings, write:"),
    recipe("front_door", draw),
    h("p", "Then press the camera's test button. Without a camera, a JPEG in a folder does as well:"), h("pre", { tabindex: 0 }, h("code", `mkdir -p ${path}\ncp any-photo.jpg ${path}`)),
    h("button.quiet", { type: "button", data: { do: "copy", text: `mkdir -p ${path} && cp any-photo.jpg ${path}` } }, "Copy the commands"), steps,
    h("p.hint", "A picture with a person in it becomes an event at once; the event closes about 30 seconds after its last picture."));
}
