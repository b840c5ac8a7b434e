"""Promise: a picture resized on the device has the very bytes that Pillow would have given it."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from hearthwatch.gpu.resize import PRECISION_BITS, can_resize, resize, taps

CPU = torch.device("cpu")
side = st.integers(1, 400)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def pillow(pixels, height, width):
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


@settings(max_examples=60, deadline=None)
@given(side, side, side, side, st.integers(0, 9), st.booleans())
@example(1, 1, 400, 400, 0, False)  # one pixel becomes a plane
@example(399, 7, 1, 1, 0, False)  # and a plane one pixel
@example(234, 670, 100, 118, 1, True)
def test_any_size_to_any_size_is_pillows(h, w, height, width, seed, harsh):
    pixels = noise(h, w, seed)
    pixels = (pixels // 128) * 255 if harsh else pixels  # black and white only: sums at both ends of a byte
    assert can_resize(h, w, height, width, CPU)
    ours = resize(torch.from_numpy(pixels)[None], height, width)[0].numpy()
    assert np.array_equal(ours, pillow(pixels, height, width))


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1080, 1920), (2560, 1440), (1279, 721), (640, 640)])
def test_what_cameras_send_to_what_models_want(width, height):
    pixels = np.stack([noise(height, width, seed) for seed in (1, 2)])
    ours = resize(torch.from_numpy(pixels), 640, 640).numpy()
    assert all(np.array_equal(one, pillow(two, 640, 640)) for one, two in zip(ours, pixels, strict=True))


def test_weights_of_a_pixel_are_one_in_all():
    for size_in, size_out in ((1920, 640), (360, 384), (7, 640), (640, 1)):
        at, weights = taps(size_in, size_out)
        assert at.min() >= 0 and at.max() < size_in
        assert abs(weights.sum(0) - (1 << PRECISION_BITS)).max() <= len(weights)


def test_a_fourth_channel_is_no_trouble():
    pixels = noise(90, 160)
    padded = np.dstack([pixels, np.full((90, 160), 255, np.uint8)])
    ours = resize(torch.from_numpy(padded)[None], 64, 64)[0].numpy()
    assert np.array_equal(ours[..., :3], pillow(pixels, 64, 64))
