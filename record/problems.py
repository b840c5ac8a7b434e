"""Find what is wrong in the record and on its disks: uploads, cameras, clocks, what waits, free space. It only reads."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.conditions import Problem
from hearthwatch.record.copies import repeating_cameras
from hearthwatch.record.read.over_cells import over_cells
from hearthwatch.record.retention.age_clock import doubted_clock
from hearthwatch.record.surroundings import parse_neighbours
from hearthwatch.record.units import SECOND
from hearthwatch.schemas.text import plural
from hearthwatch.schemas.zones import parse_zones

HOUR = 3600 * SECOND
NEWEST_PICTURES = 5000  # the share of the quarantined is of those of the last hour among them: 3 ms
UNUSABLE_MIN, ALL_UNUSABLE_MIN = 5, 3  # half of so many pictures, or all of so many, are worth a word
BEHIND_SECONDS = 20  # pictures may wait for so long, those for a service half of it: it has to answer, or is slow
WRITE_SECONDS_MAX = 0.5  # a disk that needs longer for one transaction is why pictures wait
CLOCK_MS = 20_000  # a camera's clock that is wrong by less puts no picture into another event
GB = 10**9


class Waiting(NamedTuple):
    """Pictures that are not decided yet, and since when the oldest of them waits (microseconds)."""

    pictures: int
    oldest: int | None


@over_cells(
    lambda parts: Waiting(sum(p.pictures for p in parts), min((p.oldest for p in parts if p.oldest), default=None))
)
def read_waiting(record: Record, notes: Mapping[str, Any] | None = None) -> Waiting:
    """Read what waits in the ledger, and on disk for its place there."""
    notes = (record.meta("discovery") or {}) if notes is None else notes
    row = record.one("SELECT discovered_at FROM frames WHERE state = 'discovered' ORDER BY id LIMIT 1")
    oldest = [at for at in (row and row[0], notes.get("oldest_waiting")) if at is not None]
    return Waiting(record.counters()["discovered"] + (notes.get("waiting") or 0), min(oldest, default=None))


def find_problems(
    record: Record, base: Path, at: int, behind: float = BEHIND_SECONDS, write_seconds: float = 0.0
) -> Iterator[Problem]:
    """Yield what is wrong at `at` with uploads, cameras and clocks, and pictures that wait for more than `behind` seconds.

    `write_seconds`: how long the last transaction took.
    """
    notes = record.meta("discovery") or {}  # `_write_notes` in sources/discovery.py
    yield from _of_the_tree(notes, base)
    yield from _unusable(record, at)
    yield from _of_cameras(record, at)
    for camera, first in repeating_cameras(record):
        words = f"{camera} sends one picture again and again, {first.describe(None)} ({first.path})"
        yield Problem("same_picture", f"{words}: is the camera stuck?", camera, camera)
    yield from _of_the_clock(record)
    if (restored := record.meta("record_restored")) and at - restored["at"] < HOUR:
        words = f"the record was restored, copied or moved: it {restored['reason']}"
        yield Problem("record_restored", f"{words}; numbers continue above those given before", at_once=True)
    waits = read_waiting(record, notes)
    if waits.oldest is not None and at - waits.oldest > behind * SECOND:
        words = plural(waits.pictures, "picture waits", "pictures wait")
        words += f", the oldest for {(at - waits.oldest) // SECOND} s{_busiest(record, notes, waits.pictures)}"
        slow = f"; the disk takes {write_seconds:.1f} s to store anything" if write_seconds > WRITE_SECONDS_MAX else ""
        yield Problem("behind", words + slow)


def _busiest(record: Record, notes: Mapping[str, Any], waiting: int) -> str:
    """Name the camera that most of them are of."""
    counts = Counter(dict(record.rows("SELECT camera_id, count(*) FROM frames WHERE state = 'discovered' GROUP BY 1")))
    counts.update(notes.get("waiting_by_camera") or {})
    ((camera, most),) = counts.most_common(1) or [("", 0)]
    return f", {most:,} of them from {camera}" if 2 * most > waiting > most else ""


def _of_the_tree(notes: Mapping[str, Any], base: Path) -> Iterator[Problem]:
    if notes.get("base_missing"):
        yield Problem("uploads_missing", f"{base} cannot be read: no picture arrives; is FOSCAM_BASE_PATH right?")
    folders, files = notes.get("unreadable") or (), notes.get("unreadable_files") or {}
    if folders:
        words = plural(len(folders), "folder cannot be read", "folders cannot be read")
        yield Problem("files_unreadable", f"{words}, such as `{folders[0]}`: fix the permissions", "folders")
    if files:
        words = plural(files["count"], "picture cannot be read", "pictures cannot be read")
        example = f"such as `{files['example']}` ({files['reason']})"
        yield Problem("files_unreadable", f"{words}, {example}: fix that, and they are taken in", "files")
    for folder in notes.get("second_folders") or ():
        words = f"the pictures in `{folder}` are quarantined: another folder has the same camera id"
        yield Problem("quarantine", f"{words}; rename one of the two", folder, severity="warning")
    if why := notes.get("watch_off"):
        yield Problem("watch_off", str(why))


def _unusable(record: Record, at: int) -> Iterator[Problem]:
    """Yield the cameras of whose pictures in the last hour at least half could not be used."""
    newest = "SELECT discovered_at FROM frames WHERE state = 'quarantined' ORDER BY id DESC LIMIT 1"
    found = record.one(newest)
    if found is None or at - found[0] > HOUR:
        return
    for camera, count, unusable, example in count_unusable(record, at):
        if not unusable:
            continue
        (reason,) = record.one("SELECT error FROM frames WHERE id = ?", example)
        why = f"could not be used in the last hour, the last because: {reason}"
        if camera is None:
            words = plural(unusable, "picture that is in no camera folder", "pictures that are in no camera folder")
            yield Problem("quarantine", f"{words} {why}", severity="warning")
        elif (count >= UNUSABLE_MIN and 2 * unusable >= count) or (count >= ALL_UNUSABLE_MIN and unusable == count):
            yield Problem("quarantine", f"{unusable} of {count} pictures of {camera} {why}", camera, camera)


def count_unusable(record: Record, at: int) -> list[tuple[str | None, int, int, int | None]]:
    """Count each camera's pictures of the hour before `at`, those that could not be used, and name the last one of them."""
    return record.rows(
        "SELECT camera_id, count(*), sum(state = 'quarantined'), max(id) FILTER (WHERE state = 'quarantined') FROM frames "
        "WHERE id > (SELECT coalesce(max(id), 0) FROM frames) - ? AND discovered_at > ? AND state <> 'discovered' GROUP BY 1",
        NEWEST_PICTURES, at - HOUR,
    )  # fmt: skip


def _of_cameras(record: Record, at: int) -> Iterator[Problem]:
    for camera, zones in record.rows("SELECT id, zones FROM cameras WHERE zones IS NOT NULL"):
        try:
            parse_zones(zones)
        except ValueError as error:
            words = f"the zones of {camera} are invalid, so none of them counts: {error}; draw them again on the page"
            yield Problem("zones_invalid", f"{words}, or correct `cameras.zones`", camera, camera)
    for camera, names in record.rows("SELECT id, neighbours FROM cameras WHERE neighbours IS NOT NULL"):
        try:
            parse_neighbours(names)
        except ValueError as error:
            words = (
                f"the neighbours of {camera} are invalid, so all cameras are: {error}; choose them again on the page"
            )
            yield Problem("neighbours_invalid", f"{words}, or correct `cameras.neighbours`", camera, camera)
    rows = record.rows("SELECT id, status, last_seen_at, clock_offset_ms FROM cameras WHERE last_seen_at IS NOT NULL")
    for camera, status, seen, offset in rows:
        if status == "offline":
            yield Problem("camera_silent", f"{camera} has sent no picture for {_span(at - seen)}", camera, camera)
        if offset is not None and abs(offset) >= CLOCK_MS:
            words = f"{camera}'s clock is {_span(abs(offset) * 1000)} {'slow' if offset > 0 else 'fast'}"
            yield Problem("camera_clock", f"{words}: events and alerts allow for it", camera, camera)


def _of_the_clock(record: Record) -> Iterator[Problem]:
    correction = record.meta("clock_correction") or 0
    if abs(correction) >= SECOND:
        way = "back" if correction > 0 else "forward"
        yield Problem(
            "clock_stepped", f"the server's clock was set {way} by {_span(abs(correction))}: the order is kept"
        )
    if time := doubted_clock(record):
        yield Problem("clock_stepped", time.describe(), "retention")


def find_full_disk(folder: Path) -> list[Problem]:
    """Return whether its disk has less than 2 % or 1 GB free, whichever is more; 10 GB, or 10 % of a small disk, do."""
    try:
        total, _, free = shutil.disk_usage(folder)
    except OSError:
        return []  # a folder that is not there has its own condition
    if free >= min(max(total // 50, GB), 10 * GB, total // 10):
        return []
    words = f"{folder} has {free / GB:.1f} GB free of {total / GB:.0f} GB: make room, or lower RETENTION_DAYS"
    return [Problem("disk_low", words, str(folder))]


def _span(microseconds: int) -> str:
    seconds = microseconds // SECOND
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
