"""The detector's switches: each optimization can be turned off. One that would change boxes on this machine stays off.

`Detector.details()` reports which are on, and why one is off. Pure: importing this loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

BUCKETS = (1, 2, 4, 8, 16, 32, 64)  # batch sizes that are computed; a batch is filled up to the next of them

Precision = Literal["auto", "float32", "float16", "bfloat16"]
Runtime = Literal["auto", "torch", "openvino"]


ON_CPU = {
    **dict.fromkeys(("graphs", "pinned", "device_resize"), "off: CUDA only"),
    "in_flight": "1: more on CUDA only",
    "compiled": "off",
}
"""`details()` of switches that do nothing on a CPU."""


@dataclass(frozen=True, slots=True)
class DetectorSwitches:
    """Optimizations that a `Detector` may use. What a device cannot do is off there, whatever this says."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # a misspelt switch in a flow file is an error

    folded: bool = True
    """BatchNorm and RepVGG folded into their convolutions."""
    trimmed: bool = True
    """Skip what training needs and no box depends on."""
    channels_last: bool = True
    """Channels-last memory layout of convolutions."""
    precision: Precision = "auto"
    """Of the weights. `auto`: on CUDA the first of float16 and bfloat16 that keeps the boxes, else float32; on a CPU float32."""
    compiled: bool = False
    """`torch.compile`: a minute or more at each start, and a C++ compiler."""
    graphs: bool = True
    """CUDA graphs: each batch size of `BUCKETS` is captured once and then launched with one call."""
    in_flight: int = 3
    """CUDA: batches in flight at a time; 1: each waits for the one before it."""
    pinned: bool = True
    """CUDA: pictures are uploaded from page-locked memory, so that uploads overlap with computing."""
    device_resize: bool = True
    """CUDA: whole pictures are uploaded and resized there, bit for bit as Pillow does it."""
