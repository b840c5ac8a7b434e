"""Keep the ledger: every file that was ever discovered, exactly once, in the order in which it is processed.

A row is written at discovery, before the picture is read; a restart emits again what is still undecided. The ledger stamps
arrival, never before a tick that was sent. Arrival follows elapsed time: a step of the wall clock changes `correction`, and
when nothing is open or undecided it becomes 0 again. So it may be earlier than that of a frame before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from hearthwatch.record import Record, RecordError
from hearthwatch.record.paths import escape, unescape
from hearthwatch.record.units import BACKLOG, NEVER, box_ids
from hearthwatch.schemas.items import (
    DeadLetter,
    Detected,
    Detection,
    Frame,
    Tick,
    Upload,
    from_microseconds,
    to_microseconds,
)

log = logging.getLogger(__name__)

STEP_MIN = 1_000_000  # microseconds; NTP slews a clock by less
STEP_KEPT = 60_000_000  # microseconds for which a correction stays at least: health reports it
CAPTURED_MAX = 253_402_300_799_999_999  # the end of the year 9999: file systems can hold later times, calendars cannot
LOOKUP_KEYS_MAX = 300  # keys per query: three parameters each, below SQLite's oldest limit of 999


class FoundFile(NamedTuple):
    """A complete file as discovery saw it. `arrived` comes from the file system; the ledger stamps `arrived_at`."""

    camera_id: str | None
    folder: str | None
    path: str
    mtime_ns: int
    size: int
    captured_at: int
    arrived: int
    error: DeadLetter | None = None
    attempt: int = 1
    behind: int = 0
    """1: its camera has a backlog; 2: it is of that, and arrives when it is taken in."""
    name: str | None = None
    """Of the camera, if it is not its folder's."""


class LedgerEntry(NamedTuple):
    """A frame to emit, with what is needed to open its file. `frame.recorded` is set if it was decided before."""

    frame: Frame
    mtime_ns: int
    size: int
    attempt: int
    starts: int


class ArrivalClock:
    """The arrival clock, shared by the threads of one source: the wall clock plus `correction`. Microseconds.

    It moves forward only, until it is set to the wall clock again.
    """

    def __init__(self, at: int, correction: int = 0) -> None:
        self.at, self.correction = at, correction
        self.turn = threading.Lock()
        self._wall = self._elapsed = self._stepped = 0

    def follow(self, wall: int, elapsed: int) -> int:
        """Return by how much the wall clock was set since the last call, 0 for less than a second; correct for it."""
        step = (
            wall - self._wall - (elapsed - self._elapsed) if self._elapsed else min(0, wall + self.correction - self.at)
        )
        self._wall, self._elapsed, self._stepped = wall, elapsed, self._stepped or elapsed
        if abs(step) <= STEP_MIN:
            return 0
        self.correction -= step
        self._stepped = elapsed
        return step

    def may_reset(self, elapsed: int) -> bool:
        """Whether the last step was long enough ago that health has reported it."""
        return self.correction != 0 and elapsed - self._stepped > STEP_KEPT

    def forward(self, at: int) -> int:
        self.at = max(self.at, at)
        return self.at


def read_elapsed() -> int:
    """Microseconds since the machine started, time asleep included."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000


def frame_uid(found: FoundFile) -> str:
    """48 bits of capture milliseconds, then 80 bits of a hash of what the file is: the same in every run."""
    what = f"{found.camera_id}\0{found.path}\0{found.mtime_ns}\0{found.size}\0{found.attempt}"
    digest = hashlib.blake2b(what.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
    return f"{found.captured_at // 1000 & 0xFFFF_FFFF_FFFF:012x}{digest}"


def _in_calendar(at: int) -> int:
    return max(0, min(at, CAPTURED_MAX))


_MERGED = "SELECT a.id, c.id, c.folder_path FROM camera_aliases a JOIN cameras c ON c.id = a.into_id"
_ENTRY = "id, uid, camera_id, path, captured_at, arrived_at, mtime_ns, size, attempt, starts, state"


class Ledger:
    """Discovery writes here, the source reads here. One per thread; threads of one source share the `clock`."""

    def __init__(self, record: Record, clock: ArrivalClock | None = None) -> None:
        self.record = record
        self._merged = self._read_merged()
        self.clock = clock or ArrivalClock(self._last_arrival(), self._stored("clock_correction"))

    def _read_merged(self) -> dict[str, tuple[str, str]]:
        """Return the cameras that were merged: id → id and folder of the one that each was merged into."""
        return {id: (into, folder) for id, into, folder in self.record.rows(_MERGED)}

    def _last_arrival(self) -> int:
        newest = self.record.one("SELECT coalesce((SELECT arrived_at FROM frames ORDER BY id DESC LIMIT 1), 0)")[0]
        return max(int(newest), self._stored("clock"))

    def _stored(self, key: str) -> int:
        row = self.record.one("SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?", key)
        return int(row[0]) if row else 0

    # -- the clock

    def now(self) -> int:
        """Read the wall clock, in microseconds. When it was set, move the record's times that wait for it."""
        wall, elapsed = time.time_ns() // 1000, read_elapsed()
        with self.clock.turn:
            if step := self.clock.follow(wall, elapsed):
                self.record.transact(lambda: self._store_step(step))
                log.warning(
                    "the server's clock was set %s by %.0f s: order, closes and alerts follow elapsed time",
                    "back" if step < 0 else "forward", abs(step) / 1e6,
                )  # fmt: skip
        return wall

    def _store_step(self, step: int) -> None:
        self._store_clock()
        self.record.execute("UPDATE cameras SET last_seen_at = last_seen_at + ?", step)

    def _store_clock(self) -> None:
        values = [("clock", str(self.clock.at)), ("clock_correction", str(self.clock.correction))]
        self.record.many("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)

    def reset_clock(self, wall: int) -> None:
        """Let arrival be the wall clock again, a minute after it was set, if nothing is open or undecided."""
        with self.clock.turn:
            if self.clock.may_reset(read_elapsed()):
                self.record.transact(lambda: self._reset_clock(wall))

    def _reset_clock(self, wall: int) -> None:
        (busy,) = self.record.one(
            "SELECT EXISTS (SELECT 1 FROM frames WHERE state = 'discovered') "
            "OR EXISTS (SELECT 1 FROM events WHERE status = 'open')"
        )
        if not busy:
            self.clock.at, self.clock.correction = wall, 0
            self.record.execute("UPDATE incidents SET close_at = min(close_at, ?) WHERE status = 'open'", wall)
            self._store_clock()

    # -- discovery

    def find_known(self, keys: Collection[tuple[str, int, int]]) -> set[tuple[str, int, int]]:
        """Return those of the (path, mtime_ns, size) that are in the ledger already, at any attempt."""
        wanted, out = list(keys), set()
        for start in range(0, len(wanted), LOOKUP_KEYS_MAX):
            part = wanted[start : start + LOOKUP_KEYS_MAX]
            # CROSS JOIN: one look-up per key; SQLite would scan the whole index otherwise
            out.update(self.record.rows(
                f"SELECT path, mtime_ns, size FROM (VALUES {','.join(['(?,?,?)'] * len(part))}) CROSS JOIN frames "
                "WHERE (path, mtime_ns, size) = (column1, column2, column3)", *chain.from_iterable(part),
            ))  # fmt: skip
        return out

    def discover(self, found: Sequence[FoundFile], now: int, inbox_ids: Iterable[int] = ()) -> int:
        """Write new files in the order given, and stamp their arrival, in one transaction; return how many were new."""
        taken = list(inbox_ids)
        if not found and not taken:
            return 0
        with self.clock.turn:
            new, at = self.record.transact(lambda: self._insert(found, now, taken))
            self.clock.forward(at)
        return new

    def _insert(self, found: Sequence[FoundFile], now: int, taken: list[int]) -> tuple[int, int]:
        at, new, bad = self.clock.at, 0, 0
        merged = self._merged = self._read_merged()
        cameras: dict[str, tuple[str | None, str | None, int]] = {}
        for one in found:
            f = one if 0 <= one.captured_at <= CAPTURED_MAX else one._replace(captured_at=_in_calendar(one.captured_at))
            if f.camera_id in merged:
                f = f._replace(camera_id=merged[f.camera_id][0], folder=merged[f.camera_id][1])
            arrived = min(f.arrived, now)
            stamp = max(at, (now if f.behind == BACKLOG else arrived) + self.clock.correction)
            if f.camera_id is not None and f.error is None:
                seen = arrived if f.behind == BACKLOG else stamp - self.clock.correction
                last = cameras[f.camera_id][2] if f.camera_id in cameras else 0
                cameras[f.camera_id] = f.folder, f.name or f.folder, max(seen, last)
            if self._insert_frame(f, stamp, now).rowcount:
                at, new, bad = stamp, new + 1, bad + (f.error is not None)
        for camera_id, (folder, name, seen) in cameras.items():
            self.record.execute(
                "INSERT INTO cameras(id, name, folder_path, status, created_at, last_seen_at) VALUES (?,?,?,'online',?,?) "
                "ON CONFLICT(id) DO UPDATE SET status = 'online', folder_path = excluded.folder_path, "
                "last_seen_at = max(coalesce(last_seen_at, 0), excluded.last_seen_at)",
                camera_id, name, folder, now, seen,
            )  # fmt: skip
        self.record.many("DELETE FROM inbox WHERE id = ?", [(i,) for i in taken])
        self.record.count(discovered=new - bad, quarantined=bad)
        return new, at

    def _insert_frame(self, f: FoundFile, stamp: int, now: int) -> sqlite3.Cursor:
        state, stage, reason = ("quarantined", f.error.stage, f.error.reason) if f.error else ("discovered", None, None)
        return self.record.execute(
            "INSERT OR IGNORE INTO frames(uid, camera_id, path, mtime_ns, size, attempt, captured_at, arrived_at, "
            "discovered_at, state, error_stage, error, behind) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            frame_uid(f), f.camera_id, f.path, f.mtime_ns, f.size, f.attempt, f.captured_at, stamp, now,
            state, stage, reason, f.behind,
        )  # fmt: skip

    def retry(self, frame_id: int, now: int) -> int:
        """Take a quarantined picture in again as a new frame.

        Returns:
            The new frame's id.

        Raises:
            RecordError: the frame is not quarantined, or not of a camera.
        """
        with self.clock.turn:
            new_id, at = self.record.transact(lambda: self._retry(frame_id, now))
            self.clock.forward(at)
        return new_id

    def _retry(self, frame_id: int, now: int) -> tuple[int, int]:
        row = self.record.one(
            "SELECT camera_id, path, mtime_ns, size, captured_at, state FROM frames WHERE id = ?", frame_id
        )
        if row is None or row[5] != "quarantined":
            raise RecordError(
                f"frame {frame_id} is {'unknown' if row is None else row[5]}: only a quarantined frame can be retried"
            )
        camera_id, path, mtime_ns, size, captured_at, _ = row
        if camera_id is None:
            raise RecordError(f"frame {frame_id} ({path}) is not in a camera folder: move the picture into one instead")
        attempt = self.last_attempt(path, mtime_ns, size) + 1
        new = FoundFile(camera_id, None, path, mtime_ns, size, captured_at, now, attempt=attempt)
        at = max(self.clock.at, self._stored("clock"), now + self._stored("clock_correction"))
        new_id = self._insert_frame(new, at, now).lastrowid
        self.record.count(discovered=1)
        return int(new_id or 0), at

    def last_attempt(self, path: str, mtime_ns: int, size: int) -> int:
        """Return how often this file was taken in."""
        sql = "SELECT max(attempt) FROM frames WHERE path = ? AND mtime_ns = ? AND size = ?"
        return int(self.record.one(sql, path, mtime_ns, size)[0])

    # -- the inbox: pictures that another source found

    def enqueue(self, uploads: Sequence[Upload]) -> None:
        """Queue uploads for the files source. Durable when it returns."""
        rows = [
            (u.camera, escape(os.fsencode(u.path)), None if u.captured_at is None else to_microseconds(u.captured_at))
            for u in uploads
        ]
        self.record.transact(
            lambda: self.record.many("INSERT INTO inbox(camera, path, captured_at) VALUES (?,?,?)", rows)
        )

    def inbox(self, limit: int) -> list[tuple[int, Upload]]:
        rows = self.record.rows("SELECT id, camera, path, captured_at FROM inbox ORDER BY id LIMIT ?", limit)
        return [
            (i, Upload(camera, os.fsdecode(unescape(path)), None if at is None else from_microseconds(at)))
            for i, camera, path, at in rows
        ]

    # -- emitting

    def merged_into(self, camera: str) -> str:
        """Return the camera that this one was merged into, else itself."""
        into = self._merged.get(camera)
        return into[0] if into else camera

    def undecided(self, after: int = 0) -> dict[str, int]:
        """Count undecided frames beyond this id, by camera."""
        sql = "SELECT camera_id, count(*) FROM frames WHERE state = 'discovered' AND id > ? GROUP BY 1"
        return dict(self.record.rows(sql, after))

    def tick(self, now: int, behind: frozenset[str] = frozenset()) -> Tick:
        """Move the arrival clock to this time of the wall clock; no later frame is stamped earlier than this tick."""
        with self.clock.turn:
            return Tick(from_microseconds(self.clock.forward(now + self.clock.correction)), behind)

    def todo(self, after: int, limit: int, replay_after: int | None = None) -> list[LedgerEntry]:
        """Read what to emit next, in order of id: undecided frames beyond `after`.

        On a resume, `replay_after` is the last id that was emitted before: frames beyond it come whether decided or
        not, so that sinks on the streams get them at least once.
        """
        resumed = NEVER if replay_after is None else replay_after
        rows = self.record.rows(
            f"SELECT {_ENTRY} FROM frames WHERE state = 'discovered' AND id > ? AND id <= ? ORDER BY id LIMIT ?",
            after,
            resumed,
            limit,
        )
        if not rows and replay_after is not None:
            rows = self.record.rows(
                f"SELECT {_ENTRY} FROM frames WHERE id > ? ORDER BY id LIMIT ?", max(after, resumed), limit
            )
        return [self._entry(*row) for row in rows]

    def last_settled(self) -> int:
        """Return the id before the first undecided frame; the newest id if all are decided."""
        sql = "SELECT coalesce((SELECT min(id) - 1 FROM frames WHERE state = 'discovered'), (SELECT max(id) FROM frames), 0)"
        return int(self.record.one(sql)[0])

    def _entry(
        self, id: int, uid: str, camera_id: str, path: str, captured_at: int, arrived_at: int,
        mtime_ns: int, size: int, attempt: int, starts: int, state: str,
    ) -> LedgerEntry:  # fmt: skip
        captured, arrived = from_microseconds(captured_at), from_microseconds(arrived_at)
        recorded = None if state == "discovered" else self.decision(Frame(id, uid, camera_id, path, captured, arrived))
        return LedgerEntry(
            Frame(id, uid, camera_id, path, captured, arrived, recorded=recorded), mtime_ns, size, attempt, starts
        )

    def decision(self, frame: Frame) -> Detected:
        """Read what was decided about this frame."""
        width, height, stage, error, model, detect_ms, grey = self.record.one(
            "SELECT width, height, error_stage, error, model, detect_ms, is_grey FROM frames WHERE id = ?", frame.id
        )
        first, last = box_ids(frame.id)
        columns = "id, object_type, confidence, bbox_x, bbox_y, bbox_width, bbox_height, attributes"
        boxes = self.record.rows(
            f"SELECT {columns} FROM detections WHERE id BETWEEN ? AND ? "
            f"UNION ALL SELECT {columns} FROM suppressed WHERE id BETWEEN ? AND ? ORDER BY id", first, last, first, last,
        )  # fmt: skip
        detections = tuple(
            Detection(label, score, (x, y, w, h), json.loads(more or "{}"))
            for _, label, score, x, y, w, h, more in boxes
        )
        letter = None if error is None else DeadLetter(stage, error)
        return Detected(
            frame, width or 0, height or 0, detections, letter, model=model, detect_ms=detect_ms,
            is_grey=None if grey is None else bool(grey),
        )  # fmt: skip

    def count_start(self, frame_id: int) -> int:
        """Count that this start of the pipeline reached the frame; return how many starts have."""

        def count() -> int:
            self.record.execute("UPDATE frames SET starts = starts + 1 WHERE id = ?", frame_id)
            return int(self.record.one("SELECT starts FROM frames WHERE id = ?", frame_id)[0])

        return self.record.transact(count)

    def forget_starts(self, frame_id: int) -> None:
        """Take back what `count_start` counted."""
        self.record.transact(lambda: self.record.execute("UPDATE frames SET starts = 0 WHERE id = ?", frame_id))

    def has_newer(self, frame: Frame) -> bool:
        """Whether there is a newer upload of this frame's path."""
        return bool(
            self.record.one("SELECT EXISTS (SELECT 1 FROM frames WHERE path = ? AND id > ?)", frame.path, frame.id)[0]
        )

    # -- cameras

    def cameras(self) -> dict[str, str]:
        """Return the upload folder of each camera id, those included that were merged into another one."""
        return dict(
            self.record.rows("SELECT id, folder_path FROM camera_aliases UNION SELECT id, folder_path FROM cameras")
        )

    def set_camera_status(self, camera_id: str, status: str) -> None:
        self.record.transact(
            lambda: self.record.execute("UPDATE cameras SET status = ? WHERE id = ?", status, camera_id)
        )
