"""Draw one thumbnail per frame with detections, in the background.

At most once, out of order: a few threads of low priority draw what they can. What they cannot keep up with, what is
waiting at a kill and what a full disk refuses is left out: a reader that finds a thumbnail missing draws it again from the
upload (`hearthwatch.record.thumbnails.find`), so nothing is lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Annotated

from bytewax.outputs import DynamicSink, StatelessSinkPartition
from pydantic import Field

from hearthwatch.record.thread_priority import lower_priority
from hearthwatch.record.thumbnail_drawing import SIZE, draw
from hearthwatch.record.thumbnails import path, write
from hearthwatch.schemas import Detected, Sink
from hearthwatch.schemas.context import THUMBNAILS_STOP_SECONDS_MAX, Context
from hearthwatch.schemas.items import has_failed, to_microseconds

log = logging.getLogger(__name__)

PIXELS_WAITING_MAX = 25_000_000  # x 4 bytes = 100 MB of decoded pictures: twelve of 1080p, half of the largest allowed


class Thumbnails(Sink):
    """One JPEG per frame with its boxes drawn, at `thumbnails/<date>/<frame id>_thumb.jpg` in the data dir."""

    accepts = Detected

    size: tuple[Annotated[int, Field(ge=160)], Annotated[int, Field(ge=120)]] = SIZE
    """Pixels, width × height; the picture is fitted inside and padded with black."""
    threads: Annotated[int, Field(ge=1, le=16)] = 2
    """How many pictures are drawn at once; one takes about 6 ms."""

    def label(self) -> str:
        return f"{self.size[0]} × {self.size[1]} JPEG"

    def build(self, context: Context) -> DynamicSink[Detected]:
        return _Sink(self, context)


class _Sink(DynamicSink[Detected]):
    def __init__(self, options: Thumbnails, context: Context) -> None:
        self.options, self.context = options, context

    def build(self, step_id: str, worker_index: int, worker_count: int) -> DrawingThreads:
        return DrawingThreads(self.options, self.context)


class DrawingThreads(StatelessSinkPartition[Detected]):
    """Threads that draw, and the pictures that wait for them, bounded in pixels."""

    def __init__(self, options: Thumbnails, context: Context) -> None:
        self.options, self.data_dir, self.timings = options, context.data_dir, context.timings
        self.left_out = 0
        self._waiting: deque[Detected] = deque()
        self._pixels = 0
        self._drawing = 0
        self._is_ending = self._fails = False
        self._condition = threading.Condition()
        for n in range(options.threads):  # daemons: a disk that hangs must not keep the process
            threading.Thread(target=self._run, name=f"thumbnails {n}", daemon=True).start()

    def write_batch(self, items: list[Detected]) -> None:
        self.enqueue([item for item in items if item.detections and not has_failed(item.error) and item.frame.opened])

    def enqueue(self, items: Sequence[Detected]) -> None:
        """Enqueue these unless too many wait already; returns at once."""
        with self._condition:
            for item in items:
                pixels = item.width * item.height
                if self._waiting and self._pixels + pixels > PIXELS_WAITING_MAX:
                    self._leave_out(1)
                else:
                    self._waiting.append(item)
                    self._pixels += pixels
            self._condition.notify(len(items))

    def close(self) -> None:
        """Draw what waits, for a bounded time."""
        deadline = time.monotonic() + THUMBNAILS_STOP_SECONDS_MAX
        with self._condition:
            self._is_ending = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._waiting and not self._drawing, deadline - time.monotonic())
            self._leave_out(len(self._waiting))
            self._waiting.clear()
        if self.left_out:
            log.info("%d thumbnails were left out; they are drawn when they are first viewed", self.left_out)

    def _leave_out(self, count: int) -> None:
        if count and not self.left_out:
            log.warning("thumbnails cannot keep up: some are drawn only when they are first viewed")
        self.left_out += count

    def _run(self) -> None:
        lower_priority()
        while (item := self._next()) is not None:
            try:
                self._draw(item)
            finally:
                with self._condition:
                    self._drawing -= 1
                    self._condition.notify_all()
            del item  # the picture, while this thread waits for the next one

    def _next(self) -> Detected | None:
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._is_ending)
            if not self._waiting:
                return None
            item = self._waiting.popleft()
            self._pixels -= item.width * item.height
            self._drawing += 1
            return item

    def _draw(self, item: Detected) -> None:
        frame = item.frame
        file = self.data_dir / path(frame.id, to_microseconds(frame.captured_at))
        began = time.perf_counter()
        try:
            write(file, draw(frame.picture(), item.detections, self.options.size))
            self.timings.add("draw", [time.perf_counter() - began])
            self._fails = False
        except OSError as error:
            if not self._fails:
                log.warning("%s: %s; thumbnails are left out until this is fixed", file, error.strerror or error)
            self._fails = True
        except Exception:  # a picture that cannot be drawn must not end the thread
            log.exception("%s could not be drawn", file)
