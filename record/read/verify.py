"""Whether everything that the record says is so: rows among themselves, files, thumbnails, lake. Only reads.

Each check yields one sentence for each thing that is amiss, a person's next step where there is one. What a pipeline is
busy with meanwhile is no fault: checks that look at files are to be asked twice (`lasting`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hearthwatch.record import Record
from hearthwatch.record.lake.export import KINDS, Hour, Lake, hour_of, hours, read
from hearthwatch.record.retention.sweep import compare, days
from hearthwatch.record.thumbnails import is_whole
from hearthwatch.record.units import BOXES_OF_FRAME, LEVEL_OF_SCORE
from hearthwatch.schemas.items import PER_FRAME

TOLD_MAX = 10  # of one kind; the rest is counted
AGAIN_SECONDS = 3.0  # a thumbnail is drawn, an hour written again, a file taken in within this time
MISSED_SECONDS = 60.0  # a running pipeline takes a file in within 15 s

SEEN = (
    "state = 'settled' AND coalesce(error_stage, '') <> 'camera'"  # a removed camera's frames are settled out of turn
)

ROWS = {
    "frame {} ({}) was passed over: it waits, but frame {} behind it is decided": f"""
        SELECT id, path, (SELECT id FROM frames WHERE {SEEN} ORDER BY id DESC LIMIT 1) AS last FROM frames
        WHERE state = 'discovered' AND id < coalesce((SELECT id FROM frames WHERE {SEEN} ORDER BY id DESC LIMIT 1), 0)""",
    "frame {} is {} but belongs to event {}": """
        SELECT id, state, event_id FROM frames WHERE event_id IS NOT NULL AND (state <> 'settled' OR pruned > 0)""",
    "frame {} belongs to event {}, which does not exist or was merged": """
        SELECT id, event_id FROM frames f WHERE event_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM events e WHERE e.id = f.event_id AND status <> 'merged')""",
    "frame {} belongs to event {} but has no detections": f"""
        SELECT id, event_id FROM frames f WHERE event_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM detections d WHERE {BOXES_OF_FRAME})""",
    "detection {} belongs to frame {} and event {}, which do not belong together": f"""
        SELECT d.id, d.frame_id, d.event_id FROM detections d LEFT JOIN frames f ON f.id = d.id / {PER_FRAME}
        WHERE f.id IS NULL OR d.frame_id <> f.id OR d.event_id IS NOT f.event_id OR d.event_id IS NULL""",
    "detection {} is dated otherwise than its frame {}": f"""
        SELECT d.id, f.id FROM detections d JOIN frames f ON f.id = d.id / {PER_FRAME} WHERE d.detected_at <> f.captured_at""",
    "event {} says that it has {} frames, but {} belong to it": """
        SELECT e.id, frame_count, (SELECT count(*) FROM frames WHERE event_id = e.id) AS n FROM events e WHERE frame_count <> n""",
    "event {} is not named after its first frame, {}": """
        SELECT e.id, (SELECT min(id) FROM frames WHERE event_id = e.id) AS first FROM events e WHERE first <> e.id""",
    "event {} does not span its frames": """
        SELECT e.id FROM events e WHERE status <> 'merged' AND (started_at, last_at) IS NOT
        (SELECT min(captured_at), max(captured_at) FROM frames WHERE event_id = e.id)""",
    "event {} has score {} but level {}": f"""
        SELECT id, risk_score, risk_level FROM events WHERE risk_level <> {LEVEL_OF_SCORE}""",
    "event {} cites detection {}, which is none of its own": """
        SELECT e.id, cited.value FROM events e, json_each(coalesce(e.evidence, '[]')) cited WHERE status <> 'merged'
        AND NOT EXISTS (SELECT 1 FROM detections WHERE id = cited.value AND event_id = e.id)""",
    "event {} is at revision {}, but {} of them are in its history": """
        SELECT e.id, revision, (SELECT count(*) FROM event_history WHERE event_id = e.id AND NOT shadow) AS n
        FROM events e WHERE n <> revision""",
    "event {} is at revision {}, but {} messages told of it": """
        SELECT e.id, revision, (SELECT count(*) FROM feed WHERE event_id = e.id) AS n FROM events e WHERE n <> revision""",
    "message {} tells of event {}, which does not exist": """
        SELECT seq, event_id FROM feed WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = event_id)""",
    "the history has event {}, which does not exist": """
        SELECT DISTINCT event_id FROM event_history WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = event_id)""",
}  # fmt: skip
"""What is amiss, and the query that finds it; its columns fill the sentence."""

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
    """SQLite's own check of the file."""
    for (line,) in record.rows("PRAGMA quick_check"):
        if line != "ok":
            yield f"{record.path} is damaged: {line}; restore a backup"


def counters(record: Record) -> Iterator[str]:
    """The ledger's sums, against a count of the rows."""
    told = record.counters()
    for name, sql in COUNTERS.items():
        (counted,) = record.one(sql)
        if told.get(name) != counted:
            yield f"the counter `{name}` says {told.get(name)}, but there are {counted}"


def rows(record: Record) -> Iterator[str]:
    """Rows among themselves."""
    for sentence, sql in ROWS.items():
        found = record.rows(f"SELECT * FROM ({sql}) LIMIT {TOLD_MAX + 1}")
        yield from (sentence.format(*row) for row in found[:TOLD_MAX])
        if len(found) > TOLD_MAX:
            (total,) = record.one(f"SELECT count(*) FROM ({sql})")
            yield f"… and {total - TOLD_MAX} like this"


def uploads(record: Record, tree: Iterable[UploadedFile]) -> Iterator[str]:
    """Files that a running pipeline should have taken in and did not."""
    (beat,) = record.one("SELECT coalesce(max(at), 0) FROM heartbeat WHERE chain = 'see'")
    sql = "SELECT 1 FROM frames WHERE path = ? AND mtime_ns = ? AND size = ?"
    for file in tree:
        if file.changed < beat / 1e6 - MISSED_SECONDS and record.one(sql, file.path, file.mtime_ns, file.size) is None:
            yield f"{file.path} was uploaded while the pipeline ran, but is not in the ledger"


def thumbnails(record: Record, data_dir: Path) -> Iterator[str]:
    """Each frame with boxes has a whole picture of them, and nothing else lies there."""
    folder = data_dir / "thumbnails"
    if not folder.is_dir():
        return  # this graph draws none
    for day in days(record, folder):
        found = compare(record, folder / day)
        yield from (f"{path} belongs to no frame; `hearthwatch prune` deletes it" for path in found.orphans)
        torn = [path for path in found.path.glob("[!.]*_thumb.jpg") if path not in found.orphans and not is_whole(path)]
        yield from (f"{path} is torn; `hearthwatch prune` draws it again once it is deleted" for path in torn)
        yield from (f"frame {i} has no thumbnail; `hearthwatch prune` draws it again" for i in found.missing)


def lake(record: Record, lake: Lake) -> Iterator[str]:
    """Each hour that is not about to be written again says what the record says."""
    if not (lake.folder / ".round").exists():
        return
    noted = set(lake.dirty_hours())
    for kind, names in KINDS.items():
        for table in names:
            files = {path: hour_of(path) for path in lake.files(table)}
            yield from (f"{path} is no file of the lake: move it away" for path, hour in files.items() if hour is None)
            named = {hour for hour in files.values() if hour is not None}
            for hour in sorted({*hours(record, kind), *named}):
                if Hour(kind, hour) not in noted:
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
        yield f"{path} says otherwise than the record"


def _some(ids: set[int]) -> str:
    shown = ", ".join(map(str, sorted(ids)[:TOLD_MAX]))
    return shown + (f" and {len(ids) - TOLD_MAX} more" if len(ids) > TOLD_MAX else "")


def find_persistent(check: Callable[[], Iterable[str]]) -> list[str]:
    """What a check finds, and finds again after a while: what a pipeline was busy with is in order by then."""
    first = list(check())
    if not first:
        return []
    time.sleep(AGAIN_SECONDS)
    still = set(check())
    return [line for line in first if line in still]


def check_at_once(record: Record, check: Callable[[Record], Iterator[str]]) -> list[str]:
    """What a check of rows finds at one instant of the record."""
    record.execute("BEGIN")
    try:
        return list(check(record))
    finally:
        record.execute("COMMIT")
