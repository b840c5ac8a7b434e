"""Measure how long the pipeline upgrades a large record of 0.1: `python tests/long/upgrade.py [--events 1000000]`.

Five pictures with a detection each per event, two revisions of each event in history and feed, payloads of 0.1's size.
"""

import argparse
import json
import logging
import sqlite3
import tempfile
import time
import uuid
from pathlib import Path

from hearthwatch.record import Record
from hearthwatch.record.migrate import SCHEMA_VERSION, upgrade
from hearthwatch.record.read import verify
from hearthwatch.record.upgrade import upgrade_record

OF_0_1 = 4
S = 1_000_000
START = 1_790_000_000 * S
EVENT_SECONDS, PICTURES = 30, 5
PAYLOAD = json.dumps(
    {
        "schema": "hearthwatch.event.v1",
        "summary": "A person came from the left and stayed at the door for 12 s.",
        "filler": "x" * 500,
    }
)


def make(path: Path, events: int) -> None:
    """Write the rows before the tables that count them exist: those are filled as 0.1's own migrations did."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -500000"
    )
    upgrade(db, 2)
    frames = range(1, PICTURES * events + 1)
    db.execute("BEGIN")
    db.executemany(
        "INSERT INTO frames(id, uid, camera_id, path, mtime_ns, size, captured_at, arrived_at, discovered_at, content_hash, state, event_id) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,'settled',?)",
        ((i, f"{i:032x}", f"camera{i // PICTURES % 8}", f"camera{i // PICTURES % 8}/2026/11/{i}.jpg", i, 200_000, at(i), at(i), at(i),
          f"{i * 2654435761 % 2**128:032x}", first(i)) for i in frames),
    )  # fmt: skip
    db.executemany(
        "INSERT INTO detections VALUES (?,?,?,?,?,?,'person',0.9,10,20,30,40,NULL)",
        (
            (i * 512, i, first(i), f"camera{i // PICTURES % 8}", f"camera{i // PICTURES % 8}/2026/11/{i}.jpg", at(i))
            for i in frames
        ),
    )
    firsts = range(1, PICTURES * events + 1, PICTURES)
    db.executemany(
        "INSERT INTO events(id, batch_id, camera_id, started_at, ended_at, frame_count, status, risk_score, risk_level, summary, "
        "revision, objects, last_at, close_at, sealed) VALUES (?,?,?,?,?,?,'closed',40,'medium','A person came.',2,'{\"person\": 1}',?,?,1)",
        (
            (i, str(uuid.UUID(int=i)), f"camera{i // PICTURES % 8}", at(i), at(i + 4), PICTURES, at(i + 4), at(i + 40))
            for i in firsts
        ),
    )
    for revision, type in ((1, "event.opened"), (2, "event.closed")):
        db.executemany(
            "INSERT INTO event_history(event_id, revision, type, summary, at) VALUES (?,?,?,'A person came.',?)",
            ((i, revision, type, at(i)) for i in firsts),
        )
        db.executemany(
            "INSERT INTO feed(event_id, revision, type, payload, at) VALUES (?,?,?,?,?)",
            ((i, revision, type, PAYLOAD, at(i)) for i in firsts),
        )
    counts = {"settled": len(frames), "detections": len(frames), "events": events}
    db.executemany("UPDATE counters SET n = ? WHERE name = ?", [(n, name) for name, n in counts.items()])
    db.execute("INSERT INTO meta VALUES ('store_id', 'large')")
    db.execute("COMMIT")
    upgrade(db, OF_0_1)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def at(frame: int) -> int:
    return START + frame * EVENT_SECONDS // PICTURES * S


def first(frame: int) -> int:
    return (frame - 1) // PICTURES * PICTURES + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with tempfile.TemporaryDirectory(prefix="upgrade_") as folder:
        path, began = Path(folder) / "hearthwatch.db", time.monotonic()
        make(path, given.events)
        size = path.stat().st_size / 1e9
        print(
            f"{given.events:,} events, {PICTURES * given.events:,} pictures, {size:.1f} GB, made in {time.monotonic() - began:.0f} s"
        )
        began = time.monotonic()
        upgrade_record(path, Path(folder))
        print(
            f"version {OF_0_1} to {SCHEMA_VERSION}: {time.monotonic() - began:.1f} s, {path.stat().st_size / 1e9:.1f} GB"
        )
        record, began = Record(path), time.monotonic()
        assert list(verify.counters(record)) == []
        print(f"opened; counters are right ({time.monotonic() - began:.1f} s)")
        record.close()


if __name__ == "__main__":
    main()
