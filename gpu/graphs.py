"""Run a function of (rows, ...) tensors for a few batch sizes only, on CUDA as one captured graph each.

A batch is filled up to the next size of `BUCKETS`; what the rows beyond it hold is computed and left out. A captured
graph starts hundreds of kernels with one call. It reads from and writes to memory of its own, so graphs must follow
each other on one stream, and an answer must be copied before the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from hearthwatch.gpu.options import BUCKETS

log = logging.getLogger(__name__)

WARM_UPS = 3  # torch's advice: libraries choose their kernels and allocate before anything is captured


def bucket(count: int) -> int:
    """The batch size that is computed for so many pictures; beyond the largest bucket their own."""
    return next((size for size in BUCKETS if size >= count), count)


class Buckets:
    """`compute(pixels, count)`: the first `count` rows of `pixels`, which has at least `bucket(count)`."""

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        self._forward = forward

    def __call__(self, pixels: Tensor, count: int) -> Tensor:
        return self._forward(pixels[: bucket(count)])[:count]


class Graphs:
    """The same by captured graphs. Never run on a GPU yet."""

    def __init__(self, forward: Callable[[Tensor], Tensor], pixels: Tensor) -> None:
        """Captures a graph for each bucket that `pixels`, an example on the device, has rows for. Raises if it cannot."""
        self._eager, self._pixels = Buckets(forward), pixels.clone()
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        memory = None
        for size in reversed(
            [size for size in BUCKETS if size <= len(pixels)]
        ):  # the largest first: all share its memory
            graph, rows = torch.cuda.CUDAGraph(), self._pixels[:size]
            for _ in range(WARM_UPS):
                forward(rows)
            torch.cuda.current_stream().synchronize()
            with torch.cuda.graph(graph, pool=memory, stream=torch.cuda.current_stream()):
                found = forward(rows)
            memory = graph.pool()
            self._graphs[size] = graph, found

    def __call__(self, pixels: Tensor, count: int) -> Tensor:
        size = bucket(count)
        if size not in self._graphs:
            return self._eager(pixels, count)
        graph, found = self._graphs[size]
        self._pixels[:size].copy_(pixels[:size])
        graph.replay()
        return found[:count]
