"""Detect on threads apart, one for each detector, for any number of callers: pictures of all of them share batches.

What waits when a batch is done is the next batch, in order of arrival: a lone picture waits for nothing, many fill the
batches and are shared out to the detectors. `submit` never blocks; its caller limits how many wait.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from hearthwatch.gpu import DetectorError, StoppedError
from hearthwatch.gpu.detector import Detector, InferenceResult

if TYPE_CHECKING:
    from hearthwatch.gpu.decode import DecodedPicture


class BatchQueue:
    """Pictures that wait for one of these detectors, which see the same."""

    def __init__(self, detectors: Sequence[Detector], on_failure: Callable[[], None] = lambda: None) -> None:
        """`on_failure` is called, on a thread of this object, when a detector cannot continue: none does then."""
        self.failure: DetectorError | None = None
        self.pictures = self.batches = 0
        self.detectors, self._on_failure = detectors, on_failure
        self._waiting: deque[tuple[DecodedPicture, Future[InferenceResult]]] = deque()
        self._changed, self._stopped = threading.Condition(), False
        self._threads = [
            threading.Thread(target=self._run, args=(one,), name=f"detector_{n}", daemon=True)
            for n, one in enumerate(detectors)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, decoded: DecodedPicture) -> Future[InferenceResult]:
        """Queue a picture. Its future may be cancelled; it raises StoppedError if `stop` comes first, `failure` if the detector fails."""
        return self.submit_all([decoded])[0]

    def submit_all(self, pictures: Sequence[DecodedPicture]) -> list[Future[InferenceResult]]:
        """Queue these together: the next batch has all of them, as far as they fit."""
        futures: list[Future[InferenceResult]] = [Future() for _ in pictures]
        with self._changed:
            if not (self.failure or self._stopped):
                self._waiting.extend(zip(pictures, futures, strict=True))
                self._changed.notify_all()
                return futures
        for future in futures:
            future.set_exception(self.failure or StoppedError("the detector is stopped"))
        return futures

    def stop(self) -> None:
        """End: what waits is not processed, the batch that is being processed is. Fit for a signal handler."""
        with self._changed:  # an RLock: the thread that a signal interrupts may hold it
            self._stopped = True
            self._changed.notify_all()

    def join(self, seconds: float) -> bool:
        """Wait so long for the batches that are being processed; return whether all threads have ended."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, detector: Detector) -> None:
        while batch := self._next_batch(detector):
            try:
                found = detector.infer([decoded for decoded, _ in batch])
            except Exception as error:  # whatever it is, this thread ends, and callers would wait for ever
                self.failure = error if isinstance(error, DetectorError) else DetectorError(f"detector: {error!r}")
                self.stop()
                for _, future in batch:
                    future.set_exception(self.failure)
                self._on_failure()
                break
            with self._changed:
                self.pictures, self.batches = self.pictures + len(batch), self.batches + 1
            for (_, future), one in zip(batch, found, strict=True):
                future.set_result(one)
        with self._changed:
            for _, future in self._waiting:
                if future.set_running_or_notify_cancel():
                    future.set_exception(self.failure or StoppedError("the detector is stopped"))
            self._waiting.clear()

    def _next_batch(self, detector: Detector) -> list[tuple[DecodedPicture, Future[InferenceResult]]]:
        """Wait for pictures and take what keeps this detector busy, of many its share; none: stopped."""
        batch: list[tuple[DecodedPicture, Future[InferenceResult]]] = []
        with self._changed:
            while not batch and not self._stopped:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                share = -(-len(self._waiting) // len(self.detectors))
                limit = min(detector.at_once, max(detector.batch_max, share))
                while self._waiting and len(batch) < limit and not self._stopped:
                    one = self._waiting.popleft()
                    if one[1].set_running_or_notify_cancel():  # its client may have hung up
                        batch.append(one)
        return batch
