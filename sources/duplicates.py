"""Find the picture that a file repeats: same camera and same bytes are the same picture, whatever time lies between.

A function of the record and of the order of ids, so every restart decides alike: a frame whose bytes are those of one in
flight waits until that one is decided, since a quarantined picture is no original. Bytes of another camera whose file is gone
are that picture moved; where both files are there they are two.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from datetime import tzinfo
from itertools import islice
from pathlib import Path

from hearthwatch.gpu.decode import DecodedPicture
from hearthwatch.record import Record
from hearthwatch.record.copies import Copy, find_contents, find_original
from hearthwatch.record.ledger import LedgerEntry
from hearthwatch.schemas.items import DUPLICATE, DeadLetter, Frame, has_failed

log = logging.getLogger(__name__)

EMITTED_MAX = 4096  # x 200 bytes; far more than may be in flight, so the oldest of them is decided
LOG_SECONDS = 60.0  # of one camera; what was not logged meanwhile is counted

Ready = tuple[LedgerEntry, DecodedPicture | None]


class DuplicateFinder:
    """Takes entries in id order; of one thread."""

    def __init__(self, record: Record, base: Path, zone: tzinfo | None = None) -> None:
        self.record, self.base, self.zone = record, base, zone
        self._emitted: dict[str, int] = {}
        """Content → the frame that was emitted with it to be processed."""
        self._logged: dict[str, tuple[float, int]] = {}
        """Camera → when its next duplicate is logged, and how many were not."""

    def take(self, ready: deque[Ready], limit: int) -> list[Ready]:
        """Take at most `limit` entries from the front, until one has to wait; duplicates among them get that error.

        A retry, which a person asked for, is no duplicate.
        """
        out: list[Ready] = []
        contents = [_content_hash(*each) for each in islice(ready, limit)]
        seen = self._emitted.keys() | find_contents(self.record, [content for content in contents if content])
        for content in contents:
            if content in self._emitted and self._is_undecided(self._emitted[content]):
                break  # only its decision shows what this one is
            entry, opened = ready.popleft()
            out.append((entry, opened))
            if opened and content:
                original = None
                if content in seen and entry.attempt == 1:
                    original = find_original(self.record, self.base, entry.frame.camera_id, content)
                if original:
                    opened.error = DeadLetter(DUPLICATE, f"duplicate of {original.id}")
                    self._log(entry.frame, original)
                else:
                    self._emitted.pop(content, None)
                    self._emitted[content] = entry.frame.id
        while len(self._emitted) > EMITTED_MAX:
            del self._emitted[next(iter(self._emitted))]
        return out

    def _is_undecided(self, frame: int) -> bool:
        return bool(self.record.one("SELECT 1 FROM frames WHERE id = ? AND state = 'discovered'", frame))

    def _log(self, frame: Frame, original: Copy) -> None:
        due, more = self._logged.get(frame.camera_id, (0.0, 0))
        now = time.monotonic()
        if now < due:
            self._logged[frame.camera_id] = due, more + 1
            return
        self._logged[frame.camera_id] = now + LOG_SECONDS, 0
        others = f"; so were {more} more of this camera" if more else ""
        log.info("%s is %s (%s): not detected again%s", frame.path, original.describe(self.zone), original.path, others)


def _content_hash(entry: LedgerEntry, opened: DecodedPicture | None) -> str | None:
    """Return the hash of a picture that is to be processed."""
    if opened is None or entry.frame.recorded or has_failed(opened.error):
        return None
    return opened.content_hash
