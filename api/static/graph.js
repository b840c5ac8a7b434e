// The graph of the pipeline, left to right: a node stands one column behind the last node that it reads.
import { h } from "./dom.js";

const HIGH = 26, ROW = 36, GAP = 24, EDGE = 8; // pixels; a column is as wide as its longest name

/** Columns of places: nodes, and empty places where an edge passes a column. Each place has `x`, `y`, `wide` and the places it reads. */
function layout({ nodes, edges }) {
  const places = new Map(nodes.map((n) => [n.name, { node: n, column: 0, reads: [] }])), columns = [], lines = [];
  const links = edges.map((e) => ({ ...e, a: places.get(e.from), b: places.get(e.to) })).filter((e) => e.a && e.b);
  for (const { name } of nodes) // upstream first
    for (const { a, b } of links.filter((e) => e.from === name)) b.column = Math.max(b.column, a.column + 1);
  for (const p of places.values()) { // a source stands right before its first reader
    const readers = links.filter((e) => e.a === p).map((e) => e.b.column - 1);
    if (p.node.kind === "source" && readers.length) p.column = Math.min(...readers);
    (columns[p.column] ??= []).push(p);
  }
  for (const edge of links) {
    const line = [edge.a];
    for (let column = edge.a.column + 1; column < edge.b.column; column++) {
      const pass = { column, reads: [line.at(-1)] };
      (columns[column] ??= []).push(pass);
      line.push(pass);
    }
    edge.b.reads.push(line.at(-1));
    lines.push({ ...edge, line: [...line, edge.b] });
  }
  const rows = Math.max(...columns.map((c) => c.length));
  let x = 1;
  const height = (p) => p.reads.length ? p.reads.reduce((sum, r) => sum + r.y, 0) / p.reads.length : rows * ROW;
  for (const column of columns) {
    const wide = Math.max(...column.map((p) => p.node?.name.length ?? 0)) * 6 + 16;
    column.sort((a, b) => height(a) - height(b)).forEach((p, row) => Object.assign(p, { x, wide, y: (row + (rows - column.length + 1) / 2) * ROW }));
    x += wide + GAP;
  }
  return { places: [...places.values()], lines, width: x - GAP + 1, height: rows * ROW };
}

function path(line) {
  return line.slice(1).map((to, i) => {
    const from = line[i], x = from.x + from.wide, end = to.node ? to.x - EDGE / 2 : to.x, half = (x + end) / 2;
    return `${i ? "" : `M${x} ${from.y}`}C${half} ${from.y} ${half} ${to.y} ${end} ${to.y}${to.node ? "" : `h${to.wide}`}`;
  }).join("");
}

const words = ({ nodes, edges }) => [
  ...edges.map((e) => `${e.from}${e.port ? `.${e.port}` : ""} to ${e.to}${e.durable ? " (durable)" : ""}`),
  ...nodes.filter((n) => n.off).map((n) => `${n.name} is off: ${n.off}`)].join("; ");

export function graph(running) {
  if (!running?.nodes.length) return null;
  const { places, lines, width, height } = layout(running);
  return h("section", h("h3", "Graph"), h("div.graph", { tabindex: 0, role: "group", "aria-label": "Graph of the pipeline" },
    h("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words(running), style: { "--w": width } },
      lines.map(({ from, port, to, durable, line }) => h("g", h("title", `${from}${port ? `.${port}` : ""} to ${to}${durable ? ", durable" : ""}`),
        h("path", { class: durable && "durable", d: path(line) }),
        h("path.tip", { d: `M${line.at(-1).x} ${line.at(-1).y}l${-EDGE} -3.5v7z` }))),
      places.map(({ node, x, y, wide }) => h("g", { class: node.off && "off" }, h("title", node.off ?? node.label),
        h("rect", { x, y: y - HIGH / 2, width: wide, height: HIGH, rx: ["source", "stage"].includes(node.kind) ? node.kind === "source" ? 13 : 3 : 7 }),
        h("text", { x: x + wide / 2, y: y + 4 }, node.name))))),
    h("small", "A dashed edge reads the record, so nothing is lost while its reader is down."));
}
