"""Run work on batches, a few of them in flight.

One item that fails costs only itself, and a batch that is too large for the memory becomes a smaller one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class BatchRunner(Generic[T, R]):
    """Call `submit(items)` and later `collect(ticket) -> results`, one for each item, with at most `size` items. Pure.

    Up to `in_flight` batches are submitted before the first is collected; results keep the order. A batch that raises
    is halved until the item that raises is alone: its exception takes the place of its result. Where `is_too_large`
    holds, the batch is tried again in halves and `size` stays there; a single item that is too large raises, because
    the machine lacks the memory. So does what `is_fatal`, after which no call can succeed.
    """

    def __init__(
        self,
        submit: Callable[[Sequence[T]], Any],
        collect: Callable[[Any], Sequence[R]],
        size: int,
        is_too_large: Callable[[Exception], bool] = lambda _: False,
        is_fatal: Callable[[Exception], bool] = lambda _: False,
        in_flight: int = 1,
    ) -> None:
        self.size, self.in_flight = size, in_flight
        self._submit, self._collect = submit, collect
        self._is_too_large, self._is_fatal = is_too_large, is_fatal

    def run(self, items: Sequence[T]) -> list[R | Exception]:
        """Return the results in order, an exception in place of each that failed."""
        results: list[R | Exception] = []
        in_flight: deque[tuple[Sequence[T], Callable[[], Sequence[R]]]] = deque()
        submitted = 0
        while submitted < len(items) or in_flight:
            while submitted < len(items) and len(in_flight) < self.in_flight:
                batch = items[submitted : submitted + self.size]  # `size` may shrink meanwhile
                in_flight.append((batch, self._start(batch)))
                submitted += len(batch)
            results += self._finish(*in_flight.popleft())
        return results

    def _start(self, items: Sequence[T]) -> Callable[[], Sequence[R]]:
        """Submit; return a function that returns the results or raises."""
        try:
            ticket = self._submit(items)
        except Exception as error:  # raised in its turn: the batches before it are not to blame
            return partial(_raise, error)
        return partial(self._collect, ticket)

    def _finish(self, items: Sequence[T], results: Callable[[], Sequence[R]]) -> list[R | Exception]:
        try:
            return list(results())
        except Exception as error:  # whatever the work raises: this is where the item that raises is found
            too_large = self._is_too_large(error)
            if self._is_fatal(error) or (too_large and len(items) == 1):
                raise
            if len(items) == 1:
                return [error]
        half = (len(items) + 1) // 2
        if too_large:
            self.size = min(self.size, half)
        first, rest = items[:half], items[half:]
        return self._finish(first, self._start(first)) + self._finish(rest, self._start(rest))


def _raise(error: Exception) -> NoReturn:
    raise error


def is_out_of_memory(error: Exception) -> bool:
    """Whether fewer pictures at a time might fit."""
    signs = ("allocate memory", "bad_alloc", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
    return _is_a(error, "OutOfMemoryError", "MemoryError") or any(sign in str(error) for sign in signs)


def is_device_lost(error: Exception) -> bool:
    """Whether every later call on this device fails in this process, so that no picture is to blame."""
    return _is_a(error, "AcceleratorError") or "CUDA error" in str(error)


def _is_a(error: Exception, *names: str) -> bool:
    """Compare by name: torch's errors without loading torch."""
    return any(kind.__name__ in names for kind in type(error).__mro__)
