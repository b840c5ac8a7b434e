"""The chosen network on its device, and what leads to it and from it: pictures in, every candidate out.

`notes` gets a line for each switch: on, or off and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hearthwatch.gpu.device import settle
from hearthwatch.gpu.graphs import Buckets, Graphs, bucket
from hearthwatch.gpu.loading import Preparation
from hearthwatch.gpu.optimize import network
from hearthwatch.gpu.options import Options
from hearthwatch.gpu.streams import AtOnce, Cuda, Lane, Lanes, Streams, Ticket
from hearthwatch.gpu.upload import Upload


class Runner:
    """`submit(pictures)`, at most `batch_max` of them, and `collect(ticket) -> (n, k, 6)`: see `Lanes`."""

    def __init__(
        self,
        detr: Any,
        preparation: Preparation,
        options: Options,
        device: torch.device,
        batch_max: int,
        notes: dict[str, str],
    ) -> None:
        cuda = device.type == "cuda"
        if cuda:
            settle()
        self.network = network(detr, preparation, options, device, notes)
        self.in_flight = max(1, options.in_flight) if cuda else 1
        streams: Streams = Cuda(device) if cuda else AtOnce()
        on = {name: cuda and getattr(options, name) for name in ("graphs", "pinned", "device_resize")}
        notes.update({name: "on" if on[name] else "off" if cuda else "off: CUDA only" for name in on})
        notes["in_flight"] = f"{self.in_flight}" if cuda else "1: a CPU does one thing at a time"
        notes["compiled"] = "on" if options.compiled else "off"
        rows = bucket(batch_max) if cuda or options.compiled else batch_max
        self._device, self._shape = device, (preparation.height, preparation.width, 3)
        lanes = [
            Lane(torch.zeros((rows, *self._shape), dtype=torch.uint8, device=device)) for _ in range(self.in_flight)
        ]
        compute = self._compute(options, cuda, on["graphs"], lanes[0].pixels, streams, notes)
        self._upload = Upload(streams, device, on["pinned"], on["device_resize"])
        self._lanes = Lanes(self._upload, compute, streams, lanes, on["pinned"])

    def submit(self, pictures: Sequence[Image.Image]) -> Ticket:
        return self._lanes.submit(pictures)

    def collect(self, ticket: Ticket) -> NDArray[np.float32]:
        return self._lanes.collect(ticket)

    def prepared(self, pictures: Sequence[Image.Image]) -> Tensor:
        """(n, height, width, 3) uint8 on the device: what `network` takes. For whoever times the steps alone."""
        pixels = torch.empty((len(pictures), *self._shape), dtype=torch.uint8, device=self._device)
        self._upload(pictures, pixels)
        return pixels

    def _compute(
        self, options: Options, cuda: bool, graphs: bool, pixels: Tensor, streams: Streams, notes: dict[str, str]
    ) -> Callable[[Tensor, int], Tensor]:
        forward: Callable[[Tensor], Tensor] = torch.compile(self.network) if options.compiled else self.network
        if graphs:
            try:
                with torch.inference_mode(), streams.computing():
                    return Graphs(forward, pixels)
            except RuntimeError as error:  # out of memory is one of them
                notes["graphs"] = f"off: {type(error).__name__}: {str(error).splitlines()[0]}"
        if cuda or options.compiled:
            return Buckets(forward)
        return lambda rows, count: forward(rows[:count])
