"""Say what is normal: on how many of the days on which a camera was watched something was seen there at this hour.

The rows are counted once a day (`record/retention/visits.py`). A version is written in one transaction and never changed, and
an event is judged by the newest one that was there before it: a replay is given what the first judge was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import log, sqrt
from typing import Any, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.read.over_cells import over_cells
from hearthwatch.record.units import DAY
from hearthwatch.schemas.case import Usual
from hearthwatch.schemas.items import from_microseconds, iso

WATCHED_DAYS_MIN = 7
OTHER_DAYS = 0.25  # what a day off says about a workday, and the other way round
PRIOR, CAMERA_DAYS, KIND_DAYS = (
    0.25,
    0.5,
    7,
)  # sightings; watched days that a camera's other hours, and all cameras, count as
DEVIATIONS = 1.28  # of the posterior: what is called usual, or rare, is so with nine tenths probability
USUAL_FROM, USUAL, USUAL_POINTS = 0.15, 0.5, -18  # sightings a day
RARE_FROM, RARE, RARE_POINTS = 0.2, 0.08, 12
NIGHT_FROM, NIGHT_UNTIL = 22, 5  # hours that the words call a night


class BaselineRow(NamedTuple):
    """A row of `baselines`; its columns are explained in the migration."""

    camera_id: str
    kind: str
    place: str
    hour: int
    workday: bool
    watched: float
    watched_days: int
    seen: float = 0.0
    seen_days: int = 0
    minutes: float = 0.0


class Baseline(NamedTuple):
    """What was normal for a camera when an event of it started."""

    rows: Sequence[BaselineRow] = ()
    everywhere: Mapping[str, float] = {}
    """Kind → sightings a day, over all cameras and hours."""

    def usual(self, place: str, kind: str, hour: int, workday: bool) -> Usual | None:
        """Compute how usual it is; None: this place was not watched at this hour for long enough.

        Sightings a day are Gamma–Poisson: the prior is the mean of the camera's hours, whose own prior is that of all cameras.
        """
        watched, seen = ([r for r in self.rows if r[1:3] == (k, place)] for k in ("", kind))
        days = sum(r.watched_days for r in watched if r.hour == hour)
        visits = sum(r.seen_days for r in seen if r.hour == hour)
        if days < WATCHED_DAYS_MIN:
            return None
        everywhere, all_watched = self.everywhere.get(kind, 0.0), sum(r.watched for r in watched) / 24
        camera = (sum(r.seen for r in seen) / 24 + KIND_DAYS * everywhere) / (all_watched + KIND_DAYS)
        here = {(hour, workday): 1.0, (hour, not workday): OTHER_DAYS}
        points = score(
            PRIOR + CAMERA_DAYS * camera + sum(r.seen * here.get(r[3:5], 0) for r in seen),
            CAMERA_DAYS + sum(r.watched * here.get(r[3:5], 0) for r in watched),
        )
        unit = "nights" if hour >= NIGHT_FROM or hour < NIGHT_UNTIL else "days"
        one = f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind} is here at this hour on {visits} of {days} watched {unit}"
        return Usual(visits, days, one if visits else f"no {kind} here at this hour in {days} watched {unit}", points)


def score(shape: float, rate: float) -> int:
    """Return what a posterior (Gamma) of sightings a day is worth: `USUAL_POINTS` to `RARE_POINTS`."""
    low, high = ((shape + sign * DEVIATIONS * sqrt(shape)) / rate for sign in (-1, 1))
    often = (low - USUAL_FROM) / (USUAL - USUAL_FROM)
    seldom = log(RARE_FROM / high) / log(RARE_FROM / RARE)
    return round(USUAL_POINTS * min(1.0, max(0.0, often)) + RARE_POINTS * min(1.0, max(0.0, seldom)))


def version_at(record: Record, started_at: int) -> int | None:
    """Return the version (`as_of`) that an event of this start is judged by; None: there is none."""
    version: int | None = record.one("SELECT max(as_of) FROM baselines WHERE as_of <= ?", started_at)[0]
    return version


def read_baseline(record: Record, camera: str, started_at: int) -> Baseline:
    """Read what an event of this camera that started then is judged by."""
    version = version_at(record, started_at)
    if version is None:
        return Baseline()
    sql = f"SELECT {', '.join(BaselineRow._fields)} FROM baselines WHERE as_of = ? AND camera_id = ?"
    means = (
        "SELECT kind, sum(seen) / (SELECT sum(watched) FROM baselines WHERE as_of = ?1 AND camera_id = '' AND kind = '') "
        "FROM baselines WHERE as_of = ?1 AND camera_id = '' GROUP BY kind"
    )
    return Baseline(list(map(BaselineRow._make, record.rows(sql, version, camera))), dict(record.rows(means, version)))


def _join(parts: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of a camera that several cells know, keep what the one says that watched it for longest."""
    return list(
        {
            row["camera_id"]: row for row in sorted(chain(*parts), key=lambda row: (row["camera_id"], row["days"]))
        }.values()
    )


@over_cells(_join)
def summarize_baselines(record: Record) -> list[dict[str, Any]]:
    """Read the newest version for people: per camera, how long it was watched and how often each kind is seen on a day."""
    (version,) = record.one("SELECT max(as_of) FROM baselines")
    ours = "FROM baselines WHERE as_of = ? AND camera_id <> '' AND place = ''"
    days = record.rows(
        f"SELECT camera_id, max(n), sum(watched) / 24 FROM (SELECT camera_id, sum(watched_days) AS n, sum(watched) AS watched {ours} "
        "AND kind = '' GROUP BY camera_id, hour) GROUP BY 1", version,
    )  # fmt: skip
    seen = record.rows(
        f"SELECT camera_id, kind, sum(seen) {ours} AND kind <> '' GROUP BY 1, 2 ORDER BY 3 DESC", version
    )
    return [
        {
            "camera_id": id, "days": n, "as_of": iso(from_microseconds(version)),
            "per_day": {kind: round(count / watched, 2) for camera, kind, count in seen if camera == id and watched},
        }
        for id, n, watched in days
    ]  # fmt: skip


def write_baselines(record: Record, at: int, rows: Iterable[BaselineRow]) -> int:
    """Write a version as of `at` (microseconds), or later, so that no event that has begun sees it; return as of when.

    Versions that no event was judged by are deleted.
    """
    listed = list(rows)

    def write() -> int:
        newest = max(record.one(f"SELECT coalesce(max({column}), 0) FROM {table} WHERE {column} <= ?", at + DAY)[0]
                     for table, column in (("events", "started_at"), ("baselines", "as_of")))  # fmt: skip
        as_of: int = max(at, newest + 1)  # what is further ahead than a day has a clock that is wrong
        columns = f"as_of, {', '.join(BaselineRow._fields)}"
        insert = f"INSERT INTO baselines({columns}) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
        record.many(insert, [(as_of, *row) for row in listed])
        record.execute(
            f"INSERT INTO baselines({columns}) SELECT as_of, '', kind, '', hour, workday, sum(watched), sum(watched_days), sum(seen), sum(seen_days), "
            "sum(minutes) FROM baselines WHERE as_of = ? AND place = '' GROUP BY kind, hour, workday", as_of,
        )  # fmt: skip
        record.execute(
            "DELETE FROM baselines WHERE as_of IN (SELECT as_of FROM (SELECT as_of, lead(as_of) OVER (ORDER BY as_of) AS until "
            "FROM (SELECT DISTINCT as_of FROM baselines)) WHERE until <= ? AND NOT EXISTS ("
            "SELECT 1 FROM events WHERE started_at >= as_of AND started_at < until))", as_of,
        )  # fmt: skip
        return as_of

    return record.transact(write)
