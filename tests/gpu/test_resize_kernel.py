"""Promise: the kernel that resizes on a card gives Pillow's bytes, too. Triton's interpreter runs it on a CPU."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from hearthwatch.gpu.resize import can_resize, has_kernel, resize
from tests.support.pipeline import ROOT

CPU = torch.device("cpu")
SIZES = ((2, 11, 23, 3), (4, 6)), ((1, 3, 2, 4), (5, 7)), ((1, 6, 9, 3), (6, 2))


def compare():
    assert has_kernel(CPU)
    for shape, size in SIZES:
        pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        assert can_resize(*shape[1:3], *size, CPU)
        ours = resize(torch.from_numpy(pixels), *size)
        assert ours.shape == (shape[0], *size, 3), "the kernel drops a fourth channel, torch's functions keep it"
        for one, picture in zip(ours.numpy(), pixels[..., :3], strict=True):
            assert np.array_equal(one, Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))
    print("the same")


@pytest.mark.slow
def test_one_kernel_gives_pillows_bytes():
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}  # read when Triton is imported
    command = [sys.executable, "-m", "tests.gpu.test_resize_kernel"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == "the same\n", done.stderr


def test_a_cpu_has_no_kernel():
    assert not has_kernel(CPU) and can_resize(30, 40, 20, 20, CPU)


if __name__ == "__main__":
    compare()
