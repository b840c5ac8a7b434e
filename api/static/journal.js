// The items of a graph that has no cameras, newest first: what its journals wrote, and what failed on its way there.
import { h } from "./dom.js";
import { state } from "./state.js";
import { ago, number, plural } from "./text.js";

export function journal() {
  const { items, next_cursor: more } = state.journal ?? { items: [] };
  const names = new Set(items.map((i) => i.node));
  return h("section.items", h("header", h("h2", "Items")),
    items.length ? h("table", h("thead", h("tr", ["when", names.size > 1 && "journal", "kind", "item"].filter(Boolean).map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", items.map((i) => h("tr", { class: i.error && "warn", data: { key: i.id } }, h("td", h("time", { datetime: i.at }, ago(i.at))), names.size > 1 && h("td", i.node),
        h("td", i.kind), h("td", h("code", i.error ?? fields(i.payload))))))) : h("p", "Nothing was written yet. Health (h) shows the graph, and what is wrong."),
    more && h("p.hint", `The newest ${plural(items.length, "item")} of ${number(items[0].id)}.`));
}
export const fields = (item) => Object.entries(item).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(" · ");
