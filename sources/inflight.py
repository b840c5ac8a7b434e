"""How many frames may be in flight: bounded, few after a crash, and small batches while the rest of the graph is slow."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Container, Iterable

from hearthwatch.record.ledger import Ledger, LedgerEntry

log = logging.getLogger(__name__)

IN_FLIGHT_MAX = 1024  # frames that are being decoded or wait for their decision; the bytes have another bound
STARTS_MAX = 5  # this many starts reached a frame and did not decide it: it is what ends them
STALLED_SECONDS = 60.0  # emitted and not decided for so long: a warning
PORTION_MAX = 512  # pictures of a backlog that are undecided: half of them wait for the other half
BATCH_SECONDS = 0.5  # a batch keeps the dataflow's thread busy for about so long: ticks and stops come in between


class FramesInFlight:
    """Counts frames from being prefetched to being decided, which it reads off the ledger.

    The first frame of a run is noted in the ledger before anything is decoded. If an earlier start reached it already
    and did not decide it, one of the next frames may crash the process: then one frame is emitted alone, and after each
    group that was decided the next is twice as large, until IN_FLIGHT_MAX is reached.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._emitted: deque[int] = deque()
        self._limit = 1
        self._noted = 0
        self._is_first, self._is_noted = True, False  # no frame was reached in this run; this group's first is noted
        self._progress_at, self._warned = time.monotonic(), False

    def room(self, prefetched: int) -> int:
        """How many more frames may be prefetched, while `prefetched` were not emitted yet."""
        if prefetched + len(self._emitted) >= self._limit or self._limit < IN_FLIGHT_MAX:
            self._drop_decided()
        in_flight = prefetched + len(self._emitted)
        if self._limit == IN_FLIGHT_MAX:
            return max(0, IN_FLIGHT_MAX - in_flight)
        if in_flight:
            return 0
        if not self._is_first:
            self._limit, self._is_noted = min(2 * self._limit, IN_FLIGHT_MAX), False
        return self._limit

    def note_start(self, entry: LedgerEntry) -> None:
        """Note that this undecided frame is next. Durable when it returns, if it is the first of its group."""
        if not self._is_noted:
            starts = self.ledger.count_start(entry.frame.id)
            if self._is_first and starts == 1:
                self._limit = IN_FLIGHT_MAX
            elif self._is_first:
                words = "frame %d (%s) was reached by %d starts and not decided: going step by step"
                log.warning(words, entry.frame.id, entry.frame.path, starts - 1)
            self._is_first, self._is_noted, self._noted = False, True, entry.frame.id

    def forgive(self, waiting: Container[int]) -> None:
        """Take the note back if its frame is among these: it was decoded, and waits for something outside the process."""
        if self._noted in waiting:
            self.ledger.forget_starts(self._noted)
            self._noted = 0

    def is_empty(self) -> bool:
        """Whether none was emitted that may be undecided."""
        return not self._emitted

    def undecided(self) -> int:
        """Return how many of those that were emitted are not decided."""
        self._drop_decided()
        return len(self._emitted)

    def add(self, frame_ids: Iterable[int]) -> None:
        """Count these undecided frames, which are emitted now."""
        if not self._emitted:
            self._progress_at = time.monotonic()
        self._emitted.extend(frame_ids)

    def _drop_decided(self) -> None:
        """Drop everything before the oldest frame that is not decided."""
        if not self._emitted:
            return
        decided, before = self.ledger.last_settled(), len(self._emitted)
        while self._emitted and self._emitted[0] <= decided:
            self._emitted.popleft()
        now = time.monotonic()
        if len(self._emitted) < before:
            self._progress_at, self._warned = now, False
        elif now - self._progress_at > STALLED_SECONDS and not self._warned:
            self._warned = True
            words = "%d frames are in flight and none was decided for %.0f s: is the detector stuck, or is there no `batch` node?"
            log.warning(words, len(self._emitted), now - self._progress_at)


def is_poison(entry: LedgerEntry) -> bool:
    """Whether STARTS_MAX starts reached this frame without deciding it, as with a picture that crashes the decoder."""
    return entry.starts >= STARTS_MAX


class BatchSizeController:
    """How many frames make a batch: as many as are decided in `BATCH_SECONDS`, whichever thread or service detects."""

    def __init__(self, limit_max: int) -> None:
        self.limit_max, self.limit = limit_max, 1
        self.portion = 1
        """How many pictures of a backlog may be undecided: a live one waits for no more."""
        self._count, self._since = 0, 0.0

    def add(self, count: int) -> None:
        """Count so many frames, which are emitted now."""
        if count and not self._count:
            self._since = time.monotonic()
        self._count += count

    def note(self, undecided: int, at_a_time: int) -> None:
        """Adapt the limit to how many were decided since the last one was; `at_a_time`: to keep them busy, one more waits."""
        if decided := self._count - undecided:
            now = time.monotonic()
            each = max((now - self._since) / decided, 1e-6)
            self.limit = max(1, min(self.limit_max, 2 * self.limit, int(BATCH_SECONDS / each)))
            self.portion = max(self.limit, min(PORTION_MAX, 2 * self.portion, int(BATCH_SECONDS / 2 / each)))
            self._count, self._since = undecided, now
        if at_a_time:
            self.portion = max(self.portion, at_a_time + 1)
