"""Make a process fail at one point of its work, for `hearthwatch prove` and the tests: nothing else does.

`before:3` ends the process before its third commit and `after:3` behind it, as `kill -9` would; `sql:3` makes that commit fail
once; `disk:3` lets the third open, rename, removal or sync below the folder fail once, `file:3` one in its `out`, `cut:3` a delivery.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KILLED = 9  # exit code
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
WRITES = re.compile(r"\s*(?:INSERT (?:OR \w+ )?INTO|UPDATE|DELETE FROM|REPLACE INTO)\s+(\w+)", re.IGNORECASE)
HIDDEN = ("counters", "meta")  # written along with something else

_connect = sqlite3.connect


class FaultPoint:
    """Counts what passes by kind, and fails at one: a place such as `before`, and which time."""

    def __init__(self, text: str, under: Path | None = None, passed: Path | None = None) -> None:
        self.place, _, number = text.partition(":")
        self.at, self.under, self.passed = int(number or 0), str(under or ""), passed
        self.counts: Counter[str] = Counter()

    def install(self) -> None:
        """Watch this process from now on: its SQLite connections, and its files below `under`."""
        point = self

        class Connection(sqlite3.Connection):
            """Passes by the point with each commit."""

            written = ""

            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                self.note(sql)
                if sql != "COMMIT":
                    return super().execute(sql, *arguments)
                what, self.written = self.written, ""
                point.pass_by("before", what)
                point.pass_by("sql", what)
                done = super().execute(sql, *arguments)
                point.pass_by("after", what)
                return done

            def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
                self.note(sql)
                return super().executemany(sql, rows)

            def note(self, sql: str) -> None:
                if (found := WRITES.match(sql)) and found[1] not in HIDDEN:
                    self.written = self.written or found[1]

        sqlite3.connect = lambda *arguments, **more: _connect(*arguments, **more | {"factory": Connection})
        if self.under:
            fsync = os.fsync

            def failing_fsync(file: int) -> None:
                self.pass_by("disk", "fsync")
                fsync(file)

            os.fsync = failing_fsync  # type: ignore[assignment]
            sys.addaudithook(self._audit)

    def pass_by(self, place: str, what: str) -> None:
        """Count one more; end the process, or raise, where that was chosen."""
        self.counts[place] += 1
        if place != self.place or self.counts[place] != self.at:
            return
        if self.passed:
            self.place = ""  # once
            self.passed.write_text(what)
        if place in ("before", "after"):
            os._exit(KILLED)
        if place == "sql":
            raise sqlite3.OperationalError("database is locked")
        raise OSError(errno.EIO, os.strerror(errno.EIO), what)

    def _audit(self, event: str, arguments: Sequence[Any]) -> None:
        if event not in EVENTS or not isinstance(path := arguments[0], str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        if name.startswith(self.under) and "/recovery" not in name:
            is_output = name.startswith(f"{self.under}/out/")
            self.pass_by(
                "file" if is_output else "disk",
                f"{event.rpartition('.')[2]} {name.removeprefix(self.under).lstrip('/')}",
            )
