"""Keep a stage's steps on the worker that reads the cell: Bytewax sends what has a key to any worker, by a hash.

Where there are several cells, a step gets the items of its one cell in order, without a key and without a snapshot, and is called
at each poll of the cell's source, so that it can pass on what became ready. One cell alone keeps Bytewax's own stateful steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hearthwatch.schemas.context import PULSE_END

if TYPE_CHECKING:
    from bytewax.dataflow import Stream


def attach_here(
    step_id: str, up: Stream[Any], polls: Stream[str], take: Callable[[list[Any]], list[Any]], finish: Callable[[], list[Any]] = list
) -> Stream[Any]:  # fmt: skip
    """Add a step that calls `take` with items, with none at a poll of the source, and `finish` at its end."""
    import bytewax.operators as op

    def call(items: list[Any]) -> list[Any]:
        out = take([item for item in items if not isinstance(item, str)])
        return out + finish() if PULSE_END in [item for item in items if isinstance(item, str)] else out

    return op.flat_map_batch(step_id, op.merge(f"{step_id}_polled", up, polls), call)
