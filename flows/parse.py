"""A flow file -> nodes. A table is a node: `use` names its component, `from` what it reads, `only` what of it; the rest
are the component's options. `${VAR}` stands for a variable of the environment, of `.env`, or for a setting.

Reading collects every mistake and raises none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from hearthwatch.flows.node import Node
from hearthwatch.flows.registry import load, names
from hearthwatch.schemas import Component
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import lookup, masked
from hearthwatch.schemas.text import did_you_mean

VARIABLE = re.compile(r"\$\{([^}]*)\}")
RESERVED = ("use", "from", "only")

Tell = Callable[[str], None]


def read(source: Path | str) -> tuple[list[Node], list[str]]:
    """The nodes of a flow file, or of its text, and what is wrong with them."""
    mistakes: list[str] = []
    where = "the flow" if _is_text(source) else source
    try:
        tables = tomllib.loads(_text(source))
        return [node for name, table in tables.items() if (node := _node(name, table, mistakes.append))], mistakes
    except OSError as error:
        return [], [f"{source}: the flow file cannot be read: {error.strerror}"]
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        return [], [f"{where} is not TOML: {_plain(str(error))}"]
    except RecursionError:
        return [], [f"{where} nests too deeply: a node's options are flat"]


def _is_text(source: Path | str) -> bool:
    return isinstance(source, str) and "\n" in source


def _text(source: Path | str) -> str:
    return str(source) if _is_text(source) else Path(source).read_text(encoding="utf-8")


def _plain(error: str) -> str:
    """tomllib's words; a table that is declared twice is a name that is used twice."""
    if twice := re.search(r"Cannot declare \('([^']*)',\) twice(.*)", error):
        return f"the name `{twice[1]}` is used twice{twice[2]}"
    return error[0].lower() + error[1:]


def _node(name: str, table: Any, tell: Tell) -> Node | None:
    if not isinstance(table, dict):
        tell(f"`{name} = {table!r}` stands outside of any node: write it below the `[name]` of one")
        return None
    unset: set[str] = set()
    table = _filled(table, unset)
    for variable in sorted(unset):
        tell(f"{name}: ${{{variable}}} is not set: set {variable} in the environment or in .env")
    after = table.get("from", ())
    after = (after,) if isinstance(after, str) else after
    if not isinstance(after, list | tuple) or not all(isinstance(item, str) for item in after):
        tell(f"{name}: `from` = {after!r} has to be a node's name or a list of names")
        after = ()
    use = table.get("use")
    if not isinstance(use, str):
        tell(
            f'{name}: `use` is {"missing" if use is None else "not text"}: write `use = "…"`, one of {", ".join(sorted(names()))}'
        )
        return Node(name, "?", None, tuple(after), table.get("only"))
    options = {key: value for key, value in table.items() if key not in RESERVED}
    component = None if unset else _component(f"{name} ({use})", use, options, tell)
    return Node(name, use, component, tuple(after), table.get("only"))


def _filled(value: Any, unset: set[str]) -> Any:
    """The value with every `${VAR}` in it replaced; the names of those that are not set are put into `unset`."""

    def replacement(match: re.Match[str]) -> str:
        found = lookup(match[1])
        if found is None:
            unset.add(match[1])
        return found or ""

    match value:
        case str():
            return VARIABLE.sub(replacement, value)
        case list():
            return [_filled(item, unset) for item in value]
        case dict():
            return {key: _filled(item, unset) for key, item in value.items()}
    return value


def _component(where: str, use: str, options: dict[str, Any], tell: Tell) -> Component | None:
    try:
        kind = load(use)
    except UserError as error:
        tell(f"{where}: {error}")
        return None
    try:
        return kind(**{key: _list(kind, key, value) for key, value in options.items()})
    except ValidationError as error:
        for item in error.errors(include_url=False):
            tell(f"{where}: {_wrong_option(kind, use, item)}")
    except UserError as error:
        tell(f"{where}: {error}")
    return None


def _list(kind: type[Component], option: str, value: Any) -> Any:
    """A setting that is a list is one text with commas; where a list is wanted, that is what it means."""
    several = get_origin(_annotation(kind, option)) in (tuple, list)
    return [item.strip() for item in value.split(",")] if several and isinstance(value, str) else value


def _wrong_option(kind: type[Component], use: str, error: Any) -> str:
    option = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"`{option}` is not an option of `{use}`{did_you_mean(option, [*kind.model_fields, *RESERVED])}".rstrip(
            "."
        )
    if error["type"] == "missing":
        return f"`{option}` is missing"
    says = error["msg"].removeprefix("Value error, ").replace("Input should", "should", 1)
    if not option:
        return str(says)
    secret = re.search("token|secret|password|key$", option, re.IGNORECASE) or "Secret" in str(
        _annotation(kind, option)
    )
    value = (
        "***"
        if secret
        else masked("_URL", str(error["input"]))
        if "://" in str(error["input"])
        else repr(error["input"])
    )
    return f"`{option}` = {value}: {says}"


def _annotation(kind: type[Component], option: str) -> Any:
    field = kind.model_fields.get(option.partition(".")[0])
    return field.annotation if field else None
