// A service worker: keeps the page itself, so that an installed page opens without the server and says that it is not live.
// Answers and pictures are never kept. What the server has is always asked for first: an update is there at once.
const NAME = "hearthwatch", SHELL = new URL("../", location.href);

addEventListener("install", (ev) => ev.waitUntil(load().then(() => skipWaiting())));
addEventListener("activate", (ev) => ev.waitUntil(clients.claim()));
addEventListener("fetch", (ev) => {
  const url = new URL(ev.request.url), isPage = ev.request.mode === "navigate" && url.pathname === SHELL.pathname;
  if (ev.request.method !== "GET" || (!isPage && !url.href.startsWith(new URL("static/", SHELL).href))) return;
  ev.respondWith(fetch(ev.request).then((response) => keep(isPage ? SHELL : ev.request, response), () => kept(isPage ? SHELL : ev.request)));
});

async function keep(key, response) {
  if (response.ok) await (await caches.open(NAME)).put(key, response.clone());
  return response;
}
const kept = async (key) => await caches.match(key) ?? Response.error();
/** Load the page, and what it loads. */
async function load() {
  const page = await fetch(SHELL, { headers: { Accept: "text/html" } });
  await keep(SHELL, page.clone());
  const seen = new Set();
  const follow = async (name) => {
    if (seen.has(name)) return;
    seen.add(name);
    const url = new URL(`static/${name}`, SHELL), response = await keep(url, await fetch(url));
    if (!name.endsWith(".js")) return;
    await Promise.all([...(await response.clone().text()).matchAll(/from "\.\/([\w.-]+)"/g)].map((found) => follow(found[1])));
  };
  await Promise.all([...(await page.text()).matchAll(/(?:src|href)="static\/([\w.-]+)"/g)].map((found) => follow(found[1])));
}
