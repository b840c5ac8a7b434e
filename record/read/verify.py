"""Check the record against itself, uploads, thumbnails, kept originals and lake. Only reads.

Each check yields one sentence per problem, with the next step for a person where there is one. Work in progress of a running
pipeline is no problem: checks that read files run twice (`find_persistent`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hearthwatch.record import Record
from hearthwatch.record.lake.export import KINDS, Hour, Lake, hour_of, hours, read
from hearthwatch.record.pictures import FOLDER, originals
from hearthwatch.record.retention.sweep import compare, days, stray_pictures
from hearthwatch.record.thumbnails import is_whole
from hearthwatch.record.units import BOXES_OF_FRAME, LEVEL_OF_SCORE
from hearthwatch.schemas.items import PER_FRAME

REPORTED_MAX = 10  # problems of one kind; the rest is counted
REPEAT_SECONDS = 3.0  # a thumbnail is drawn, an hour rewritten, a file taken in within this time
MISSED_SECONDS = 60.0  # a running pipeline takes a file in within 15 s

# without frames of a removed camera, which are settled out of order
SETTLED = "state = 'settled' AND coalesce(error_stage, '') <> 'camera'"

# an event that a restore found continues above what the lost state may have published of it
WRONG_REVISION = """n <> revision AND (n > revision OR
        e.id > coalesce((SELECT json_extract(value, '$.known_frame') FROM meta WHERE key = 'record_restored'), 0))"""

_HERE = "NOT EXISTS (SELECT 1 FROM meta WHERE key = 'incidents_in')"  # else they are in another cell's record

ROWS = {
    "frame {} ({}) was skipped: it waits, but frame {} behind it is decided": f"""
        SELECT id, path, (SELECT id FROM frames WHERE {SETTLED} ORDER BY id DESC LIMIT 1) AS last FROM frames
        WHERE state = 'discovered' AND id < coalesce((SELECT id FROM frames WHERE {SETTLED} ORDER BY id DESC LIMIT 1), 0)""",
    "frame {} is {} but belongs to event {}": """
        SELECT id, state, event_id FROM frames WHERE event_id IS NOT NULL AND (state <> 'settled' OR pruned > 0)""",
    "frame {} belongs to event {}, which does not exist or was merged": """
        SELECT id, event_id FROM frames f WHERE event_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM events e WHERE e.id = f.event_id AND status <> 'merged')""",
    "frame {} belongs to event {} but has no detections": f"""
        SELECT id, event_id FROM frames f WHERE event_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM detections d WHERE {BOXES_OF_FRAME})""",
    "frame {} is settled as a duplicate of frame {}, which is {}, later or another picture": """
        SELECT f.id, o.id, o.state FROM frames f JOIN frames o ON o.id = CAST(substr(f.error, 14) AS INTEGER)
        WHERE f.error_stage = 'duplicate' AND f.state = 'settled'
        AND (o.state <> 'settled' OR o.id >= f.id OR o.content_hash IS NOT f.content_hash)""",
    "detection {} belongs to frame {} and event {}, which do not match": f"""
        SELECT d.id, d.frame_id, d.event_id FROM detections d LEFT JOIN frames f ON f.id = d.id / {PER_FRAME}
        WHERE f.id IS NULL OR d.frame_id <> f.id OR d.event_id IS NOT f.event_id OR d.event_id IS NULL""",
    "detection {} has another time than its frame {}": f"""
        SELECT d.id, f.id FROM detections d JOIN frames f ON f.id = d.id / {PER_FRAME} WHERE d.detected_at <> f.captured_at""",
    "event {} has frame_count {}, but {} frames belong to it": """
        SELECT e.id, frame_count, (SELECT count(*) FROM frames WHERE event_id = e.id) AS n FROM events e WHERE frame_count <> n""",
    "event {} is not named after its first frame, {}": """
        SELECT e.id, (SELECT min(id) FROM frames WHERE event_id = e.id) AS first FROM events e WHERE first <> e.id""",
    "event {} does not span its frames": """
        SELECT e.id FROM events e WHERE status <> 'merged' AND (started_at, last_at) IS NOT
        (SELECT min(captured_at), max(captured_at) FROM frames WHERE event_id = e.id)""",
    "event {} has score {} but level {}": f"""
        SELECT id, risk_score, risk_level FROM events WHERE risk_level <> {LEVEL_OF_SCORE}""",
    "event {} cites detection {}, which is not one of its detections": """
        SELECT e.id, cited.value FROM events e, json_each(coalesce(e.evidence, '[]')) cited WHERE status <> 'merged'
        AND NOT EXISTS (SELECT 1 FROM detections WHERE id = cited.value AND event_id = e.id)""",
    "event {} is at revision {}, but {} of them are in its history": f"""
        SELECT e.id, revision, (SELECT count(*) FROM event_history WHERE event_id = e.id AND NOT shadow) AS n
        FROM events e WHERE {WRONG_REVISION}""",
    "event {} is at revision {}, but the feed has {} messages of it": f"""
        SELECT e.id, revision, (SELECT count(*) FROM feed WHERE kind = 'event' AND subject_id = e.id) AS n FROM events e WHERE {WRONG_REVISION}""",
    "message {} is about event {}, which does not exist": """
        SELECT seq, event_id FROM feed WHERE kind = 'event' AND NOT EXISTS (SELECT 1 FROM events WHERE id = event_id)""",
    "event {} belongs to no incident": f"""
        SELECT id FROM events e WHERE {_HERE} AND incident_id IS NULL AND status <> 'merged' AND id NOT IN (SELECT event_id FROM incident_queue) AND
        (SELECT max(seq) FROM feed WHERE kind = 'event' AND subject_id = e.id) <= (SELECT seq FROM cursors WHERE name = 'incident')""",
    "event {} belongs to incident {}, which does not exist or was merged": f"""
        SELECT id, incident_id FROM events e WHERE {_HERE} AND incident_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM incidents i WHERE i.id = e.incident_id AND i.status <> 'merged')""",
    "incident {} has event_count {}, but {} events belong to it": """
        SELECT i.id, event_count, (SELECT count(frame_count) FROM incident_members e WHERE e.incident_id = i.id AND e.status <> 'merged') AS n
        FROM incidents i WHERE status <> 'merged' AND n <> event_count""",
    "alert {} belongs to no incident, or to one that does not exist or was merged": f"""
        SELECT id FROM alerts a WHERE {_HERE} AND NOT EXISTS (SELECT 1 FROM incidents i WHERE i.id = a.incident_id AND i.status <> 'merged')
        AND (incident_id IS NOT NULL OR id < (SELECT max(id) FROM alerts WHERE incident_id IS NOT NULL))""",
    "incident {} counts {} alerts, but {} belong to it": """
        SELECT i.id, (SELECT total(value) FROM json_each(alert_counts)), (SELECT count(kind) FROM incident_members a WHERE a.incident_id = i.id) AS n
        FROM incidents i WHERE status <> 'merged' AND n <> (SELECT total(value) FROM json_each(alert_counts))""",
    "message {} is about incident {}, which does not exist": """
        SELECT seq, subject_id FROM feed WHERE kind = 'incident' AND NOT EXISTS (SELECT 1 FROM incidents WHERE id = subject_id)""",
    "item {} of journal {} has no message, or one although it failed": """
        SELECT id, node FROM journal j WHERE (error IS NULL) <> EXISTS (SELECT 1 FROM feed WHERE kind = 'item' AND subject_id = j.id)""",
    "message {} is about item {}, which does not exist": """
        SELECT seq, subject_id FROM feed WHERE kind = 'item' AND NOT EXISTS (SELECT 1 FROM journal WHERE id = subject_id)""",
    "journal {} says that it holds {} items and {} that failed, which is not what is there": """
        SELECT name, items, failed FROM journals WHERE (items, failed) IS NOT
        (SELECT count(*) - count(error), count(error) FROM journal WHERE node = name)""",
    "the history has event {}, which does not exist": """
        SELECT DISTINCT event_id FROM event_history WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = event_id)""",
}  # fmt: skip
"""Each problem, and the query that finds it; its columns fill the sentence."""

COUNTERS = {
    **{
        state: f"SELECT count(*) FROM frames WHERE state = '{state}'"
        for state in ("discovered", "settled", "quarantined")
    },
    "detections": "SELECT count(*) FROM detections",
    "events": "SELECT count(*) FROM events WHERE status <> 'merged'",
}


class UploadedFile(NamedTuple):
    """A picture in the upload tree: its key in the ledger, and when it was last changed there (seconds since 1970)."""

    path: str
    mtime_ns: int
    size: int
    changed: float


def database(record: Record) -> Iterator[str]:
    """Run SQLite's check of the file."""
    for (line,) in record.rows("PRAGMA quick_check"):
        if line != "ok":
            yield f"{record.path} is damaged: {line}; restore a backup"


def counters(record: Record) -> Iterator[str]:
    """Check the ledger's counters against a count of the rows."""
    counters = record.counters()
    for name, sql in COUNTERS.items():
        (counted,) = record.one(sql)
        if counters.get(name) != counted:
            yield f"the counter `{name}` says {counters.get(name)}, but there are {counted}"


def rows(record: Record) -> Iterator[str]:
    """Check rows against each other."""
    for sentence, sql in ROWS.items():
        found = record.rows(f"SELECT * FROM ({sql}) LIMIT {REPORTED_MAX + 1}")
        yield from (sentence.format(*row) for row in found[:REPORTED_MAX])
        if len(found) > REPORTED_MAX:
            (total,) = record.one(f"SELECT count(*) FROM ({sql})")
            yield f"… and {total - REPORTED_MAX} like this"


def uploads(record: Record, tree: Iterable[UploadedFile], others: Sequence[Record] = ()) -> Iterator[str]:
    """Find uploads that a running pipeline should have taken in and did not; nor did `others`, which share the tree."""
    (beat,) = record.one("SELECT coalesce(max(at), 0) FROM heartbeat WHERE chain = 'see'")
    sql = "SELECT 1 FROM frames WHERE path = ? AND mtime_ns = ? AND size = ?"
    for file in tree:
        found = (each.one(sql, file.path, file.mtime_ns, file.size) for each in (record, *others))
        if file.changed < beat / 1e6 - MISSED_SECONDS and not any(found):
            yield f"{file.path} was uploaded while the pipeline ran, but is not in the ledger"


def thumbnails(record: Record, data_dir: Path) -> Iterator[str]:
    """Check that each frame with boxes has an intact thumbnail, and that there are no other files."""
    folder = data_dir / "thumbnails"
    if not folder.is_dir():
        return  # this graph draws none
    for day in days(record, folder):
        found = compare(record, folder / day)
        yield from (f"{path} belongs to no frame; `hearthwatch prune` deletes it" for path in found.orphans)
        torn = [path for path in found.path.glob("[!.]*_thumb.jpg") if path not in found.orphans and not is_whole(path)]
        yield from (f"{path} is torn; `hearthwatch prune` draws it again once it is deleted" for path in torn)
        yield from (f"frame {i} has no thumbnail; `hearthwatch prune` draws it again" for i in found.missing)


def pictures(record: Record, data_dir: Path) -> Iterator[str]:
    """Check that each kept original is the picture of an event, and what was uploaded."""
    for folder in sorted((data_dir / FOLDER).glob("????-??-??")):
        stray = set(stray_pictures(record, folder))
        yield from (f"{path} belongs to no event; `hearthwatch prune` deletes it" for path in sorted(stray))
        for path in sorted(set(folder.glob("[!.]*")) - stray):
            kept = [o for o in originals(record, data_dir, data_dir, int(path.stem)) if o.path == path]
            if not any(original.read() is not None for original in kept):
                yield f"{path} is not the picture that was uploaded: delete it"


def lake(record: Record, lake: Lake) -> Iterator[str]:
    """Check that the files of each hour that is not dirty have the record's rows."""
    if not (lake.folder / ".round").exists():
        return
    dirty = set(lake.dirty_hours())
    for kind, names in KINDS.items():
        for table in names:
            files = {path: hour_of(path) for path in lake.files(table)}
            yield from (f"{path} is no file of the lake: move it away" for path, hour in files.items() if hour is None)
            named = {hour for hour in files.values() if hour is not None}
            for hour in sorted({*hours(record, kind), *named}):
                if Hour(kind, hour) not in dirty:
                    yield from _hour(record, lake.path(table, hour), table, hour)


def _hour(record: Record, path: Path, table: str, hour: int) -> Iterator[str]:
    expected = read(record, table, hour)
    try:
        found = pq.read_table(path, partitioning=None) if path.exists() else expected.slice(0, 0)
    except (OSError, pa.ArrowInvalid) as error:
        yield f"{path} cannot be read: {error}"
        return
    ids, wanted = found["id"].to_pylist(), expected["id"].to_pylist()
    if len(ids) != len(set(ids)):
        yield f"{path} has rows twice: {_some({i for i in ids if ids.count(i) > 1})}"
    elif missing := set(wanted) - set(ids):
        yield f"{path} lacks rows: {_some(missing)}"
    elif strange := set(ids) - set(wanted):
        yield f"{path} has rows that the record does not have: {_some(strange)}"
    elif not found.equals(expected):
        yield f"{path} has other values than the record"


def _some(ids: set[int]) -> str:
    shown = ", ".join(map(str, sorted(ids)[:REPORTED_MAX]))
    return shown + (f" and {len(ids) - REPORTED_MAX} more" if len(ids) > REPORTED_MAX else "")


def find_persistent(check: Callable[[], Iterable[str]]) -> list[str]:
    """Return the problems that a check finds twice, some seconds apart: work in progress is done by then."""
    first = list(check())
    if not first:
        return []
    time.sleep(REPEAT_SECONDS)
    still = set(check())
    return [line for line in first if line in still]


def find_in_snapshot(record: Record, check: Callable[[Record], Iterator[str]]) -> list[str]:
    """Return the problems that a check of rows finds in one snapshot."""
    record.execute("BEGIN")
    try:
        return list(check(record))
    finally:
        record.execute("COMMIT")
