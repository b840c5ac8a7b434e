"""Read a flow file as nodes.

A table is a node: `use` names its component, `from` what it reads, `only` what of it; the rest are the component's options.
`${VAR}` stands for a variable of the environment, of `.env`, or for a setting. `[settings]` holds settings of this graph.
`extends = "default"` before any table starts from the built-in graph. Reading collects every mistake and raises none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_origin
from urllib.parse import urlsplit

from pydantic import ValidationError

from hearthwatch.flows.legacy import FACTS, rewrite_tables
from hearthwatch.flows.node import Node
from hearthwatch.flows.registry import load, names
from hearthwatch.schemas import Component
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.flow_file import SETTINGS, FlowFile, read_flow_file
from hearthwatch.schemas.settings import lookup, masked
from hearthwatch.schemas.text import did_you_mean

DEFAULT = Path(__file__).with_name("default.toml")
VARIABLE = re.compile(r"\$\{([^}]*)\}")
EXTENDS = "extends"
NODE_KEYS = ("use", "from", "only")

Where = Callable[[str], str]


@dataclass
class Parsed:
    """What a flow file says. `facts` are options of 0.1 that repeat what the context says: (node, option, value)."""

    nodes: list[Node] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: list[tuple[Node, str, Any]] = field(default_factory=list)


def parse(file: FlowFile) -> Parsed:
    """Read the nodes of a flow file."""
    out = Parsed()
    tables, where = _extend(file, out)
    rewrite_tables(tables, where, out.warnings)
    for name, table in tables.items():
        if node := _node(name, table, where(name), out):
            out.nodes.append(node)
    return out


def _extend(file: FlowFile, out: Parsed) -> tuple[dict[str, Any], Callable[[str], Where]]:
    """Return the tables of all nodes, merged into the built-in ones if the file says so, and where each stands."""
    tables = {name: table for name, table in file.tables.items() if name != SETTINGS}
    if SETTINGS in file.tables and not isinstance(file.tables[SETTINGS], dict):
        out.mistakes.append(f"{file.where('', SETTINGS)}`{SETTINGS}` has to be a table: write `[{SETTINGS}]`")
    extends = tables.pop(EXTENDS, None)
    if extends not in (None, "default"):
        out.mistakes.append(f'{file.where("", EXTENDS)}`{EXTENDS}` = {extends!r}: there is only "default" to extend')
    if extends != "default":
        tables |= _notifiers() if file.name == str(DEFAULT) else {}
        return tables, lambda name: lambda key: file.where(name, key)
    built_in = read_flow_file(DEFAULT)
    built_in.tables.update(_notifiers())

    def where(name: str) -> Where:
        return lambda key: (file if (name, key) in file.lines or name not in built_in.tables else built_in).where(
            name, key
        )

    return _merge(built_in.tables, tables), where


def _notifiers() -> dict[str, Any]:
    """Return the tables of the notifiers that settings name."""
    urls = {use: lookup(f"HEARTHWATCH_{use.upper()}_URL") for use in ("ntfy", "webhook", "mqtt")}
    found: dict[str, Any] = {use: {"use": use, "from": "sqlite", "url": url} for use, url in urls.items() if url}
    if "ntfy" in found:
        parts = urlsplit(str(found["ntfy"].pop("url")))
        folder, _, topic = parts.path.rpartition("/")
        server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{folder}"
        found["ntfy"] |= {"server": server, "topic": topic} | ({"token": parts.password} if parts.password else {})
    many = (lookup("HEARTHWATCH_APPRISE_URLS") or "").strip()
    several = filter(None, re.split(r"\s*;\s*" if ";" in many else r"[\s,]+", many))
    for n, url in enumerate(several, 1):  # a node each: one that is down delays no other
        found["apprise" if n == 1 else f"apprise_{n}"] = {"use": "apprise", "from": "sqlite", "urls": [url]}
    return found


def _merge(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Merge tables key by key; lists and `from` are replaced; `use = "none"` removes a node and the edges out of it."""
    out: dict[str, Any] = {name: dict(table) for name, table in ours.items()}
    for name, table in theirs.items():
        if not isinstance(table, dict) or name not in ours:
            out[name] = table
        elif table.get("use", ours[name]["use"]) != ours[name]["use"]:  # another component has other options
            out[name] = {key: ours[name][key] for key in ("from",) if key in ours[name]} | table
        else:
            for key, value in table.items():
                both = isinstance(value, dict) and isinstance(out[name].get(key), dict)
                out[name][key] = out[name][key] | value if both else value
    gone = {name for name, table in out.items() if isinstance(table, dict) and table.get("use") == "none"}
    for name in gone:
        del out[name]
    for name in out.keys() & ours.keys():
        after = out[name].get("from")
        if isinstance(after, list) and "from" not in theirs.get(name, {}):
            out[name]["from"] = [edge for edge in after if edge.partition(".")[0] not in gone]
    return out


def _node(name: str, table: Any, where: Where, out: Parsed) -> Node | None:
    if not isinstance(table, dict):
        out.mistakes.append(
            f"{where(name)}`{name} = {table!r}` stands outside of any node: write it below the `[name]` of one"
        )
        return None
    unset: dict[str, str] = {}
    table = {key: _fill(value, key, unset) for key, value in table.items()}
    for variable, key in sorted(unset.items()):
        out.mistakes.append(
            f"{where(key)}{name}: ${{{variable}}} is not set: set {variable} in the environment or in .env"
        )
    after = table.get("from", ())
    after = (after,) if isinstance(after, str) else after
    if not isinstance(after, list | tuple) or not all(isinstance(item, str) for item in after):
        out.mistakes.append(f"{where('from')}{name}: `from` = {after!r} has to be a node's name or a list of names")
        after = ()
    use = table.get("use")
    node = Node(name, use if isinstance(use, str) else "?", None, None, tuple(after), table.get("only"), where)
    if not isinstance(use, str):
        says = "missing" if use is None else "not text"
        known = ", ".join(sorted(names()))
        out.mistakes.append(f'{where("use")}{name}: `use` is {says}: write `use = "…"`, one of {known}')
        return node
    try:
        node = replace(node, kind=load(use))
    except UserError as error:
        out.mistakes.append(f"{node.at('use')}: {error}")
        return node
    options = {key: value for key, value in table.items() if key not in NODE_KEYS}
    for fact in FACTS.keys() & options.keys() - node.kind.model_fields.keys():  # type: ignore[union-attr]
        out.facts.append((node, fact, options.pop(fact)))
    return node if unset else replace(node, component=_component(node, options, out.mistakes))


def _fill(value: Any, key: str, unset: dict[str, str]) -> Any:
    """Replace every `${VAR}` in a value; the names of those that are not set are put into `unset`."""

    def replacement(match: re.Match[str]) -> str:
        found = lookup(match[1])
        if found is None:
            unset[match[1]] = key
        return found or ""

    match value:
        case str():
            return VARIABLE.sub(replacement, value)
        case list():
            return [_fill(item, key, unset) for item in value]
        case dict():
            return {inner: _fill(item, key, unset) for inner, item in value.items()}
    return value


def _component(node: Node, options: dict[str, Any], mistakes: list[str]) -> Component | None:
    kind = node.kind
    assert kind is not None
    try:
        return kind(**{key: _split(kind, key, value) for key, value in options.items()})
    except ValidationError as error:
        for item in error.errors(include_url=False):
            option = str(item["loc"][0]) if item["loc"] else ""
            mistakes.append(f"{node.at(option)}: {_wrong_option(kind, node.use, item)}")
    except UserError as error:
        mistakes.append(f"{node}: {error}")
    return None


def _split(kind: type[Component], option: str, value: Any) -> Any:
    """Split text with commas where a list is wanted: a setting that is a list is one text."""
    several = get_origin(_annotation(kind, option)) in (tuple, list)
    return [item.strip() for item in value.split(",")] if several and isinstance(value, str) else value


def _wrong_option(kind: type[Component], use: str, error: Any) -> str:
    option = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        hint = did_you_mean(option, [*kind.model_fields, *NODE_KEYS])
        return f"`{option}` is not an option of `{use}`{hint}".rstrip(".")
    if error["type"] == "missing":
        return f"`{option}` is missing"
    says = error["msg"].removeprefix("Value error, ").replace("Input should", "should", 1)
    if not option:
        return str(says)
    field = kind.model_fields[error["loc"][0]]
    secret = (
        re.search("token|secret|password|key$", option, re.IGNORECASE)
        or not field.repr
        or "Secret" in str(field.annotation)
    )
    value = str(error["input"])
    shown = "***" if secret else masked("_URL", value) if "://" in value else repr(error["input"])
    return f"`{option}` = {shown}: {says}"


def _annotation(kind: type[Component], option: str) -> Any:
    field = kind.model_fields.get(option.partition(".")[0])
    return field.annotation if field else None
