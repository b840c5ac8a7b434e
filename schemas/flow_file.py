"""Read a flow file: its tables, the line of each table and key, and the `[settings]` table that wins over the environment.

tomllib gives no line numbers, so they are found by a scan of the text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hearthwatch.schemas.errors import UserError

SETTINGS = "settings"  # the one table that is no node
DEPTH_MAX = 20  # tables and lists in each other; a node's options are flat, its deepest is a list in a table

_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_.\"'-]+)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*[.=]")
_QUOTES = ('"""', "'''")


class FlowFileError(UserError):
    """A flow file that cannot be read, or is not TOML."""


@dataclass(frozen=True)
class FlowFile:
    """The tables of a flow file. `name` is its path, or empty for a text."""

    name: str
    tables: dict[str, Any]
    lines: dict[tuple[str, str], int] = field(repr=False)
    """(table, key) → line; the key of the table's own line is empty, the table of a key before any table, too."""

    def where(self, table: str = "", key: str = "") -> str:
        """`flow.toml:12: ` in front of a message about this key, or about this table if the key is not found."""
        line = next((n for at in ((table, key), (table, ""), ("", table)) if (n := self.lines.get(at))), None)
        if line is None:
            return f"{self.name}: " if self.name else ""
        return f"{self.name}:{line}: " if self.name else f"line {line}: "

    @property
    def settings(self) -> dict[str, Any]:
        """The `[settings]` table."""
        table = self.tables.get(SETTINGS, {})
        return table if isinstance(table, dict) else {}


def read_flow_file(source: Path | str) -> FlowFile:
    """Read a path, or a text (anything with a line break in it).

    Raises:
        FlowFileError: it cannot be read, is not TOML, or nests too deeply.
    """
    is_text = isinstance(source, str) and "\n" in source
    name = "" if is_text else str(source)
    try:
        text = (
            str(source) if is_text else Path(source).read_text(encoding="utf-8-sig")
        )  # Notepad begins with a byte order mark
        tables = tomllib.loads(text)
        if _is_deep(tables):
            raise RecursionError  # as tomllib does for brackets
        return FlowFile(name, tables, find_lines(text))
    except OSError as error:
        raise FlowFileError(f"{source}: the flow file cannot be read: {error.strerror}") from None
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise FlowFileError(f"{name or 'the flow'} is not TOML: {_in_plain_words(str(error))}") from None
    except RecursionError:
        raise FlowFileError(f"{name or 'the flow'} nests too deeply: a node's options are flat") from None


def _is_deep(tables: dict[str, Any]) -> bool:
    """Whether something nests deeper than `DEPTH_MAX`; dotted keys let tomllib go deeper than Python can recurse."""
    level: list[Any] = [tables]
    for _ in range(DEPTH_MAX):
        level = [item for value in level for item in _items(value)]
    return bool(level)


def _items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def find_lines(text: str) -> dict[tuple[str, str], int]:
    """Find the line of each table and key; lines inside a multi-line string are passed over."""
    found: dict[tuple[str, str], int] = {}
    table, inside = "", ""
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            inside = "" if line.count(inside) % 2 else inside
            continue
        if header := _TABLE.match(line):
            table = header[1].strip("\"'")
            found.setdefault((table, ""), number)
        elif key := _KEY.match(line):
            found.setdefault((table, key[1].strip("\"'")), number)
        inside = next((quotes for quotes in _QUOTES if line.count(quotes) % 2), "")
    return found


def _in_plain_words(error: str) -> str:
    """Say tomllib's words as a user would; a table that is declared twice is a name that is used twice."""
    if twice := re.search(r"Cannot declare \('([^']*)',\) twice(.*)", error):
        return f"the name `{twice[1]}` is used twice{twice[2]}"
    return error[0].lower() + error[1:]
