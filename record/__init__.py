"""The SQLite record: ledger, batching state, work queue, result store and outbox, and everything that reads it."""

from __future__ import annotations

if __name__ != "hearthwatch.record":
    raise ImportError("import hearthwatch.record: the rooms of Hearthwatch are imported by this name only")

from hearthwatch.record.connection import (
    CACHE_KIB,
    WORKING_SET_KIB,
    OlderRecordError,
    Record,
    RecordError,
    now,
    open_existing,
)
from hearthwatch.record.lock import Lock, acquire_lock
from hearthwatch.record.migrate import SCHEMA_VERSION

__all__ = [
    "CACHE_KIB",
    "SCHEMA_VERSION",
    "WORKING_SET_KIB",
    "Lock",
    "OlderRecordError",
    "Record",
    "RecordError",
    "acquire_lock",
    "now",
    "open_existing",
]
