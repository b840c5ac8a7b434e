"""Resize pictures on an NVIDIA card in one kernel, with the same whole numbers as `hearthwatch.gpu.resize`.

Importing this file needs Triton, which comes with torch for CUDA. Each output pixel sums its taps along the line, rounds to
a byte as Pillow does, and sums these bytes down the column: nothing but the result is written to memory.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 128  # output pixels of a line that one program computes


@triton.jit  # type: ignore[untyped-decorator]
def _resize(  # type: ignore[no-untyped-def]
    source, result, at_x, weight_x, at_y, weight_y, height, width, height_out, width_out,
    channels: tl.constexpr, taps_x: tl.constexpr, taps_y: tl.constexpr, bits: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    picture, y = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x = tl.program_id(2) * block + tl.arange(0, block)
    inside = x < width_out
    half: tl.constexpr = 1 << (bits - 1)
    for channel in tl.static_range(3):
        total = tl.zeros([block], tl.int32)
        for j in range(taps_y):
            row = tl.load(at_y + j * height_out + y)
            down = tl.load(weight_y + j * height_out + y)
            line = source + ((picture * height + row) * width) * channels + channel
            across = tl.zeros([block], tl.int32)
            for i in tl.static_range(taps_x):
                at = tl.load(at_x + i * width_out + x, mask=inside, other=0)
                weight = tl.load(weight_x + i * width_out + x, mask=inside, other=0)
                across += tl.load(line + at * channels, mask=inside, other=0).to(tl.int32) * weight
            total += tl.minimum(tl.maximum((across + half) >> bits, 0), 255) * down
        total = tl.minimum(tl.maximum((total + half) >> bits, 0), 255)
        tl.store(result + ((picture * height_out + y) * width_out + x) * 3 + channel, total.to(tl.uint8), mask=inside)


def resize_in_one_kernel(
    pixels: Tensor, across: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor], bits: int
) -> Tensor:
    """Resize (n, h, w, channels) uint8 to (n, height, width, 3); `across` and `down` are (places, weights), int32, (taps, size)."""
    n, h, w, channels = pixels.shape
    height, width = down[0].shape[1], across[0].shape[1]
    result = torch.empty((n, height, width, 3), dtype=torch.uint8, device=pixels.device)
    _resize[n, height, triton.cdiv(width, BLOCK)](
        pixels, result, *across, *down, h, w, height, width, channels, len(across[0]), len(down[0]), bits, BLOCK
    )
    return result
