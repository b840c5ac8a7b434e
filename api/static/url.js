// The state in the URL: filters, open event, span of the heat strip. Names are the API's; `day`, `from`, `to`,
// `past` (a day or month to look back at) and `hours` are local times.

export const FILTERS = ["q", "camera_id", "risk_level", "object_type", "day", "from", "to", "reviewed", "past", "hours", "show"];

const query = () => new URL(location.href).searchParams;
export const param = (name) => query().get(name) ?? "";
export const has = (name) => query().has(name);
export const filters = () => new Map(FILTERS.map((name) => [name, param(name)]).filter(([, value]) => value));

export function href(changes) {
  const to = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) value ? to.searchParams.set(name, value) : to.searchParams.delete(name);
  to.hash = "";
  return to.pathname + to.search.replaceAll("%3A", ":").replaceAll("%2C", ",");
}

let route = async () => {};
export const onRoute = (f) => { route = f; addEventListener("popstate", f); };
/** Change the URL and show it; `replace` adds no step for the back button. */
export function go(changes, replace = false) {
  const to = href(changes);
  if (to !== location.pathname + location.search) history[replace ? "replaceState" : "pushState"](null, "", to);
  return route();
}

/** The filters as query parameters of the API; without words, which are searched for apart. */
export function eventQuery() {
  const q = new URLSearchParams({ sort: "inbox" }), on = filters();
  for (const name of ["camera_id", "risk_level", "object_type", "reviewed"]) if (on.has(name)) q.set(name, on.get(name));
  const [from, to] = on.has("from") ? [on.get("from"), on.get("to")] : on.has("day") ? day(on.get("day")) : [];
  for (const [name, at] of [["start_date", from], ["end_date", to]]) if (at && !Number.isNaN(+new Date(at))) q.set(name, new Date(at).toISOString());
  return q;
}
function day(text) {
  const next = new Date(`${text}T00:00`);
  next.setDate(next.getDate() + 1);
  return [`${text}T00:00`, next];
}
