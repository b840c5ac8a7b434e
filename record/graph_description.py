"""The description of the running graph, which the pipeline leaves in the record for the API and the page.

JSON: `nodes` (name, use, kind, label, off), `edges` (from, port, to, durable), `options` (those that the API shows).
"""

from __future__ import annotations

import json
from typing import Any

from hearthwatch.record import Record

KEY = "graph"


def store_description(record: Record, description: object) -> None:
    """Store it in one transaction, unless it is there already."""
    text = json.dumps(description, ensure_ascii=False)
    if record.one("SELECT value FROM meta WHERE key = ?", KEY) != (text,):
        record.transact(lambda: record.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", KEY, text))


def read_description(record: Record) -> dict[str, Any] | None:
    """Return what the last pipeline on this record left; None: none of this version ran yet."""
    found: dict[str, Any] | None = record.meta(KEY)
    return found
