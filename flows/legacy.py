"""Load flow files of 0.1: what was renamed or is no node any more is rewritten, with a warning that names the new line.

Removed in 0.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hearthwatch.flows.node import Node
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.settings import Settings

FACTS = {
    "record_path": "database_url",
    "data_dir": "data_dir",
    "base_path": "foscam_base_path",
    "timezone": "timezone",
    "analysis": "nemotron_url",
}
"""Options of 0.1's nodes that are facts of the graph → their setting."""

JOBS = ("duckdb", "retention")

Where = Callable[[str], Callable[[str], str]]


def rewrite_tables(tables: dict[str, Any], where: Where, warnings: list[str]) -> None:
    """Rewrite the tables of nodes in place."""
    nodes = {name: table for name, table in tables.items() if isinstance(table, dict)}
    for name, table in nodes.items():
        if table.get("use") == "rtdetr-remote":
            warnings.append(f'{where(name)("use")}{name}: `use = "rtdetr-remote"` is `use = "rtdetr"` with `url` now')
            table["use"] = "rtdetr"
        if table.get("use") == "mqtt" and table.pop("frigate", None) is not None:
            warnings.append(f"{where(name)('frigate')}{name}: `frigate` is ignored: remove the line")
    queues, clocks = (
        {name for name, table in nodes.items() if table.get("use") == use} for use in ("pending", "clock")
    )
    for name, table in nodes.items():
        old = _edges(table)
        new = list(_rename_edges(table, old, nodes, queues, clocks))
        if new != old:
            line = where(name)("from")
            now = f"`from = {_as_toml(new)}`" if new else "no `from`"
            warnings.append(f"{line}{name}: `from = {_as_toml(old)}` is {now} now")
            table["from"] = new
            if table.get("use") == "duckdb" and (clock := next((c for c in old if c in clocks), None)):
                table.setdefault("interval_seconds", nodes[clock].get("interval_seconds", 20))
    read = {edge for table in nodes.values() for edge in _edges(table)}
    for name in (queues | clocks) - read:
        words = (
            "`analyze` reads its queue by itself" if name in queues else "`interval_seconds` is an option of `duckdb`"
        )
        warnings.append(f"{where(name)('')}{name}: remove the table, {words} now")
        del tables[name]


def _edges(table: dict[str, Any]) -> list[str]:
    after = table.get("from", [])
    return [after] if isinstance(after, str) else list(after) if isinstance(after, list) else []


def _rename_edges(
    table: dict[str, Any], edges: list[str], nodes: dict[str, Any], queues: set[str], clocks: set[str]
) -> Iterator[str]:
    for edge in edges:
        if (edge == "feed" and "feed" not in nodes) or (edge in clocks and table.get("use") in JOBS):
            yield from _store(nodes)
        elif edge in queues:
            yield from [name for name, other in nodes.items() if other.get("use") == "batch"][:1]
        else:
            yield edge


def _store(nodes: dict[str, Any]) -> list[str]:
    """Return the node that consumers hang behind: that which stores verdicts, else `batch`, else none of this file."""
    judges = {name for name, table in nodes.items() if table.get("use") == "nemotron"}
    stores = [n for n, table in nodes.items() if table.get("use") == "sqlite" and judges & {*_edges(table)}]
    others = [n for use in ("sqlite", "batch") for n, table in nodes.items() if table.get("use") == use]
    return (stores + others)[:1]


def _as_toml(edges: list[str]) -> str:
    return f'"{edges[0]}"' if len(edges) == 1 else str(edges).replace("'", '"')


def check_facts(
    facts: list[tuple[Node, str, Any]], context: Context, settings: Settings, mistakes: list[str], warnings: list[str]
) -> None:
    """Compare options that repeat a fact of the graph with the context: the same is a warning, another a mistake."""
    ours: dict[str, Any] = {
        "record_path": context.record_path,
        "data_dir": context.data_dir,
        "base_path": context.base_path,
        "timezone": settings.hearthwatch_timezone,
        "analysis": context.analysis,
    }
    for node, option, value in facts:
        says = _value(option, value)
        setting = FACTS[option]
        if says == _value(option, ours[option]):
            warnings.append(f"{node.at(option)}: remove `{option}`: the graph says so for every node")
        else:
            mistakes.append(
                f"{node.at(option)}: `{option}` = {value!r}, but the graph says {str(ours[option])!r}: "
                f"remove it, and write `{setting} = {_as_setting(option, value)}` in `[settings]` if every node should use it"
            )


def _value(option: str, value: Any) -> Any:
    return Path(str(value)).expanduser().absolute() if option.endswith(("path", "dir")) else value


def _as_setting(option: str, value: Any) -> str:
    if option == "record_path":
        return f'"sqlite:///{value}"'
    if option == "analysis":
        return '"http://…"' if value else '""'
    return f'"{value}"'
