// Create elements, and update the page without flicker.
// Text becomes text nodes and attributes only: no string is ever parsed as HTML.

const SVG = new Set(["svg", "g", "image", "rect", "circle", "path", "polyline", "text", "title"]);

export const $ = (id) => document.getElementById(id);

/** h("li.card", { data: { id: 5 }, onlyIfTrue: false }, "text", node, [nodes]): falsy children and attributes are omitted. */
export function h(spec, ...rest) {
  const [tag, ...classes] = spec.split(".");
  const el = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  if (classes.length) el.setAttribute("class", classes.join(" "));
  const [first] = rest;
  const props = first && typeof first === "object" && !Array.isArray(first) && !(first instanceof Node) ? rest.shift() : {};
  for (const [name, value] of Object.entries(props)) set(el, name, value);
  add(el, rest);
  return el;
}

function set(el, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "data") Object.assign(el.dataset, value);
  else if (name === "class") el.setAttribute("class", [el.getAttribute("class"), value].filter(Boolean).join(" "));
  else if (name === "style") for (const [property, v] of Object.entries(value)) el.style.setProperty(property, v);
  else el.setAttribute(name, value === true ? "" : String(value));
}

function add(el, children) {
  for (const child of children) {
    if (Array.isArray(child)) add(el, child);
    else if (child instanceof Node) el.append(child);
    else if (child !== null && child !== undefined && child !== false && child !== "") el.append(String(child));
  }
}

/** A child with this id that is made only if it is new or what it is made of changed: of a long list most are as they were. */
export const lazy = (id, content, make) => Object.assign(h("li", { data: { id, lazy: "" } }), { content, make });
const made = ({ content, make }) => Object.assign(make(), { content });

/** Replace the children of `el`, keeping nodes that do not change: pictures, focus and typed text stay. */
export function put(el, ...children) {
  const fresh = document.createElement("template").content, focused = document.activeElement;
  add(fresh, children);
  const inside = focused !== el && el.contains(focused);
  align(el, [...fresh.childNodes]);
  if (!inside || document.activeElement === focused) return;
  const again = el.contains(focused) ? focused : [...el.querySelectorAll("a, button, input")].find((x) => identity(x) === identity(focused));
  again?.focus({ preventScroll: true });
}

const key = (node) => node.dataset?.key || node.dataset?.id || node.id || null;
const identity = (el) => el.id || el.getAttribute("href") || JSON.stringify({ ...el.dataset });

function align(parent, fresh) {
  const keyed = new Map();
  for (const node of parent.childNodes) if (key(node)) keyed.set(key(node), node);
  let at = parent.firstChild;
  for (const node of fresh) {
    const old = key(node) ? keyed.get(key(node)) : at && !key(at) ? at : null;
    if (old?.nodeName !== node.nodeName) { parent.insertBefore(node, at); for (const some of node.querySelectorAll?.("[data-lazy]") ?? []) some.replaceWith(made(some)); if (node.make) node.replaceWith(made(node)); continue; }
    if (old === at) at = at.nextSibling; else parent.insertBefore(old, at);
    if (node.make && old.content === node.content) continue;
    update(old, node.make ? node.make() : node);
    old.content = node.content;
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

function update(old, node) {
  if (old.nodeType !== Node.ELEMENT_NODE) { if (old.data !== node.data) old.data = node.data; return; }
  for (const { name } of [...old.attributes]) if (name !== "style" && !node.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of node.attributes) if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.type === "range") old.value = node.value; // the attribute alone moves nothing once it was moved by hand
  if (old.style.cssText !== node.style.cssText) old.style.cssText = node.style.cssText; // an attribute would be inline style to the CSP
  align(old, [...node.childNodes]);
}
