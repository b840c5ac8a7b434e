"""Read what was: all pictures by time, what each day had, and which events words find.

A search reads the index `search`, which triggers keep in step with the events; its rows are numbered by time, so a page and a
span are ranges of it, and nothing but the page is read. Days are sums of quarters of an hour.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from heapq import merge
from itertools import islice, pairwise
from typing import Any, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.read.events import Filter, Row, iso
from hearthwatch.record.read.lineage import FRAME_COLUMNS, describe_frames
from hearthwatch.record.read.over_cells import add, merge_pages, over_cells
from hearthwatch.record.units import DAY, NEVER, QUARTER, SECOND
from hearthwatch.schemas.items import to_microseconds

SECONDS_MAX = (1 << 32) - 1  # the year 2106
COUNT_MAX = 1000  # hits that are counted: to count a million takes a tenth of a second


def time_of_day(day: date, zone: tzinfo | None, minute: int = 0) -> int:
    """Return when this minute of a day, 1440: midnight after it, is by the clocks of a zone (None: the server's), in microseconds."""
    later, minute = divmod(minute, 1440)
    local = datetime.combine(day + timedelta(later), time(minute // 60, minute % 60), zone)
    return to_microseconds(local.astimezone())


# -- pictures

_PLACE = "captured_at >= ? AND captured_at < ? AND pruned = 0 AND coalesce(error, '') NOT LIKE 'duplicate of %'"


def pictures(record: Record, f: Filter, limit: int, after: tuple[int, int]) -> tuple[list[Row], tuple[int, int] | None]:
    """Read pictures of a camera or of all, newest first, from behind `after`; and behind which the next page begins, None: nowhere."""
    sql = (
        f"SELECT {FRAME_COLUMNS}, event_id FROM frames WHERE camera_id = ? AND state = 'settled' AND {_PLACE} "
        "AND (captured_at, id) < (?, ?) ORDER BY captured_at DESC, id DESC LIMIT ?"
    )
    end = min(f.end, after[0] + 1)

    def key(row: Row) -> tuple[int, int]:
        return row["captured_at"], row["id"]

    def read(cell: Record, limit: int, _: int) -> Iterable[Row]:
        lists = [cell.dicts(sql, camera, f.start, end, *after, limit) for camera in _cameras(cell, f)]
        return islice(merge(*lists, key=key, reverse=True), limit)

    rows = merge_pages(record, read, limit + 1, 0, key)
    more = key(rows[limit - 1]) if len(rows) > limit else None
    return describe_frames(record, rows[:limit]), more


@over_cells(add)
def count_pictures(record: Record, f: Filter) -> int:
    """Count what `pictures` reads, on all pages."""
    sql = f"SELECT count(*) FROM frames WHERE camera_id = ? AND state = 'settled' AND {_PLACE}"
    return sum(record.one(sql, camera, f.start, f.end)[0] for camera in _cameras(record, f))


def _cameras(record: Record, f: Filter) -> list[str]:
    return [f.camera_id] if f.camera_id else [id for (id,) in record.rows("SELECT id FROM cameras")]


# -- days


@over_cells(add)
def calendar(record: Record, days: Sequence[date], zone: tzinfo | None, camera: str | None) -> list[Row]:
    """Read how many incidents, events and pictures these consecutive days had, and how many are not reviewed."""
    starts = [time_of_day(day, zone) for day in [*days, days[-1] + timedelta(1)]]
    mine = " AND camera_id = ?" if camera else ""
    args = (starts[0] // QUARTER, starts[-1] // QUARTER, *[camera] * bool(camera))
    events = _count_events(record, starts, mine, args[2:])
    pictures = record.rows(
        "SELECT quarter, sum(n) FROM cameras c CROSS JOIN pictures p ON p.camera_id = c.id AND quarter >= ? AND quarter < ? "
        f"{'WHERE c.id = ? ' if camera else ''}GROUP BY 1", *args,
    )  # fmt: skip
    joined = " AND EXISTS (SELECT 1 FROM json_each(cameras) WHERE value = ?)" if camera else ""
    incidents = record.rows(
        f"SELECT started_at / {QUARTER}, count(*), sum(1 - reviewed) FROM incidents WHERE status <> 'merged' AND started_at >= ? "
        f"AND started_at < ?{joined} GROUP BY 1", starts[0], starts[-1], *args[2:],
    )  # fmt: skip
    sums = [_sum_days(incidents, starts), events, _sum_days(pictures, starts)]
    return [
        {
            "date": day.isoformat(), "start": iso(start), "end": iso(end), "incidents": i[0], "unreviewed": i[1], "events": e[0],
            "unreviewed_events": e[1], "pictures": p[0],
        }
        for day, (start, end), i, e, p in zip(days, pairwise(starts), *sums, strict=True)
    ]  # fmt: skip


def _count_events(record: Record, starts: Sequence[int], mine: str, args: tuple[Any, ...]) -> list[list[int]]:
    """Count the events of days, and those to review: from the nearest days of UTC, which are counted, and the hours between."""
    near = [(at + DAY // 2) // DAY for at in starts]
    rows = record.rows(
        f"SELECT day, sum(n), sum(n * (1 - reviewed)) FROM event_counts WHERE object_type = '' AND day >= ? AND day < ?{mine} GROUP BY 1",
        near[0], near[-1], *args,
    )  # fmt: skip
    sums = _sum_days([(day * DAY // QUARTER, *numbers) for day, *numbers in rows], [day * DAY for day in near])
    sql = f"SELECT coalesce(sum(n), 0), coalesce(sum(n * (1 - reviewed)), 0) FROM event_quarters WHERE quarter >= ? AND quarter < ?{mine}"
    for i, (at, day) in enumerate(zip(starts, near, strict=True)):
        first, last = sorted((at // QUARTER, day * DAY // QUARTER))
        sign = 1 if at < day * DAY else -1
        for j, n in enumerate(record.one(sql, first, last, *args) if first < last else (0, 0)):
            if i < len(sums):
                sums[i][j] += sign * n
            if i:
                sums[i - 1][j] -= sign * n
    return sums


def _sum_days(rows: Iterable[tuple[int, ...]], starts: Sequence[int]) -> list[list[int]]:
    """Sum rows of (quarter, number, number) by the day that the quarter is in."""
    sums = [[0, 0] for _ in starts[1:]]
    for quarter, *numbers in rows:
        day = sums[bisect_right(starts, quarter * QUARTER) - 1]
        for i, n in enumerate(numbers):
            day[i] += n
    return sums


# -- words

_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_PARTS = {"morning": (360, 720), "afternoon": (720, 1080), "evening": (1080, 1320), "night": (1320, 360)}
_PART = "|".join(_PARTS)
_TIMES = re.compile(
    r"\b(?P<date>\d{4}-\d\d-\d\d)\b|\b(?P<h1>\d\d?)(?::(?P<m1>[0-5]\d))?\s?[-\u2013]\s?(?P<h2>\d\d?)(?::(?P<m2>[0-5]\d))?(?![\w:-])"
    rf"|\b(?:(?P<which>last|this)\s+)?(?:(?P<day>today|tonight|yesterday|{'|'.join(_DAYS)})(?:\s+(?P<part>{_PART}))?|(?P<only>{_PART}))\b",
    re.I,
)
_SMALL = frozenset("a an at by in of on the".split())  # not searched for where something else is
_SAME = {"people": "person", "persons": "person", "men": "man", "women": "woman"}


class Chip(NamedTuple):
    """What was understood as a filter in a search: words of it and what they mean."""

    kind: str
    text: str
    cameras: tuple[str, ...] = ()
    day: date | None = None
    hours: tuple[int, int] | None = None
    """Minutes of the day, from and until; until the next day if that is not later."""


class Search(NamedTuple):
    """A search: an expression of FTS5, and filters; times in microseconds."""

    match: str
    chips: list[Chip]
    start: int
    end: int
    hours: tuple[int, int] | None
    """Of every day; None: all, or `start` and `end` say it."""

    def filters(self) -> list[Row]:
        """Return the chips as JSON."""
        return [
            {
                "kind": c.kind, "text": c.text, "camera_ids": list(c.cameras), "start_date": iso(self.start) if c.day else None,
                "end_date": iso(self.end) if c.day else None, "hours": c.hours and [f"{m // 60:02}:{m % 60:02}" for m in c.hours],
            }
            for c in self.chips
        ]  # fmt: skip


def split_words(text: str) -> list[str]:
    """Split a text into words without capitals and accents, as the index has them before it cuts their ends."""
    plain = unicodedata.normalize("NFD", text.casefold())
    return re.findall(r"[^\W_]+", "".join(char for char in plain if not unicodedata.combining(char)))


def parse_search(q: str, cameras: Sequence[tuple[str, str]], zone: tzinfo | None, now: int) -> Search:
    """Understand a search: times and names of cameras, given as (id, name), are filters, the rest are words; in quotes all are."""
    local, chips, words = datetime.fromtimestamp(now / SECOND, zone), list[Chip](), list[str]()
    for n, part in enumerate(unicodedata.normalize("NFC", q).split('"')):
        if n % 2:
            words += split_words(part)
            continue
        at = 0
        for found in _TIMES.finditer(part):
            if chip := _parse_time(found, local):
                words, chips, at = words + _names(part[at : found.start()], cameras, chips), [*chips, chip], found.end()
        words += _names(part[at:], cameras, chips)
    words = [w for w in words if w not in _SMALL] or ([] if chips else words)
    hours = next((c.hours for c in chips if c.hours), None)
    first, last = hours or (0, 1440)
    spans = [
        (time_of_day(c.day, zone, first), time_of_day(c.day, zone, last + 1440 * (last <= first)))
        for c in chips
        if c.day
    ]
    start, end = (max(a for a, _ in spans), min(b for _, b in spans)) if spans else (0, NEVER)
    terms = [
        [
            f'"{_SAME.get(w, w)}"',
            *(_camera_word(id) for id, name in cameras if _singular(w) in map(_singular, split_words(name))),
        ]
        for w in words
    ]
    terms += [[_camera_word(id) for id in c.cameras] for c in chips if c.cameras]
    match = " AND ".join(f"({' OR '.join(term)})" for term in terms or [["allz"]])
    return Search(match, chips, start, end, None if spans else hours)


def _parse_time(found: re.Match[str], now: datetime) -> Chip | None:
    """Return what such a text means; None: it is no time."""
    given, today = {name: (text or "").lower() for name, text in found.groupdict().items()}, now.date()
    if given["h1"]:
        first, last = (int(given[f"h{n}"]) * 60 + int(given[f"m{n}"] or 0) for n in "12")
        return Chip("time", found[0], hours=(first, last)) if max(first, last) <= 1440 and first != last else None
    try:
        day: date | None = date.fromisoformat(given["date"]) if given["date"] else None
    except ValueError:
        return None
    part, name = given["part"] or given["only"], given["day"]
    if name == "tonight":
        part, day = "night", today - timedelta(now.hour < 6)
    elif name in _DAYS:
        back = (today.weekday() - _DAYS.index(name)) % 7
        day = today - timedelta(back or 7 * (given["which"] == "last"))
    elif name or given["which"]:
        day = today - timedelta(name == "yesterday" or given["which"] == "last")
    return Chip("time", found[0], day=day, hours=_PARTS.get(part))


def _names(text: str, cameras: Sequence[tuple[str, str]], chips: list[Chip]) -> list[str]:
    """Return the words of a text without names of cameras, which are added to the chips: of several, the longest."""
    found = [(match, word) for match in re.finditer(r"[^\W_]+", text) for word in split_words(match[0])]
    words, at, out = [word for _, word in found], 0, list[str]()
    names: dict[tuple[str, ...], list[str]] = {}
    for id, name in cameras:
        for parts in {tuple(split_words(name)), tuple(split_words(id))}:
            names.setdefault(parts, []).append(id)
    while at < len(words):
        n = max((n for parts in names if (n := len(parts)) and tuple(words[at : at + n]) == parts), default=0)
        if n:
            named = text[found[at][0].start() : found[at + n - 1][0].end()]
            chips.append(Chip("camera", named, tuple(names[tuple(words[at : at + n])])))
        out, at = out if n else [*out, words[at]], at + (n or 1)
    return out


def _singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word


def _camera_word(id: str) -> str:
    return f'"c{id.encode().hex()}z"'


def search(
    record: Record, s: Search, f: Filter, zone: tzinfo | None, limit: int, after: tuple[int, int]
) -> tuple[list[int], int, tuple[int, int] | None]:
    """Find events, newest first, from behind `after`, a row and its cell: their ids, how many there are, `COUNT_MAX` at most, and where the next page begins."""
    found = [_search(cell, s, f, zone, limit + 1, after) for cell in record.cells or (record,)]
    rows = list(islice(merge(*(rows for rows, _ in found), reverse=True), limit + 1))
    n = min(COUNT_MAX, sum(n for _, n in found))
    return [id for *_, id in rows[:limit] if id is not None], n, rows[limit - 1][:2] if len(rows) > limit else None


def _search(
    record: Record, s: Search, f: Filter, zone: tzinfo | None, limit: int, after: tuple[int, int]
) -> tuple[list[tuple[int, int, int | None]], int]:
    """Search the record of one cell: (row, cell, event) of so many, and how many there are."""
    start, end = max(s.start, f.start), min(s.end, f.end)
    match = f"({s.match}) AND {_camera_word(f.camera_id)}" if f.camera_id else s.match
    hours, where = _hours_of(record, s, zone), "search MATCH ? AND s.rowid >= ? AND s.rowid < ?"
    (same, args), join = f._replace(camera_id=None).sql("f."), ""
    if same or f.object_type:
        join, same, args = (
            f" CROSS JOIN facets f ON {_FACET}",
            f"{same} AND f.object_type = ?",
            [*args, f.object_type or ""],
        )
    sql = f"FROM search s{join} WHERE {where}{same}{hours}"
    behind = after[0] + (record.number < after[1])
    low, high = (min(at, SECONDS_MAX) << 31 for at in (start // SECOND, -(-end // SECOND)))
    try:
        (n,) = record.one(f"SELECT count(*) FROM (SELECT 1 {sql} LIMIT {COUNT_MAX})", match, low, high, *args)
        rows = record.rows(
            f"SELECT s.rowid, {record.number}, (SELECT f.event_id FROM facets f WHERE f.object_type = '' AND {_FACET}) {sql} ORDER BY s.rowid DESC LIMIT ?",
            match, low, min(high, behind), *args, limit,
        )  # fmt: skip
    except sqlite3.OperationalError as error:
        if "phrase" not in str(error):
            raise
        n, rows = 0, []  # a letter that this SQLite does not know as one
    return rows, n


_FACET = f"""f.started_at >= (s.rowid >> 31) * {SECOND} AND f.started_at < ((s.rowid >> 31) + 1) * {SECOND}
AND f.event_id & 2147483647 = s.rowid & 2147483647"""


def _hours_of(record: Record, s: Search, zone: tzinfo | None) -> str:
    """` AND …` for the hours of every day."""
    if not s.hours:
        return ""
    first, last = (
        record.one(f"SELECT {which}(started_at) FROM facets WHERE object_type = ''")[0] or 0 for which in ("min", "max")
    )
    (offset, _), *changes = reversed(_offsets(zone, first // DAY, last // DAY + 1))
    ahead = " ".join(f"WHEN s.rowid >> 31 < {until} THEN {before}" for before, until in reversed(changes))
    at = f"((s.rowid >> 31) + {f'CASE {ahead} ELSE {offset} END' if ahead else offset}) / 60 % 1440"
    return f" AND ({at} >= {s.hours[0]} {'AND' if s.hours[0] < s.hours[1] else 'OR'} {at} < {s.hours[1]})"


@lru_cache(16)
def _offsets(zone: tzinfo | None, first: int, last: int) -> list[tuple[int, int]]:
    """Return by how many seconds a zone is ahead of UTC between two days since 1970, and until when, in seconds."""

    def offset(at: int) -> int:
        return round(datetime.fromtimestamp(at, zone).astimezone(zone).utcoffset().total_seconds())  # type: ignore[union-attr]

    out = list[tuple[int, int]]()
    for day in range(first * 86_400, last * 86_400 + 1, 86_400):
        if offset(day) != offset(day + 86_400):
            change = next(at for at in range(day, day + 86_401, 900) if offset(at) != offset(day))
            out.append((offset(day), change))
    return [*out, (offset((last + 1) * 86_400), NEVER)]
