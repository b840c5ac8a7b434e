"""Run a network by torch on batches of pictures, a few batches in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hearthwatch.gpu.decode import Pixels
from hearthwatch.gpu.model_families import Preparation
from hearthwatch.gpu.optimize import optimize
from hearthwatch.gpu.options import ON_CPU, DetectorSwitches
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
        notes.update(ON_CPU)
        if cuda:
            notes.update({name: "on" if on[name] else "off" for name in on}, in_flight=f"{self.in_flight}")
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
