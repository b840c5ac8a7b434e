"""Run a network on batches of pictures, a few batches in flight: `ModelRunner` on a device, `BatchRunner` around it.

One bad picture costs only itself, and a batch that is too large for the memory becomes a smaller one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hearthwatch.gpu.decode import Pixels
from hearthwatch.gpu.model_families import Preparation
from hearthwatch.gpu.optimize import optimize
from hearthwatch.gpu.options import DetectorSwitches
from hearthwatch.gpu.resize import DeviceUploader
from hearthwatch.gpu.streams import (
    BatchBuffers,
    BucketedForward,
    CpuStreams,
    CudaGraphs,
    CudaStreams,
    StreamExecutor,
    Streams,
    Ticket,
    bucket_size,
)

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
    signs = ("can't allocate memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in signs)


def is_device_lost(error: Exception) -> bool:
    """Whether every later call on this device fails in this process, so that no picture is to blame."""
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error)


class ModelRunner:
    """`submit(pictures)`, at most `batch_max` of them, and `collect(ticket) -> (n, k, 6)`: see `StreamExecutor`.

    `notes` gets a line for each switch: on, or off and why.
    """

    def __init__(
        self,
        detr: Any,
        preparation: Preparation,
        switches: DetectorSwitches,
        device: torch.device,
        batch_max: int,
        notes: dict[str, str],
    ) -> None:
        cuda = device.type == "cuda"
        if cuda:
            _configure_cudnn()
        self.network = optimize(detr, preparation, switches, device, notes)
        self.in_flight = max(1, switches.in_flight) if cuda else 1
        streams: Streams = CudaStreams(device) if cuda else CpuStreams()
        on = {name: cuda and getattr(switches, name) for name in ("graphs", "pinned", "device_resize")}
        notes.update({name: "on" if on[name] else "off" if cuda else "off: CUDA only" for name in on})
        notes["in_flight"] = f"{self.in_flight}" if cuda else "1: more on CUDA only"
        notes["compiled"] = "on" if switches.compiled else "off"
        rows = bucket_size(batch_max) if cuda or switches.compiled else batch_max
        self._device, self._shape = device, (preparation.height, preparation.width, 3)
        buffers = [
            BatchBuffers(torch.zeros((rows, *self._shape), dtype=torch.uint8, device=device))
            for _ in range(self.in_flight)
        ]
        compute = self._compute(switches, cuda, on["graphs"], buffers[0].pixels, streams, notes)
        self._upload = DeviceUploader(streams, device, on["pinned"], on["device_resize"])
        self._executor = StreamExecutor(self._upload, compute, streams, buffers, on["pinned"])

    def submit(self, pictures: Sequence[Pixels]) -> Ticket:
        return self._executor.submit(pictures)

    def collect(self, ticket: Ticket) -> NDArray[np.float32]:
        return self._executor.collect(ticket)

    def prepare(self, pictures: Sequence[Pixels]) -> Tensor:
        """Resize to (n, height, width, 3) uint8 on the device, as `network` takes it. For benchmarks of single steps."""
        pixels = torch.empty((len(pictures), *self._shape), dtype=torch.uint8, device=self._device)
        self._upload(pictures, pixels)
        return pixels

    def _compute(
        self,
        switches: DetectorSwitches,
        cuda: bool,
        graphs: bool,
        pixels: Tensor,
        streams: Streams,
        notes: dict[str, str],
    ) -> Callable[[Tensor, int], Tensor]:
        forward: Callable[[Tensor], Tensor] = torch.compile(self.network) if switches.compiled else self.network
        if graphs:
            try:
                with torch.inference_mode(), streams.computing():
                    return CudaGraphs(forward, pixels)
            except RuntimeError as error:  # out of memory is one of them
                notes["graphs"] = f"off: {type(error).__name__}: {str(error).splitlines()[0]}"
        if cuda or switches.compiled:
            return BucketedForward(forward)
        return lambda rows, count: forward(rows[:count])


def _configure_cudnn() -> None:
    """Make float32 mean float32, and let cuDNN choose the fastest kernels for each batch size."""
    torch.backends.cudnn.allow_tf32 = False  # by its parts, `conv` and `rnn`, torch.compile could not read it any more
    torch.backends.cudnn.benchmark = True
