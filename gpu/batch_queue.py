"""Detect for several callers at a time: pictures of all of them share batches.

What waits when a batch is done is the next batch, in order of arrival: a lone picture waits for nothing, many fill the
batches. One thread detects. `submit` never blocks; its caller limits how many wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from hearthwatch.gpu import DetectorError, StoppedError
from hearthwatch.gpu.detector import Detector, InferenceResult

if TYPE_CHECKING:
    from hearthwatch.gpu.decode import DecodedPicture


class BatchQueue:
    """Pictures that wait for this detector."""

    def __init__(self, detector: Detector, on_failure: Callable[[], None]) -> None:
        """`on_failure` is called, on a thread of this object, when the detector cannot continue."""
        self.failure: DetectorError | None = None
        self.pictures = self.batches = 0
        self._detector, self._on_failure = detector, on_failure
        self._waiting: deque[tuple[DecodedPicture, Future[InferenceResult]]] = deque()
        self._changed, self._stopped = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    def submit(self, decoded: DecodedPicture) -> Future[InferenceResult]:
        """Queue a picture. Its future may be cancelled; it raises StoppedError if `stop` comes first, `failure` if the detector fails."""
        future: Future[InferenceResult] = Future()
        with self._changed:
            if self.failure or self._stopped:
                future.set_exception(self.failure or StoppedError("the detector is stopped"))
            else:
                self._waiting.append((decoded, future))
                self._changed.notify()
        return future

    def stop(self) -> None:
        """End: what waits is not processed, the batch that is being processed is. Fit for a signal handler."""
        with self._changed:  # an RLock: the thread that a signal interrupts may hold it
            self._stopped = True
            self._changed.notify()

    def join(self, seconds: float) -> None:
        """Wait so long for the batch that is being processed."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                found = self._detector.infer([decoded for decoded, _ in batch])
            except Exception as error:  # whatever it is, this thread ends, and callers would wait for ever
                self.failure = error if isinstance(error, DetectorError) else DetectorError(f"detector: {error!r}")
                for _, future in batch:
                    future.set_exception(self.failure)
                break
            self.pictures, self.batches = self.pictures + len(batch), self.batches + 1
            for (_, future), one in zip(batch, found, strict=True):
                future.set_result(one)
        with self._changed:
            for _, future in self._waiting:
                if future.set_running_or_notify_cancel():
                    future.set_exception(self.failure or StoppedError("the detector is stopped"))
            self._waiting.clear()
        if self.failure:
            self._on_failure()

    def _next_batch(self) -> list[tuple[DecodedPicture, Future[InferenceResult]]]:
        """Wait for pictures and take up to a batch of them; none: stopped."""
        batch: list[tuple[DecodedPicture, Future[InferenceResult]]] = []
        with self._changed:
            while not batch and not self._stopped:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                while self._waiting and len(batch) < self._detector.batch_max and not self._stopped:
                    one = self._waiting.popleft()
                    if one[1].set_running_or_notify_cancel():  # its client may have hung up
                        batch.append(one)
        return batch
