"""Keep batches in flight on a device: while one is computed, the next is uploaded and the one before it downloaded.

`StreamExecutor.submit` waits for a free set of buffers only, `collect` for that batch alone. On a CPU the same code
runs with streams that do everything at once. Networks are run for a few batch sizes only (`BUCKETS`), on CUDA as one
captured graph each. One thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hearthwatch.gpu.decode import Pixels
from hearthwatch.gpu.options import BUCKETS

WARM_UPS = 3  # torch's advice: libraries choose their kernels and allocate before anything is captured


class StreamEvent(Protocol):
    """A point in a stream's work."""

    def synchronize(self) -> None: ...


class Streams(Protocol):
    """Two streams, one for uploads and one for the rest, that may overlap."""

    def uploading(self) -> AbstractContextManager[Any]: ...
    def computing(self) -> AbstractContextManager[Any]: ...
    def record_event(self) -> StreamEvent: ...
    def wait_event(self, event: StreamEvent) -> None: ...


class CpuStreams:
    """A CPU: work is done when the call returns."""

    def uploading(self) -> AbstractContextManager[Any]:
        return nullcontext()

    computing = uploading

    def record_event(self) -> StreamEvent:
        return self

    def wait_event(self, event: StreamEvent) -> None: ...

    def synchronize(self) -> None: ...


class CudaStreams:
    """Two CUDA streams."""

    def __init__(self, device: torch.device) -> None:
        self._upload, self._compute = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]

    def uploading(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._upload)

    def computing(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._compute)

    def record_event(self) -> StreamEvent:
        event: StreamEvent = torch.cuda.current_stream().record_event()
        return event

    def wait_event(self, event: Any) -> None:
        torch.cuda.current_stream().wait_event(event)


@dataclass
class BatchBuffers:
    """Memory of one batch in flight."""

    pixels: Tensor
    """(rows, height, width, 3) uint8 on the device"""
    output: Tensor | None = None
    """(rows, k, 6) float32 on the host, page-locked where that helps"""
    done: StreamEvent = field(default_factory=CpuStreams)


class Ticket(NamedTuple):
    """A submitted batch."""

    buffers: BatchBuffers
    rows: int


class StreamExecutor:
    """`submit(pictures) -> ticket`, `collect(ticket) -> (n, k, 6)` on the host; one batch in flight for each `buffers`."""

    def __init__(
        self,
        upload: Callable[[Sequence[Pixels], Tensor], None],
        compute: Callable[[Tensor, int], Tensor],
        streams: Streams,
        buffers: Sequence[BatchBuffers],
        pinned: bool,
    ) -> None:
        """`upload(pictures, pixels)` fills the first rows; `compute(pixels, count) -> (count, k, 6)` on the device."""
        self._upload, self._compute, self._streams = upload, compute, streams
        self._free, self._pinned = list(buffers), pinned

    def submit(self, pictures: Sequence[Pixels]) -> Ticket:
        buffers, count = self._free.pop(), len(pictures)
        try:
            with torch.inference_mode():
                with self._streams.uploading():
                    self._upload(pictures, buffers.pixels)
                    uploaded = self._streams.record_event()
                with self._streams.computing():
                    self._streams.wait_event(uploaded)
                    self._download(self._compute(buffers.pixels, count), buffers)
                    buffers.done = self._streams.record_event()
        except BaseException:
            self._free.append(buffers)
            raise
        return Ticket(buffers, count)

    def collect(self, ticket: Ticket) -> NDArray[np.float32]:
        try:
            ticket.buffers.done.synchronize()
            assert ticket.buffers.output is not None
            return ticket.buffers.output[: ticket.rows].numpy().copy()
        finally:
            self._free.append(ticket.buffers)

    def _download(self, found: Tensor, buffers: BatchBuffers) -> None:
        if buffers.output is None:
            rows = (len(buffers.pixels), *found.shape[1:])
            buffers.output = torch.empty(rows, dtype=torch.float32, pin_memory=self._pinned)
        buffers.output[: len(found)].copy_(found, non_blocking=True)


def bucket_size(count: int) -> int:
    """Return the batch size that is computed for so many pictures; beyond the largest bucket, `count`."""
    return next((size for size in BUCKETS if size >= count), count)


class BucketedForward:
    """`compute(pixels, count)`: run the first `count` rows of `pixels`, which has at least `bucket_size(count)`.

    Rows beyond `count` are computed and dropped.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        self._forward = forward

    def __call__(self, pixels: Tensor, count: int) -> Tensor:
        return self._forward(pixels[: bucket_size(count)])[:count]


class CudaGraphs:
    """The same by captured graphs, each of which starts hundreds of kernels with one call.

    A graph reads from and writes to memory of the graph, so calls must follow each other on one stream, and an output
    must be copied before the next call.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor], pixels: Tensor) -> None:
        """Capture a graph for each bucket that `pixels`, an example on the device, has rows for. Raise if it fails."""
        self._eager, self._pixels = BucketedForward(forward), pixels.clone()
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        memory = None
        for size in sorted((size for size in BUCKETS if size <= len(pixels)), reverse=True):  # all share the largest's
            graph, rows = torch.cuda.CUDAGraph(), self._pixels[:size]
            for _ in range(WARM_UPS):
                forward(rows)
            torch.cuda.current_stream().synchronize()
            with torch.cuda.graph(graph, pool=memory, stream=torch.cuda.current_stream()):
                found = forward(rows)
            memory = graph.pool()
            self._graphs[size] = graph, found

    def __call__(self, pixels: Tensor, count: int) -> Tensor:
        size = bucket_size(count)
        if size not in self._graphs:
            return self._eager(pixels, count)
        graph, found = self._graphs[size]
        self._pixels[:size].copy_(pixels[:size])
        graph.replay()
        return found[:count]
