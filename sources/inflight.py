"""How many frames may be out of the source's hands: bounded, careful after a crash, and never for too long at a time."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable

from hearthwatch.record.ledger import Ledger, LedgerEntry

log = logging.getLogger(__name__)

IN_HAND_MAX = 256  # frames that are being decoded or wait for their decision: four batches
STARTS_MAX = 5  # this many starts reached a frame and did not decide it: it is what ends them
STALLED_SECONDS = 60.0  # handed out and not decided for so long: somebody should know
BATCH_SECONDS = 0.5  # a batch keeps the dataflow's thread busy for about so long: ticks and stops come in between


class Hands:
    """Counts frames from being fetched to being decided, which it reads off the ledger.

    The first frame of a run is noted in the ledger before anything is decoded. If an earlier start reached it already
    and did not decide it, something in reach may end the process: then one frame goes out alone, and after each handful
    that was decided the next is twice as large, until hands are full again.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._out: deque[int] = deque()
        self._width = 1
        self._fresh, self._noted = True, False  # nothing reached in this run; this handful's first frame is noted
        self._moved, self._warned = time.monotonic(), False

    def room(self, opening: int) -> int:
        """How many more frames may be fetched, while `opening` of those fetched were not handed out."""
        if opening + len(self._out) >= self._width or self._width < IN_HAND_MAX:
            self._look()
        held = opening + len(self._out)
        if self._width == IN_HAND_MAX:
            return max(0, IN_HAND_MAX - held)
        if held:
            return 0
        if not self._fresh:
            self._width, self._noted = min(2 * self._width, IN_HAND_MAX), False
        return self._width

    def reach(self, entry: LedgerEntry) -> None:
        """This undecided frame is next. Durable when it returns, if it is the first of its handful."""
        if not self._noted:
            starts = self.ledger.count_start(entry.frame.id)
            if self._fresh and starts == 1:
                self._width = IN_HAND_MAX
            elif self._fresh:
                log.warning(
                    "frame %d (%s) was reached by %d starts and not decided: going step by step",
                    entry.frame.id,
                    entry.frame.path,
                    starts - 1,
                )
            self._fresh, self._noted = False, True

    def hopeless(self, entry: LedgerEntry) -> bool:
        return entry.starts >= STARTS_MAX

    def give(self, frame_ids: Iterable[int]) -> None:
        """These undecided frames were handed out."""
        if not self._out:
            self._moved = time.monotonic()
        self._out.extend(frame_ids)

    def _look(self) -> None:
        """Forget what is decided: everything before the oldest frame that is not."""
        if not self._out:
            return
        oldest = self.ledger.todo(0, 1)
        before = len(self._out)
        while self._out and (not oldest or self._out[0] < oldest[0].frame.id):
            self._out.popleft()
        now = time.monotonic()
        if len(self._out) < before:
            self._moved, self._warned = now, False
        elif now - self._moved > STALLED_SECONDS and not self._warned:
            self._warned = True
            log.warning(
                "%d frames were handed out and none was decided for %.0f s: is the detector stuck, or is there no `batch` node?",
                len(self._out), now - self._moved,
            )  # fmt: skip


class Pacer:
    """How many frames make a batch: as many as the rest of the graph works off in `BATCH_SECONDS`."""

    def __init__(self, most: int) -> None:
        self.most, self.limit = most, 1
        self._count, self._since = 0, 0.0

    def left(self, count: int) -> None:
        """A batch of so many was handed out."""
        self._count, self._since = count, time.monotonic()

    def returned(self) -> None:
        """The source is asked again: the rest of the graph is through with the batch."""
        if self._count:
            each = max((time.monotonic() - self._since) / self._count, 1e-6)
            self.limit = max(1, min(self.most, 2 * self.limit, int(BATCH_SECONDS / each)))
            self._count = 0
