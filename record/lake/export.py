"""Export the record's hours as Parquet files, `lake/<table>/date=YYYY-MM-DD/HH.parquet` in UTC, for queries in SQL.

A file is a function of the record: whatever changes a row marks its hour as dirty (triggers, in the same transaction), and an
export rewrites the files of dirty hours, each atomically. A kill at any step leaves the hours dirty that were not rewritten.
Readers never find a file missing: an hour that became empty is replaced by a file without rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hearthwatch.record import Record
from hearthwatch.record.disk import replace_file, sync_folder
from hearthwatch.record.lake.parquet import drop_carried, write
from hearthwatch.record.lake.schema import CAMERAS, TABLES
from hearthwatch.record.units import BOXES_OF_FRAME, HOUR
from hearthwatch.schemas.items import from_microseconds, to_microseconds

EMPTY_DAYS = 2  # an hour without rows keeps its file for so long, so that no query that listed it misses it
ROWS_AT_ONCE = 5000  # Python objects on the way to a table: 10 MB, however many pictures an hour has
GROUP_ROWS = 10 * ROWS_AT_ONCE  # of a row group, some 25 MB; two are in memory at most
HOURS_AT_ONCE = 50  # between transactions that clear them: a kill repeats as many

KINDS = {
    "frames": ("frames", "detections", "suppressed"),
    "events": ("events",),
    "incidents": ("incidents",),
    "gpu_stats": ("gpu_stats",),
    "baselines": ("baselines",),
    "feedback": ("feedback",),
    "journal": ("journal",),
    "alerts": ("alerts",),
}
"""Kinds of rows in `dirty_hours`, and the tables that are rewritten for each."""
TIMES = {
    "frames": "captured_at",
    "events": "started_at",
    "incidents": "started_at",
    "gpu_stats": "recorded_at",
    "baselines": "as_of",
    "feedback": "at",
    "journal": "at",
    "alerts": "at",
}
"""The column that says which hour a row of a kind belongs to."""

_HISTORY = """(SELECT json_group_array(json_array(revision, type, shadow, risk_score, risk_level, summary, analyzer, model,
 prompt_version, latency_ms, at)) FROM (SELECT * FROM event_history WHERE event_id = t.id AND NOT shadow
 UNION ALL SELECT * FROM event_history WHERE event_id = t.id AND shadow ORDER BY id))"""  # each half has its own index
_ROWS = {
    "frames": "SELECT {} FROM frames t WHERE captured_at >= ? AND captured_at < ? AND pruned = 0 ORDER BY camera_id, captured_at, id",
    "detections": "SELECT {} FROM detections t WHERE detected_at >= ? AND detected_at < ? ORDER BY camera_id, detected_at, id",
    "suppressed": f"SELECT {{}} FROM (SELECT d.* FROM frames f CROSS JOIN suppressed d ON {BOXES_OF_FRAME} WHERE captured_at >= ? AND captured_at < ?) t "
    "ORDER BY camera_id, detected_at, id",
    "events": "SELECT {} FROM events t WHERE started_at >= ? AND started_at < ? ORDER BY camera_id, started_at, id",
    "incidents": "SELECT {} FROM incidents t WHERE started_at >= ? AND started_at < ? ORDER BY started_at, id",
    "gpu_stats": "SELECT {} FROM gpu_stats t WHERE recorded_at >= ? AND recorded_at < ? ORDER BY recorded_at, id",
    "baselines": "SELECT {} FROM baselines t WHERE as_of >= ? AND as_of < ? ORDER BY as_of, id",
    "feedback": "SELECT {} FROM (SELECT *, at AS answered_at FROM feedback) t WHERE answered_at >= ? AND answered_at < ? ORDER BY id",
    "journal": "SELECT {} FROM (SELECT *, at AS written_at FROM journal) t WHERE written_at >= ? AND written_at < ? ORDER BY id",
    "alerts": "SELECT {} FROM (SELECT *, at AS raised_at FROM alerts) t WHERE raised_at >= ? AND raised_at < ? ORDER BY id",
}


class Hour(NamedTuple):
    """An hour of a kind of rows; `hour` counts from 1970 in UTC."""

    kind: str
    hour: int


class Lake:
    """The lake of one data dir. One per thread; processes take turns."""

    def __init__(self, record: Record, data_dir: Path) -> None:
        self.record, self.data_dir, self.folder = record, data_dir, data_dir / "lake"
        self._cameras: pa.Table | None = None
        self._cleaned: date | None = None
        self._touched: set[Path] = set()
        self._with_carried: set[Path] = set()

    def seed(self) -> None:
        """Write the file of the first hour of 1970, mostly empty: views need one file at least, with every column."""
        for name, schema in TABLES.items():
            if not _has(self.path(name, 0), schema):
                write(self.path(name, 0), schema, groups(self.record, name, 0))
        self._export_cameras()

    def export(self, stop: Callable[[], bool] = lambda: False) -> int:
        """Rewrite what changed since the last export, the newest hours first; how many files were written.

        Ends early when `stop()` is true; the next export does the rest. The caller has called `seed` once.

        Raises:
            RecordError: the record cannot be read or written.
            OSError: a file cannot be written.
        """
        if not self._is_current():
            self._mark_dirty(self._all_hours())
        written = self._export_cameras()
        hours = self._take()
        while hours and not stop():
            part, hours = hours[:HOURS_AT_ONCE], hours[HOURS_AT_ONCE:]
            written += sum(self._rewrite(hour) for hour in part)
            self._clear(part)
        return written

    def clean_up(self) -> None:
        """Once a day remove the files of hours that were empty for `EMPTY_DAYS`; drop rows carried for readers."""
        today = datetime.now(UTC).date()
        if self._cleaned != today:
            self._cleaned = today
            self._remove_empty([path for name in TABLES for path in self.files(name)])
            self._with_carried.update(path for name in TABLES for path in self.files(name))
        self._with_carried = {path for path in self._with_carried if path.exists() and not drop_carried(path)}

    def dirty_hours(self) -> list[Hour]:
        """Hours whose files may differ from the record, the newest first."""
        return [
            Hour(*row)
            for row in self.record.rows("SELECT DISTINCT kind, hour FROM dirty_hours ORDER BY hour DESC, kind")
        ]

    def path(self, table: str, hour: int) -> Path:
        start = from_microseconds(hour * HOUR)
        return self.folder / table / f"date={start:%Y-%m-%d}" / f"{start:%H}.parquet"

    def files(self, table: str) -> Iterator[Path]:
        """Every file that a query of this table reads."""
        return self.folder.glob(f"{table}/date=*/*.parquet")

    # -- an hour

    def _rewrite(self, hour: Hour) -> int:
        """Write the files of this hour from one snapshot of the record; how many."""
        self.record.execute("BEGIN")
        try:
            return sum(self._write(name, hour.hour) for name in KINDS[hour.kind])
        finally:
            self.record.execute("COMMIT")

    def _write(self, name: str, hour: int) -> bool:
        """Write a table's file of an hour; False if there are no rows and no file."""
        path, parts = self.path(name, hour), groups(self.record, name, hour)
        first = next(parts, None)
        if first is None and hour != 0 and not path.exists():
            return False
        write(path, TABLES[name], chain([first] if first else [], parts), last=False)
        self._touched.add(path.parent)
        self._with_carried.add(path)
        return True

    def _export_cameras(self) -> int:
        path = self.folder / "cameras.parquet"
        rows = self.record.rows(f"SELECT {', '.join(CAMERAS.names)} FROM cameras WHERE home_cell IS NULL ORDER BY id")
        table = _table(CAMERAS, rows)
        if self._cameras is not None and self._cameras.equals(table) and path.exists():
            return 0
        write(path, CAMERAS, [table])
        self._cameras = table
        return 1

    # -- which hours

    def _take(self) -> list[Hour]:
        """Take every dirty hour; what changes from here on is marked again."""

        def take() -> None:
            self.record.execute(
                "INSERT OR IGNORE INTO dirty_hours SELECT kind, hour, 1 FROM dirty_hours WHERE NOT taken"
            )
            self.record.execute("DELETE FROM dirty_hours WHERE NOT taken")

        hours = self.dirty_hours()
        if hours:
            self.record.transact(take)
        return hours

    def _clear(self, hours: Iterable[Hour]) -> None:
        """Clear these hours, whose files are written. A kill in between leaves the marker one ahead and the hours dirty."""
        while self._touched:
            sync_folder(self._touched.pop())
        following = self._round() + 1
        replace_file(self._marker(), f"{self.record.store_id} {following}".encode())

        def clear() -> None:
            self.record.many("DELETE FROM dirty_hours WHERE kind = ? AND hour = ? AND taken", list(hours))
            self.record.execute("INSERT OR REPLACE INTO meta VALUES ('lake_round', ?)", str(following))

        self.record.transact(clear)

    def _is_current(self) -> bool:
        """Whether the files were written from this record, not from another one or a later state of it."""
        try:
            store, number = self._marker().read_text().split()
        except (OSError, ValueError):
            return False
        ahead = int(number) - self._round()
        under_way = self.record.one("SELECT 1 FROM dirty_hours WHERE taken") is not None
        return store == self.record.store_id and (ahead == 0 or (ahead == 1 and under_way))

    def _round(self) -> int:
        row = self.record.one("SELECT value FROM meta WHERE key = 'lake_round'")
        return int(row[0]) if row else 0

    def _marker(self) -> Path:
        return self.folder / ".round"

    def _mark_dirty(self, hours: Iterable[Hour]) -> None:
        rows = list(hours)
        self.record.transact(lambda: self.record.many("INSERT OR IGNORE INTO dirty_hours VALUES (?, ?, 0)", rows))

    def _all_hours(self) -> Iterator[Hour]:
        """Every hour that has rows, and every hour that has a file."""
        for kind, tables in KINDS.items():
            yield from (Hour(kind, hour) for hour in hours(self.record, kind))
            yield from (
                Hour(kind, hour) for name in tables for path in self.files(name) if (hour := hour_of(path)) is not None
            )

    def _remove_empty(self, files: Iterable[Path]) -> None:
        """Remove old files without rows: ten thousand small files make every query slow."""
        before = time.time() - EMPTY_DAYS * 86400
        for path in files:
            if path.stat().st_mtime < before and hour_of(path) != 0 and pq.read_metadata(path).num_rows == 0:
                path.unlink()
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()


def hours(record: Record, kind: str) -> Iterator[int]:
    """Yield every hour that has rows of this kind: one index lookup each."""
    at, sql = 0, f"SELECT min({TIMES[kind]}) FROM {kind} WHERE {TIMES[kind]} >= ?"
    while (first := record.one(sql, at)[0]) is not None:
        yield first // HOUR
        at = (first // HOUR + 1) * HOUR


def hour_of(path: Path) -> int | None:
    """Return the hour that a file of the lake is named after; None for another name."""
    try:
        start = datetime.strptime(f"{path.parent.name} {path.stem}+0000", "date=%Y-%m-%d %H%z")
    except ValueError:
        return None
    return to_microseconds(start) // HOUR if path.name == f"{start:%H}.parquet" else None


def read(record: Record, table: str, hour: int) -> pa.Table:
    """Read the rows of an hour as the lake holds them."""
    return pa.concat_tables([_table(TABLES[table], []), *groups(record, table, hour)]).combine_chunks()


def groups(record: Record, table: str, hour: int) -> Iterator[pa.Table]:
    """Read the rows of an hour by the row groups of a file."""
    columns = ", ".join(_HISTORY if name == "history" else name for name in TABLES[table].names)
    cursor = record.execute(_ROWS[table].format(columns), hour * HOUR, (hour + 1) * HOUR)
    parts: list[pa.Table] = []
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        parts.append(_table(TABLES[table], rows))
        if len(parts) * ROWS_AT_ONCE == GROUP_ROWS:
            yield pa.concat_tables(parts).combine_chunks()
            parts = []
    if parts:
        yield pa.concat_tables(parts).combine_chunks()


def _table(schema: pa.Schema, rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table([_array(field, values) for field, values in zip(schema, columns, strict=True)], schema=schema)


def _array(field: pa.Field, values: tuple[Any, ...]) -> pa.Array:
    kind = field.type
    if pa.types.is_boolean(kind):
        return pa.array([None if value is None else bool(value) for value in values], kind)
    if field.name == "history":
        return pa.array([[_verdict(kind.value_type, row) for row in json.loads(value)] for value in values], kind)
    if pa.types.is_map(kind):
        return pa.array([list(json.loads(value).items()) if value else [] for value in values], kind)
    if pa.types.is_nested(kind):
        return pa.array([json.loads(value or "[]") for value in values], kind)
    return pa.array(values, kind)  # integers become times: microseconds are the unit of both


def _verdict(kind: pa.StructType, row: list[Any]) -> dict[str, Any]:
    named = dict(zip((field.name for field in kind), row, strict=True))
    return named | {"shadow": bool(named["shadow"])}


def _has(path: Path, schema: pa.Schema) -> bool:
    """Whether there is a file with all these columns."""
    try:
        return bool(pq.read_schema(path).equals(schema))
    except (OSError, pa.ArrowInvalid):
        return False
