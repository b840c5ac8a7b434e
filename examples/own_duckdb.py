"""Keep the newest revision of every event in a DuckDB file of your own, one row per event.

A flow file in the same folder adds it; its cursor is in the record, so it misses nothing while it does not run:

    extends = "default"

    [mine]
    use = "own_duckdb:OwnDuckDb"
    from = "sqlite"
    path = "mine.duckdb"
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from hearthwatch.schemas import Consumer, Message

TABLE = """
CREATE TABLE IF NOT EXISTS events(
  event_id BIGINT PRIMARY KEY, revision INTEGER, camera_id TEXT, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ,
  status TEXT, risk_score INTEGER, risk_level TEXT, summary TEXT, objects JSON)"""

UPSERT = """
INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)
ON CONFLICT DO UPDATE SET revision = excluded.revision, started_at = excluded.started_at, ended_at = excluded.ended_at,
  status = excluded.status, risk_score = excluded.risk_score, risk_level = excluded.risk_level, summary = excluded.summary,
  objects = excluded.objects
WHERE excluded.revision > events.revision"""


class OwnDuckDb(Consumer):
    """One row per event. The same message twice, or an older one, changes nothing."""

    path: Path
    """The DuckDB file; it is open only while messages come in, so that others can read it."""

    def deliver(self, messages: Sequence[Message]) -> None:
        with duckdb.connect(str(self.path)) as database:
            database.execute(TABLE)
            database.execute("BEGIN")
            database.executemany(UPSERT, [row(message) for message in messages])
            database.execute("COMMIT")


def row(message: Message) -> list[object]:
    event, verdict = message.event, message.event.verdict
    return [
        event.id, event.revision, event.camera_id, event.started_at, event.ended_at, event.status,
        verdict.risk_score, verdict.risk_level, verdict.summary, dict(event.objects),
    ]  # fmt: skip
