"""Write `analytics.duckdb`: views over the lake and nothing else, for any DuckDB from 1.1 on.

It holds no rows, so it need not follow the record: it is written when the views or the lake's place change, and replaced
atomically. A reader that has the old one open keeps reading it. The file cannot be written to, so that a tool that opens it as its
default has it, for writing, does not shut out the others. Where the folder was moved since, `SET VARIABLE lake = '…/lake'` says so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import duckdb

from hearthwatch.record.disk import replace_file
from hearthwatch.record.lake.export import Lake
from hearthwatch.record.lake.schema import CAMERAS, TABLES
from hearthwatch.record.lock import wait_for_lock
from hearthwatch.record.units import ALARMING, QUARTER, SECOND

FILE = "analytics.duckdb"
CELLS = "cells/*/lake/cameras.parquet"  # written last: the other tables have files then
STORAGE = "v1.0.0"  # DuckDB 2 would write a file that 1.1 cannot open

USUAL_DAYS = 28  # the same hour of the day, this many days back
USUAL_DAYS_MIN = 7  # fewer say too little
UNUSUAL = 3.0  # standard deviations of a count that comes by chance (Poisson)

VIEWS = {
    "hourly": f"""
SELECT date_trunc('hour', to_timestamp(quarter * {QUARTER // SECOND})) AS hour, camera_id, object_type, sum(n)::BIGINT AS detections,
  max(confidence_max) AS confidence_max
FROM (
  SELECT epoch_us(detected_at) // {QUARTER} AS quarter, camera_id, object_type, count(*) AS n, max(confidence) AS confidence_max
  FROM detections GROUP BY 1, 2, 3)
GROUP BY 1, 2, 3""",
    "camera_daily": f"""
SELECT * FROM (
  SELECT camera_id, to_timestamp(quarter * {QUARTER // SECOND})::DATE AS day, sum(n)::BIGINT AS pictures, sum(shown)::BIGINT AS pictures_with_detections,
    sum(bad)::BIGINT AS quarantined, min(first_at) AS first_at, max(last_at) AS last_at
  FROM (
    SELECT camera_id, epoch_us(captured_at) // {QUARTER} AS quarter, count(*) AS n, count(event_id) AS shown,
      count(*) FILTER (state = 'quarantined') AS bad, min(captured_at) AS first_at, max(captured_at) AS last_at
    FROM frames WHERE camera_id IS NOT NULL GROUP BY 1, 2)
  GROUP BY 1, 2)
LEFT JOIN (
  SELECT camera_id, started_at::DATE AS day, count(*) AS events, count(*) FILTER (risk_score >= {ALARMING}) AS alarming,
    max(risk_score) AS risk_score_max
  FROM events WHERE status <> 'merged' GROUP BY 1, 2) USING (camera_id, day)""",
    "verdicts": """
SELECT id AS event_id, camera_id, started_at, unnest(history, recursive := true) FROM events""",
    "unusual_hours": f"""
WITH watched AS (
  SELECT camera_id, date_trunc('hour', min(captured_at)) AS first, date_trunc('hour', max(captured_at)) AS last
  FROM frames WHERE camera_id IS NOT NULL GROUP BY 1),
hours AS (SELECT camera_id, last, unnest(generate_series(first, last, INTERVAL 1 HOUR)) AS hour FROM watched),
counts AS (
  SELECT camera_id, date_trunc('hour', started_at) AS hour, count(*) AS n, max(risk_score) AS risk_score_max
  FROM events WHERE status <> 'merged' GROUP BY 1, 2),
compared AS (
  SELECT camera_id, hour, last, coalesce(n, 0) AS events, risk_score_max, avg(coalesce(n, 0)) OVER before AS usual,
    count(*) OVER before AS days
  FROM hours LEFT JOIN counts USING (camera_id, hour)
  WINDOW before AS (PARTITION BY camera_id, date_part('hour', hour) ORDER BY hour
    ROWS BETWEEN {USUAL_DAYS} PRECEDING AND 1 PRECEDING))
SELECT hour, camera_id, events, round(usual, 2) AS usual, days, round((events - usual) / sqrt(usual + 0.25), 1) AS deviations,
  CASE WHEN events > usual THEN 'busier' ELSE 'quieter' END AS what, risk_score_max
FROM compared
WHERE days >= {USUAL_DAYS_MIN} AND abs(events - usual) >= {UNUSUAL} * sqrt(usual + 0.25) AND (events > usual OR hour < last)""",
}  # fmt: skip
"""Views over views. Hours and days are those of the reader's own time zone (`SET TimeZone = 'Europe/Berlin'`).

Counted by quarters of an hour first, which every zone's hours are made of: a calendar costs 60 ns a row (0.82 → 0.24 s).
"""


def export(lake: Lake, stop: Callable[[], bool] = lambda: False) -> int:
    """Bring lake and catalogue up to date.

    Returns:
        How many files of rows were written.

    Raises:
        RecordError: another process exports, or the record cannot be read.
        OSError: a file cannot be written.
    """
    with wait_for_lock("lake", lake.record.path, lake.data_dir):
        lake.seed()
        write_catalogue(lake.data_dir)
        return lake.export(stop)


def write_catalogue(data_dir: Path) -> bool:
    """Bring the catalogue up to date; whether it had to be written. The caller has the lock `lake`."""
    catalogue, stamp = data_dir / FILE, data_dir / "lake" / ".views"
    script = statements(data_dir / "lake")
    wanted = hashlib.sha256("\n".join(script).encode("utf-8", "surrogateescape")).hexdigest().encode()
    if catalogue.exists() and stamp.exists() and stamp.read_bytes() == wanted:
        return False
    (data_dir / f"{FILE}.wal").unlink(missing_ok=True)  # of a process that wrote into the old one and was killed
    replace_file(catalogue, _catalogue(data_dir, script))
    catalogue.chmod(catalogue.stat().st_mode & 0o444)
    replace_file(stamp, wanted)
    return True


def _catalogue(data_dir: Path, script: list[str]) -> bytes:
    """Build the catalogue, in a temporary folder because DuckDB parses a `?` in a path that it writes to.

    A killed process leaves its folder, so the name says whose it is, and the next one removes it.
    """
    prefix = f"hearthwatch-{hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]}-"
    for left in Path(gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=prefix) as folder, duckdb.connect() as db:
        part = Path(folder) / FILE
        db.execute(f"ATTACH {quote_path(part, as_glob=False)} AS made (STORAGE_VERSION '{STORAGE}')")
        db.execute("USE made")
        db.execute("BEGIN")
        for statement in script:
            db.execute(statement)
        db.execute("COMMIT")
        db.execute("USE memory")
        db.execute("DETACH made")
        return part.read_bytes()


def connect(data_dir: Path) -> duckdb.DuckDBPyConnection:
    """Open the views for reading, also while another tool has the catalogue open for writing; a copy in memory does then."""
    try:
        return duckdb.connect(data_dir / FILE, read_only=True)
    except duckdb.IOException as error:
        if "lock" not in str(error):
            raise
    db = duckdb.connect()
    for statement in statements(data_dir / "lake"):
        db.execute(statement)
    return db


def statements(lake: Path) -> list[str]:
    """Return SQL that creates the views of the lake in this folder, which they name by its absolute path or the variable `lake`.

    The lakes of further cells, which lie beside it, are read with it.
    """
    folder = f"coalesce(getvariable('lake'), {quote_path(lake.resolve())})"
    roots = [folder, *([f"{folder} || '/../cells/*/lake'"] if any(lake.parent.glob(CELLS)) else [])]
    tables = {
        name: f"SELECT {', '.join(schema.names)}, date FROM read_parquet({_files(roots, f'{name}/date=*/[0-9][0-9].parquet')}, "
        "union_by_name = true, hive_partitioning = true, hive_types = {'date': DATE})"
        for name, schema in TABLES.items()
    }
    cameras = {"cameras": f"SELECT {', '.join(CAMERAS.names)} FROM read_parquet({_files(roots, 'cameras.parquet')})"}
    return [f"CREATE VIEW {name} AS {body.strip()}" for name, body in (tables | cameras | VIEWS).items()]


def _files(roots: list[str], pattern: str) -> str:
    names = [f"{root} || '/{pattern}'" for root in roots]
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def quote_path(path: Path, *, as_glob: bool = True) -> str:
    """Quote a path as an SQL string; in one that is part of a glob, wildcards of its name are escaped."""
    name = "".join(f"[{c}]" if as_glob and c in "*?[" else c for c in str(path))
    return "'" + name.replace("'", "''") + "'"


def problems(data_dir: Path) -> list[str]:
    """Messages about views that cannot be read; none if there is no catalogue yet."""
    there = data_dir / FILE
    if not there.exists():
        return []
    try:
        with connect(data_dir) as db:
            for name in (*TABLES, "cameras", *VIEWS):
                db.execute(f"SELECT count(*) FROM {name}").fetchall()
    except duckdb.Error as error:
        return [f"{there}: {str(error).splitlines()[0]}; delete it and `{data_dir / 'lake'}`: both are written again"]
    return []
