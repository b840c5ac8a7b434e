"""Append messages to a file of JSON Lines, each once: behind a kill it continues after the last whole line.

A line is the message as it is published everywhere (`hearthwatch.item.v1`, `hearthwatch.event.v1`, …).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar

from hearthwatch.schemas import Consumer, ConsumerWorker, IncidentMessage, ItemMessage, Message, SystemMessage
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.messages import FeedMessage

TAIL_BYTES = 32 << 20  # more than what is delivered at once


class Jsonl(Consumer):
    """Append each message to a file, as a line of JSON."""

    accepts: ClassVar[type | tuple[type, ...]] = (ItemMessage, Message, IncidentMessage, SystemMessage)

    path: Path
    """The file; its folder is made. Of a further cell `x`, `events.jsonl` is `events.x.jsonl`."""

    def label(self) -> str:
        return self.path.name

    def build(self, context: Context) -> JsonlWorker:
        cell, path = context.cell, self.path
        return JsonlWorker(path.with_name(f"{path.stem}.{cell.name}{path.suffix}") if cell and cell.number else path)


class JsonlWorker(ConsumerWorker):
    """One file, open for appending."""

    _file: BinaryIO | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._there: set[bytes] = set()
        """The last lines: what a kill, or a failed commit, came after comes again, as the same line."""

    def open(self) -> None:
        """Read the last lines, and cut off one that was not written whole. Raises OSError."""
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab+")
        self._file.seek(start := max(0, self._file.seek(0, os.SEEK_END) - TAIL_BYTES))
        tail = self._file.read()
        whole = tail.rfind(b"\n") + 1
        self._there = set(tail[:whole].splitlines(keepends=True))
        self._file.truncate(start + whole)

    def deliver(self, messages: Sequence[FeedMessage]) -> None:
        if self._file is None or not self.path.exists():  # it was moved away
            self.open()
        assert self._file
        lines = [json.dumps(message.as_dict(), ensure_ascii=False).encode() + b"\n" for message in messages]
        try:
            self._file.write(b"".join(line for line in lines if line not in self._there))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            self.close()  # the next attempt sees what was written
            raise
        self._there = set(lines)

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None
