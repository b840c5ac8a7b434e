"""Run batches so that one bad item costs itself only, and a batch too large for the memory becomes a smaller one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batches(Generic[T, R]):
    """Calls `work(items) -> results`, one result for each, with at most `size` items.

    A batch that raises is halved until the culprit stands alone: its exception takes the place of its result. Where
    `is_too_large` says so, the batch is tried again in halves and `size` stays there; a single item that is too large
    raises, for then it is the machine that has no room. So does what `is_fatal`, after which no call can succeed.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Sequence[R]],
        size: int,
        is_too_large: Callable[[Exception], bool] = lambda _: False,
        is_fatal: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        self.size = size
        self._work, self._is_too_large, self._is_fatal = work, is_too_large, is_fatal

    def run(self, items: Sequence[T]) -> list[R | Exception]:
        """The results in order, an exception in place of each that could not be had."""
        results: list[R | Exception] = []
        while len(results) < len(items):  # `size` may shrink on the way
            results += self._attempt(items[len(results) : len(results) + self.size])
        return results

    def _attempt(self, items: Sequence[T]) -> list[R | Exception]:
        try:
            return list(self._work(items))
        except Exception as error:  # whatever the work raises: this is the place that finds out which item did it
            too_large = self._is_too_large(error)
            if self._is_fatal(error) or (too_large and len(items) == 1):
                raise
            if len(items) == 1:
                return [error]
        half = (len(items) + 1) // 2
        if too_large:
            self.size = min(self.size, half)
        return self._attempt(items[:half]) + self._attempt(items[half:])
