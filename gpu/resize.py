"""Resize pictures to the model's input and upload them, bit for bit as Pillow's `Image.resize(size, BILINEAR)` does.

Either Pillow resizes and small pictures are uploaded, or whole ones are and the device resizes. Pillow weighs
neighbours with whole numbers (22 bits behind the point) along each line, rounds to bytes, and does the same down each
column; the same sums give the same bytes. A float `interpolate` differs by one level in 0.2 % of the pixels, which moves
scores of the yard model by up to 0.03. Which of the two comes first depends on the size and on Pillow's version, so each
way is compared with Pillow once for each size: one Triton kernel, else torch's functions in both orders (8 to 17 times
slower on an H100). On a CPU this is 4 to 10 times slower than Pillow.

Reads: Pillow, src/libImaging/Resample.c: `precompute_coeffs`, `normalize_coeffs_8bpc`, `ImagingResampleHorizontal_8bpc`.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hearthwatch.gpu.decode import Pixels, size_of
from hearthwatch.gpu.streams import CpuStreams, StreamEvent, Streams

PRECISION_BITS = 32 - 8 - 2  # Pillow's: a byte times a weight fits an int32, with two bits to spare
SIZES_MAX = 64  # sizes of pictures remembered: weights of a few kB each
BLOCK_BYTES = 32 * 1024 * 1024  # three 4K pictures or 26 resized ones: large enough for a bus to reach its speed
BLOCKS = 4  # 128 MB page-locked: one being filled, one on the bus, and two so that neither waits

Order = tuple[int, ...]
"""(1, 2): columns first, then lines; (2, 1): lines first. Dimensions of (n, height, width, channels). (): in one kernel."""


class DeviceUploader:
    """`upload(pictures, pixels)`: resize into the first rows of (rows, height, width, 3) uint8 on the device.

    Copies pass through a few blocks of memory, page-locked where that helps, so that they overlap with computing.
    """

    def __init__(self, streams: Streams, device: torch.device, pinned: bool, on_device: bool) -> None:
        self.on_device, self._device, self._streams = on_device, device, streams
        self._blocks = [torch.empty(BLOCK_BYTES, dtype=torch.uint8, pin_memory=pinned) for _ in range(BLOCKS)]
        self._free: list[StreamEvent] = [CpuStreams()] * BLOCKS
        self._next = 0

    def __call__(self, pictures: Sequence[Pixels], pixels: Tensor) -> None:
        height, width = pixels.shape[1:3]
        arrays = [
            pixel_array(one) if self._resizes_on_device(one, height, width) else resize_on_cpu(one, height, width)
            for one in pictures
        ]
        for numbers in _groups(arrays):
            moved = self._to_device([arrays[number] for number in numbers])
            if moved.shape[1:3] != (height, width):
                moved = resize(moved, height, width)
            for number, row in zip(numbers, moved, strict=True):
                pixels[number].copy_(row[..., :3], non_blocking=True)

    def _resizes_on_device(self, picture: Pixels, height: int, width: int) -> bool:
        w, h = size_of(picture)
        return self.on_device and can_resize(h, w, height, width, self._device)

    def _to_device(self, arrays: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Copy to (n, h, w, channels) on the device; the copy may still run when this returns."""
        shape = (len(arrays), *arrays[0].shape)
        size = int(np.prod(shape))
        if size > BLOCK_BYTES:  # a picture of 8 megapixels and more: alone, without page-locked memory
            return torch.from_numpy(np.stack(arrays)).to(self._device)
        self._next = (self._next + 1) % BLOCKS
        self._free[self._next].synchronize()
        host = self._blocks[self._next][:size].view(shape)
        for room, array in zip(host, arrays, strict=True):
            np.copyto(room.numpy(), array)  # torch's threads would wait for those that decode: 8 ms instead of 0.8
        moved = host.to(self._device, non_blocking=True)
        self._free[self._next] = self._streams.record_event()
        return moved


def _groups(arrays: Sequence[NDArray[np.uint8]]) -> Iterator[list[int]]:
    """Yield the numbers of arrays of one shape that share a block."""
    shapes: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, array in enumerate(arrays):
        shapes[array.shape].append(number)
    for shape, numbers in shapes.items():
        many = max(1, BLOCK_BYTES // int(np.prod(shape)))
        yield from (numbers[at : at + many] for at in range(0, len(numbers), many))


def resize_on_cpu(picture: Pixels, height: int, width: int) -> NDArray[np.uint8]:
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def pixel_array(picture: Pixels) -> NDArray[np.uint8]:
    """Pixels as (h, w, 3 or 4); without a copy where Pillow (11.2 and later) exports its memory, of 4 bytes a pixel."""
    if not isinstance(picture, Image.Image):
        return picture
    import pyarrow as pa

    if hasattr(picture, "__arrow_c_array__") and picture.mode == "RGB":
        try:
            flat: NDArray[np.uint8] = pa.array(picture).flatten().to_numpy(zero_copy_only=True)
            return flat.reshape(picture.height, picture.width, 4)
        except ValueError:  # a large picture lies in several pieces
            pass
    return np.asarray(picture)


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """Resize (n, h, w, channels) uint8 to (n, height, width, channels) on the same device. Call `can_resize` first."""
    order = _order(pixels.shape[1], pixels.shape[2], height, width, pixels.device)
    assert order is not None, "Pillow resizes this size in another way"
    return _resample_both(pixels, height, width, order)


def can_resize(h: int, w: int, height: int, width: int, device: torch.device) -> bool:
    """Whether `resize` gives Pillow's bytes for this size, on this device; measured once, on noise."""
    return _order(h, w, height, width, device) is not None


@lru_cache(maxsize=SIZES_MAX)
def _order(h: int, w: int, height: int, width: int, device: torch.device) -> Order | None:
    noise = np.random.default_rng(0).integers(0, 256, (h, w, 3), np.uint8)
    expected = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR))
    pixels = torch.from_numpy(noise)[None].to(device)
    orders: tuple[Order, ...] = ((), (2, 1), (1, 2)) if has_kernel(device) else ((2, 1), (1, 2))
    for order in orders:
        if np.array_equal(_resample_both(pixels, height, width, order)[0].cpu().numpy(), expected):
            return order
    return None


@lru_cache
def has_kernel(device: torch.device) -> bool:
    """Whether there is Triton for this device: on CUDA, and on a CPU where its interpreter is on."""
    if device.type != "cuda" and not os.environ.get("TRITON_INTERPRET"):
        return False
    return importlib.util.find_spec("triton") is not None


def _resample_both(pixels: Tensor, height: int, width: int, order: Order) -> Tensor:
    if not order:
        from hearthwatch.gpu.resize_kernel import resize_in_one_kernel

        across, down = (
            _taps_on_device(pixels.device, *sizes, torch.int32)
            for sizes in ((pixels.shape[2], width), (pixels.shape[1], height))
        )
        return resize_in_one_kernel(pixels, across, down, PRECISION_BITS)
    for dim in order:
        pixels = _resample(pixels, dim, height if dim == 1 else width)
    return pixels


def _resample(pixels: Tensor, dim: int, size: int) -> Tensor:
    if pixels.shape[dim] == size:
        return pixels
    at, weights = _taps_on_device(pixels.device, pixels.shape[dim], size)
    shape = [1] * pixels.dim()
    shape[dim] = size
    total = pixels.index_select(dim, at[0]) * weights[0].view(shape)
    for where, weight in zip(at[1:], weights[1:], strict=True):
        total += pixels.index_select(dim, where) * weight.view(shape)
    total += 1 << (PRECISION_BITS - 1)  # half a level: the shift rounds
    return (total >> PRECISION_BITS).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=2 * SIZES_MAX)
def _taps_on_device(
    device: torch.device, size_in: int, size_out: int, places: torch.dtype = torch.int64
) -> tuple[Tensor, Tensor]:
    at, weights = taps(size_in, size_out)
    return torch.from_numpy(at).to(device, places), torch.from_numpy(weights).to(device)


def taps(size_in: int, size_out: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which input pixels each output pixel sums, (taps, size_out); and their weights, 0 beyond the border."""
    scale = size_in / size_out
    reach = max(scale, 1.0)  # a smaller picture sums more neighbours: antialias
    at = np.zeros((math.ceil(reach) * 2 + 1, size_out), np.int64)
    weights = np.zeros(at.shape, np.int32)
    for number in range(size_out):
        centre = (number + 0.5) * scale
        first, end = max(0, int(centre - reach + 0.5)), min(size_in, int(centre + reach + 0.5))
        near = [max(0.0, 1.0 - abs((x - centre + 0.5) * (1.0 / reach))) for x in range(first, end)]
        total = sum(near)
        for k, weight in enumerate(near):
            at[k, number], weights[k, number] = first + k, int(0.5 + weight / total * (1 << PRECISION_BITS))
    return at, weights
