"""Batches in flight: while one is computed the next is uploaded and the one before it is answered.

A lane is what one batch needs: its resized pictures on the device, and room for its answer. `submit` waits for nothing
but a lane; `collect` waits for that batch alone. On a CPU the same code runs with streams that do everything at once.
One thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


class Mark(Protocol):
    """A point in a stream's work."""

    def synchronize(self) -> None: ...


class Streams(Protocol):
    """Two orders of work, one for uploads and one for the rest, that may overlap."""

    def uploading(self) -> AbstractContextManager[Any]: ...
    def computing(self) -> AbstractContextManager[Any]: ...
    def mark(self) -> Mark: ...
    def after(self, mark: Mark) -> None: ...


class AtOnce:
    """A CPU: whatever was asked is done when the call returns."""

    def uploading(self) -> AbstractContextManager[Any]:
        return nullcontext()

    computing = uploading

    def mark(self) -> Mark:
        return self

    def after(self, mark: Mark) -> None: ...

    def synchronize(self) -> None: ...


class Cuda:
    """Two CUDA streams. Never run on a GPU yet."""

    def __init__(self, device: torch.device) -> None:
        self._upload, self._compute = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]

    def uploading(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._upload)

    def computing(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._compute)

    def mark(self) -> Mark:
        event: Mark = torch.cuda.current_stream().record_event()
        return event

    def after(self, mark: Any) -> None:
        torch.cuda.current_stream().wait_event(mark)


@dataclass
class Lane:
    pixels: Tensor
    """(rows, height, width, 3) uint8 on the device"""
    answer: Tensor | None = None
    """(rows, k, 6) float32 on the host, page-locked where that helps"""
    done: Mark = field(default_factory=AtOnce)


class Ticket(NamedTuple):
    lane: Lane
    rows: int


class Lanes:
    """`submit(pictures) -> ticket`, `collect(ticket) -> (n, k, 6)` on the host. As many at a time as there are lanes."""

    def __init__(
        self,
        upload: Callable[[Sequence[Image.Image], Tensor], None],
        compute: Callable[[Tensor, int], Tensor],
        streams: Streams,
        lanes: Sequence[Lane],
        pinned: bool,
    ) -> None:
        """`upload(pictures, pixels)` fills the first rows; `compute(pixels, count) -> (count, k, 6)` on the device."""
        self._upload, self._compute, self._streams = upload, compute, streams
        self._free, self._pinned = list(lanes), pinned

    def submit(self, pictures: Sequence[Image.Image]) -> Ticket:
        lane, count = self._free.pop(), len(pictures)
        try:
            with torch.inference_mode():
                with self._streams.uploading():
                    self._upload(pictures, lane.pixels)
                    uploaded = self._streams.mark()
                with self._streams.computing():
                    self._streams.after(uploaded)
                    self._answer(lane, self._compute(lane.pixels, count))
                    lane.done = self._streams.mark()
        except BaseException:
            self._free.append(lane)
            raise
        return Ticket(lane, count)

    def collect(self, ticket: Ticket) -> NDArray[np.float32]:
        try:
            ticket.lane.done.synchronize()
            assert ticket.lane.answer is not None
            return ticket.lane.answer[: ticket.rows].numpy().copy()
        finally:
            self._free.append(ticket.lane)

    def _answer(self, lane: Lane, found: Tensor) -> None:
        if lane.answer is None:
            rows = (len(lane.pixels), *found.shape[1:])
            lane.answer = torch.empty(rows, dtype=torch.float32, pin_memory=self._pinned)
        lane.answer[: len(found)].copy_(found, non_blocking=True)
