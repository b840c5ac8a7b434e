"""Decoded pictures -> their resized bytes on the device, the very bytes that Pillow's resize gives.

Either Pillow resizes and small pictures are uploaded, or whole ones are and the device resizes. What is uploaded goes
through a few blocks of memory, page-locked where that helps, so that the copy runs while others compute.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hearthwatch.gpu.resize import can_resize, resize
from hearthwatch.gpu.streams import AtOnce, Mark, Streams

BLOCK_BYTES = 32 * 1024 * 1024  # three 4K pictures or 26 resized ones: large enough for a bus to reach its speed
BLOCKS = 4  # 128 MB page-locked: one being filled, one on the bus, and two so that neither waits


class Uploader:
    """`upload(pictures, pixels)`: fill the first rows of (rows, height, width, 3) uint8 on the device."""

    def __init__(self, streams: Streams, device: torch.device, pinned: bool, on_device: bool) -> None:
        self.on_device, self._device, self._streams = on_device, device, streams
        self._blocks = [torch.empty(BLOCK_BYTES, dtype=torch.uint8, pin_memory=pinned) for _ in range(BLOCKS)]
        self._free: list[Mark] = [AtOnce()] * BLOCKS
        self._next = 0

    def __call__(self, pictures: Sequence[Image.Image], pixels: Tensor) -> None:
        height, width = pixels.shape[1:3]
        for numbers in self._groups(pictures, height, width):
            group = [pictures[number] for number in numbers]
            if self._whole(group[0], height, width):
                moved = resize(self._moved([whole(one) for one in group]), height, width)
            else:
                moved = self._moved([resized(one, height, width) for one in group])
            for number, row in zip(numbers, moved, strict=True):
                pixels[number].copy_(row[..., :3], non_blocking=True)

    def _whole(self, picture: Image.Image, height: int, width: int) -> bool:
        return self.on_device and can_resize(picture.height, picture.width, height, width, self._device)

    def _groups(self, pictures: Sequence[Image.Image], height: int, width: int) -> Iterator[list[int]]:
        """Numbers of pictures of one size that share a block."""
        sizes: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for number, picture in enumerate(pictures):
            sizes[picture.size if self.on_device else (width, height)].append(number)
        for (w, h), numbers in sizes.items():
            many = max(1, BLOCK_BYTES // (w * h * 4))
            yield from (numbers[at : at + many] for at in range(0, len(numbers), many))

    def _moved(self, arrays: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(n, h, w, channels) on the device; on its way there when this returns."""
        shape = (len(arrays), *arrays[0].shape)
        size = int(np.prod(shape))
        if size > BLOCK_BYTES:  # a picture of 8 megapixels and more: alone, and by the slow way
            return torch.from_numpy(np.stack(arrays)).to(self._device)
        self._next = (self._next + 1) % BLOCKS
        self._free[self._next].synchronize()
        host = self._blocks[self._next][:size].view(shape)
        np.stack(arrays, out=host.numpy())
        moved = host.to(self._device, non_blocking=True)
        self._free[self._next] = self._streams.mark()
        return moved


def resized(picture: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def whole(picture: Image.Image) -> NDArray[np.uint8]:
    """(h, w, 3 or 4); without a copy where Pillow (11.2 and later) can lend its memory, of 4 bytes a pixel."""
    import pyarrow as pa

    if hasattr(picture, "__arrow_c_array__") and picture.mode == "RGB":
        try:
            flat: NDArray[np.uint8] = pa.array(picture).flatten().to_numpy(zero_copy_only=True)
            return flat.reshape(picture.height, picture.width, 4)
        except ValueError:  # a large picture lies in several pieces
            pass
    return np.asarray(picture)
