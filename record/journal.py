"""Keep items of any graph: each once, by its content, in the order of arrival, each with a message in the feed.

A journal is to a graph's own items what `batch` is to pictures: what is behind it may be slow, down or killed, and misses nothing.
A source that reads something again after a kill changes nothing: the same item has the same hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, to_json

from hearthwatch.record import Record
from hearthwatch.record.feed import append
from hearthwatch.record.read.over_cells import add, over_cells
from hearthwatch.record.units import NEVER
from hearthwatch.schemas.items import DeadLetter, from_microseconds, iso
from hearthwatch.schemas.messages import ItemMessage

HASH_BYTES = 16
ITEM_BYTES_MAX = 256 * 1024  # a message of the feed is held in memory, 100 at a time, and sent to every client
FAILED = "failed"
"""The kind of a row about something that could not be written, or failed before it came here."""


class JournalRow(NamedTuple):
    """An item as it is written."""

    content_hash: str
    kind: str
    payload: str
    """JSON."""
    error: str | None = None


def entry_of(item: object, key: Sequence[str] = ()) -> JournalRow:
    """Return the row of an item: a mapping or a dataclass. `key`: the fields that make it itself; empty: all.

    What is no such item, or cannot be JSON, and what failed on its way has its reason in `error`.
    """
    if isinstance(item, DeadLetter):
        return _failed({"stage": item.stage, "reason": item.reason}, f"{item.stage}: {item.reason}")
    kind = type(item).__name__
    if isinstance(item, Mapping):
        values = dict(item)
    elif is_dataclass(item) and not isinstance(item, type):
        values = {field.name: getattr(item, field.name) for field in fields(item)}
    else:
        return _failed({"kind": kind, "item": repr(item)[:200]}, f"{kind} is no mapping and no dataclass")
    try:
        body = to_json(values, inf_nan_mode="null")
        if missing := [name for name in key if name not in values]:
            raise ValueError(f"has no field `{missing[0]}`, which is part of the key")
        if len(body) > ITEM_BYTES_MAX:
            raise ValueError(f"is {len(body)} bytes of JSON, and {ITEM_BYTES_MAX} may be: keep large things in files")
        own = to_json([kind, *([values[name] for name in key] if key else [_in_order(body)])], inf_nan_mode="null")
    except (PydanticSerializationError, UnicodeError, ValueError, RecursionError) as error:
        wrong = next((name for name, value in values.items() if not _is_jsonable(value)), "")
        return _failed({"kind": kind, "item": repr(values)[:200]}, f"{kind}{wrong and f', field `{wrong}`'}: {error}")
    return JournalRow(_hash(own), kind, body.decode())


def write(record: Record, node: str, entries: Sequence[JournalRow], at: int) -> int:
    """Append those that the journal does not hold, in one transaction; return how many."""
    return record.transact(lambda: append_new(record, node, entries, at))


def append_new(record: Record, node: str, entries: Sequence[JournalRow], at: int) -> int:
    """Append those that the journal does not hold, inside a transaction; return how many."""
    sql = "INSERT OR IGNORE INTO journal(node, content_hash, kind, payload, at, error) VALUES (?,?,?,?,?,?)"
    written = 0
    for entry in entries:
        cursor = record.execute(sql, node, entry.content_hash, entry.kind, entry.payload, at, entry.error)
        written += cursor.rowcount
        if cursor.rowcount and entry.error is None:
            _append(record, int(cursor.lastrowid or 0), node, entry, at)
    return written


def _append(record: Record, id: int, node: str, entry: JournalRow, at: int) -> None:
    payload, written_at, hash, kind = json.loads(entry.payload), from_microseconds(at), entry.content_hash, entry.kind
    append(record, "item", id, 1, at, lambda seq: ItemMessage(seq, node, id, hash, kind, written_at, payload))


def delete_old(record: Record, before: int, limit: int = 1000) -> int:
    """Delete items from before this time, with their messages, `limit` at a time; return how many."""

    def delete() -> int:
        ids = record.rows("SELECT id FROM journal WHERE at < ? ORDER BY at LIMIT ?", before, limit)
        record.many("DELETE FROM feed WHERE kind = 'item' AND subject_id = ?", ids)
        record.many("DELETE FROM journal WHERE id = ?", ids)
        return len(ids)

    deleted = 0
    while found := record.transact(delete) if record.one("SELECT 1 FROM journal WHERE at < ? LIMIT 1", before) else 0:
        deleted += found
    return deleted


@over_cells(add)
def read_journals(record: Record) -> dict[str, dict[str, Any]]:
    """Return by journal how many items it holds, how many failed, and when the last one was written (ISO 8601, UTC)."""
    rows = record.dicts("SELECT name, items, failed, last_at FROM journals")
    return {row.pop("name"): row | {"last_at": iso(from_microseconds(row["last_at"]))} for row in rows}


def read_items(
    record: Record, limit: int, before: int = NEVER, node: str | None = None, failed: bool = False
) -> list[dict[str, Any]]:
    """Return the newest items with ids below `before`: id, node, content_hash, kind, at, payload, error."""
    more = f"{'AND node = ? ' if node else ''}{'AND error IS NOT NULL ' if failed else ''}"
    sql = f"SELECT id, node, content_hash, kind, at, payload, error FROM journal WHERE id < ? {more}ORDER BY id DESC LIMIT ?"
    rows = record.dicts(sql, before, *([node] if node else []), limit)
    return [row | {"at": iso(from_microseconds(row["at"])), "payload": json.loads(row["payload"])} for row in rows]


def _failed(item: Mapping[str, Any], error: str) -> JournalRow:
    body = to_json(item)
    return JournalRow(_hash(to_json([FAILED, error]) + body), FAILED, body.decode(), error)


def _in_order(body: bytes) -> str:
    """Return JSON with its keys in order: equal mappings are equal, however they were made."""
    return json.dumps(json.loads(body), sort_keys=True)


def _hash(own: bytes) -> str:
    return hashlib.blake2b(own, digest_size=HASH_BYTES).hexdigest()


def _is_jsonable(value: object) -> bool:
    try:
        to_json(value)
    except (PydanticSerializationError, UnicodeError, ValueError, RecursionError):
        return False
    return True
