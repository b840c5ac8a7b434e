"""The detector's switches: each trick that makes it faster can be turned off. None of them changes boxes unseen.

`Detector.describe()` and `Detector.details()` say which are on, and why one is off. Pure: importing this loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

BUCKETS = (1, 2, 4, 8, 16, 32, 64)  # batch sizes with a graph of their own; a batch is filled up to the next of them

Precision = Literal["auto", "float32", "float16", "bfloat16"]


@dataclass(frozen=True, slots=True)
class DetectorSwitches:
    """What a `Detector` may do to be fast. What a device cannot do is off there, whatever this says."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # a misspelt switch in a flow file is a mistake, not a silence

    folded: bool = True
    """BatchNorm and RepVGG folded into their convolutions."""
    trimmed: bool = True
    """Left out: what training needs and no box depends on."""
    channels_last: bool = True
    """Convolutions see the channels of a pixel beside each other."""
    precision: Precision = "auto"
    """Of the weights. `auto`: on CUDA the first of float16 and bfloat16 that keeps the boxes, else and on a CPU float32."""
    compiled: bool = False
    """`torch.compile`: a minute or more at each start, and a C++ compiler."""
    graphs: bool = True
    """CUDA: each batch size of `BUCKETS` is captured once and then started as a whole."""
    in_flight: int = 3
    """CUDA: batches between upload and answer at a time; 1: each waits for the one before it."""
    pinned: bool = True
    """CUDA: pictures are uploaded from page-locked memory, so that computing goes on meanwhile."""
    device_resize: bool = True
    """CUDA: whole pictures are uploaded and resized there, bit for bit as Pillow does it."""
