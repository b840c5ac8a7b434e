"""Run batches, some at a time, so that one bad item costs itself only and a batch too large becomes a smaller one. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batches(Generic[T, R]):
    """Calls `submit(items)` and later `collect(what it returned) -> results`, one for each, with at most `size` items.

    Up to `in_flight` batches are submitted before the first is collected; results keep the order. A batch that raises
    is halved until the culprit stands alone: its exception takes the place of its result. Where `is_too_large` says so,
    the batch is tried again in halves and `size` stays there; a single item that is too large raises, for then it is
    the machine that has no room. So does what `is_fatal`, after which no call can succeed.
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
        """The results in order, an exception in place of each that could not be had."""
        results: list[R | Exception] = []
        flying: deque[tuple[Sequence[T], Callable[[], Sequence[R]]]] = deque()
        begun = 0
        while begun < len(items) or flying:
            while begun < len(items) and len(flying) < self.in_flight:
                batch = items[begun : begun + self.size]  # `size` may shrink on the way
                flying.append((batch, self._begin(batch)))
                begun += len(batch)
            results += self._end(*flying.popleft())
        return results

    def _begin(self, items: Sequence[T]) -> Callable[[], Sequence[R]]:
        """Submit; what is returned gives the results, or raises what kept them away, when it is called."""
        try:
            ticket = self._submit(items)
        except Exception as error:  # said when its turn has come: the batches before it are not to blame
            return partial(_raise, error)
        return partial(self._collect, ticket)

    def _end(self, items: Sequence[T], results: Callable[[], Sequence[R]]) -> list[R | Exception]:
        try:
            return list(results())
        except Exception as error:  # whatever the work raises: this is the place that finds out which item did it
            too_large = self._is_too_large(error)
            if self._is_fatal(error) or (too_large and len(items) == 1):
                raise
            if len(items) == 1:
                return [error]
        half = (len(items) + 1) // 2
        if too_large:
            self.size = min(self.size, half)
        first, rest = items[:half], items[half:]
        return self._end(first, self._begin(first)) + self._end(rest, self._begin(rest))


def _raise(error: Exception) -> NoReturn:
    raise error
