"""Notice that the record was restored from a backup, and continue above every number that it had given before.

Ids of frames and numbers of the feed are known outside: in Redis, in the lake, to clients that resume. So the highest ones
are written to `<database file>.witness` after each commit that made them grow, without fsync: a kill loses nothing, a power
cut at most the last ones, which the margin covers. Two slots with checksums: a torn write leaves the other one.

At the start of the pipeline, a record that is behind its witness was restored in place, and one that lies in another file
than it noted was copied, moved or restored. Both continue above; `meta.record_restored` is set.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hearthwatch.schemas.items import ALERTS_MAX

if TYPE_CHECKING:
    from hearthwatch.record.connection import Record

log = logging.getLogger(__name__)

SLOT_BYTES = 128
MARGIN = 10_000  # above the witness: more than one transaction writes, which a kill may have kept from it
PER_SECOND = 100  # numbers skipped for each second of a lost state without a witness: more than a pipeline gives
SKIPPED_MAX = 10**9  # of 2^36
REVISIONS_SKIPPED = 1000  # of each known event: the lost state may have published more of them than are left

_NUMBERS = "SELECT coalesce(max(seq) FILTER (WHERE name = 'frames'), 0), coalesce(max(seq) FILTER (WHERE name = 'feed'), 0) FROM sqlite_sequence"


class Numbers(NamedTuple):
    """The highest id of a frame and the highest number of the feed that were ever given."""

    frame: int = 0
    seq: int = 0

    def above(self, other: Numbers) -> Numbers:
        return Numbers(max(self.frame, other.frame), max(self.seq, other.seq))


class Witness:
    """The witness file of the record at `path`. One per connection."""

    def __init__(self, path: Path) -> None:
        resolved = path.resolve()
        self.path = resolved.with_name(f"{resolved.name}.witness")
        self._is_wanted, self._is_unwritable = str(path) != ":memory:", False
        self._descriptor, self._slot, self._written = -1, 0, Numbers()

    def note(self, store_id: str, numbers: Numbers) -> None:
        """Write the numbers if they grew since the last time."""
        if not self._is_wanted or numbers.above(self._written) == self._written:
            return
        try:
            highest = numbers.above(self.read(store_id))  # another process may know of higher ones
            self._slot = 1 - self._slot
            os.pwrite(self._open(), _line(store_id, highest), self._slot * SLOT_BYTES)
        except OSError as error:
            if not self._is_unwritable:
                log.warning(
                    "%s cannot be written (%s): a restored record may not be noticed", self.path, error.strerror
                )
            self._is_unwritable = True
        self._written = numbers

    def read(self, store_id: str) -> Numbers:
        """Return the highest numbers of this record in the file, zeros if there are none."""
        found = Numbers()
        data = os.pread(self._open(), 2 * SLOT_BYTES, 0)
        for start in range(0, len(data), SLOT_BYTES):
            fields = data[start : start + SLOT_BYTES].split()
            if len(fields) == 4 and fields[0] == store_id.encode() and fields[3] == _checksum(b" ".join(fields[:3])):
                found = found.above(Numbers(int(fields[1]), int(fields[2])))
        return found

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        return self._descriptor


def _line(store_id: str, numbers: Numbers) -> bytes:
    body = f"{store_id} {numbers.frame} {numbers.seq}".encode()
    return (body + b" " + _checksum(body)).ljust(SLOT_BYTES - 1) + b"\n"


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)


def given_numbers(db: sqlite3.Connection) -> Numbers:
    """Read the highest numbers that this record gave; inside a transaction: 3 us."""
    return Numbers(*db.execute(_NUMBERS).fetchone())


def last_sign_of_life(record: Record) -> int:
    """Return when something last wrote to the record, by the clock of that time (microseconds); 0: never."""
    return int(
        record.one(
            "SELECT max(coalesce((SELECT discovered_at FROM frames ORDER BY id DESC LIMIT 1), 0), "
            "coalesce((SELECT at FROM feed ORDER BY seq DESC LIMIT 1), 0), coalesce((SELECT max(at) FROM heartbeat), 0))"
        )[0]
    )


class Restored(NamedTuple):
    """The last restore: the highest frame id that was left, and the revision above which its events continue."""

    frame: int = 0
    revision: int = 0


def last_restore(record: Record) -> Restored:
    """Read what the last restore left; zeros if there was none."""
    row = record.one("SELECT value FROM meta WHERE key = 'record_restored'")
    noted = json.loads(row[0]) if row else {"known_frame": 0, "revision": 0}
    return Restored(noted["known_frame"], noted["revision"])


def continue_above(record: Record, now: int) -> None:
    """Raise the numbers of a record that was restored; once per restore. The caller has the lock `see`, and nothing is written yet."""
    file, noted = str(record.path.resolve().stat().st_ino), record.one("SELECT value FROM meta WHERE key = 'file'")
    own, witnessed = given_numbers(record.db), record.witness.read(record.store_id)
    highest = own.above(witnessed)
    is_behind, is_moved = highest != own, noted is not None and noted[0] != file
    if not is_behind and not is_moved:
        if noted is None:
            record.transact(lambda: _put(record, "file", file))
        return
    lost = 0 if is_behind else max(0, now - last_sign_of_life(record)) // 1_000_000 * PER_SECOND
    skipped = MARGIN + min(SKIPPED_MAX, lost)
    start = Numbers(highest.frame + skipped, highest.seq + skipped)
    why = "is behind its witness file" if is_behind else "lies in another file than before"
    record.transact(lambda: _restart(record, own, start, now, file, why))
    log.warning(
        "the record %s %s: it was restored, copied or moved. New numbers begin above all that were given before: frames at %d, "
        "messages at %d; uploads that it does not know are taken in again",
        record.path, why, start.frame + 1, start.seq + 1,
    )  # fmt: skip


def _restart(record: Record, own: Numbers, start: Numbers, now: int, file: str, why: str) -> None:
    (alert,) = record.one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'alerts'")
    alert += ALERTS_MAX * (start.frame - own.frame)  # the lost state may have stored so many
    for name, seq in (("frames", start.frame), ("feed", start.seq), ("alerts", alert)):
        record.execute("DELETE FROM sqlite_sequence WHERE name = ?", name)
        record.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", name, seq)
    revision = last_restore(record).revision + REVISIONS_SKIPPED
    restored = {"at": now, "frame": start.frame, "seq": start.seq, "known_frame": own.frame, "known_seq": own.seq,
                "revision": revision, "reason": why}  # fmt: skip
    _put(record, "record_restored", json.dumps(restored))
    _put(record, "file", file)


def _put(record: Record, key: str, value: str) -> None:
    record.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)
