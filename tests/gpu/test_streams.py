"""Batches in flight come back in order, whatever fails on the way; pictures arrive on the device as Pillow resizes them."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hearthwatch.gpu import resize as resizing
from hearthwatch.gpu.batches import BatchRunner
from hearthwatch.gpu.options import BUCKETS
from hearthwatch.gpu.resize import DeviceUploader, pixel_array, resize_on_cpu
from hearthwatch.gpu.streams import BatchBuffers, BucketedForward, CpuStreams, CudaGraphs, StreamExecutor, bucket_size

CPU = torch.device("cpu")


def picture(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


# -- submit and collect -----------------------------------------------------------------------------------------------


class Device:
    """Doubles numbers, some batches at a time; fails at `bad` ones when submitted or when collected."""

    def __init__(self, bad=(), late=()):
        self.bad, self.late, self.flying, self.most, self.order = bad, late, 0, 0, []

    def submit(self, items):
        if set(self.bad) & set(items):
            raise ValueError("bad")
        self.flying += 1
        self.most = max(self.most, self.flying)
        return items

    def collect(self, items):
        self.flying -= 1
        self.order.append(list(items))
        if set(self.late) & set(items):
            raise ValueError("late")
        return [n * 2 for n in items]


@given(
    st.integers(0, 40), st.integers(1, 9), st.integers(1, 4), st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40))
)
def test_any_failure_at_either_end_costs_its_picture_only(count, size, in_flight, bad, late):
    device = Device(bad, late)
    results = BatchRunner(device.submit, device.collect, size, in_flight=in_flight).run(range(count))
    assert [one if isinstance(one, int) else str(one) for one in results] == [
        "bad" if n in bad else "late" if n in late else n * 2 for n in range(count)
    ]
    assert device.flying == 0 and device.most <= in_flight


def test_the_next_batches_are_on_their_way_before_the_first_is_awaited():
    device = Device()
    BatchRunner(device.submit, device.collect, 4, in_flight=3).run(range(40))
    assert device.most == 3
    assert device.order == [list(range(at, at + 4)) for at in range(0, 40, 4)]


# -- lanes ------------------------------------------------------------------------------------------------------------


def executor_of(count, compute, rows=4):
    pixels = [torch.zeros((rows, 6, 8, 3), dtype=torch.uint8) for _ in range(count)]
    streams = CpuStreams()
    return StreamExecutor(
        DeviceUploader(streams, CPU, False, False), compute, streams, [BatchBuffers(one) for one in pixels], False
    )


def brightness(pixels, count):
    return pixels[:count].float().mean((1, 2))[:, None]


def test_each_ticket_gets_its_own_answer_in_any_order():
    executor = executor_of(2, brightness)
    dark, light = [Image.new("RGB", (30, 20), (n, n, n)) for n in (10, 200)]
    first, second = executor.submit([dark, dark]), executor.submit([light])
    assert executor.collect(second).tolist() == [[[200.0] * 3]]
    assert executor.collect(first).tolist() == [[[10.0] * 3]] * 2


def test_buffers_are_free_again_after_a_failure():
    def fails(pixels, count):
        raise RuntimeError("no")

    executor = executor_of(1, fails)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no"):
            executor.submit([picture(9, 9)])


# -- upload -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_device", [False, True])
def test_pictures_of_any_sizes_arrive_in_their_rows_as_pillow_resizes_them(on_device, monkeypatch):
    monkeypatch.setattr(resizing, "BLOCK_BYTES", 40_000)  # three small pictures a block, and one that fits none
    sizes = [(160, 90), (80, 60), (160, 90), (33, 70), (80, 60), (200, 120), (80, 60), (80, 60), (64, 48)]
    pictures = [picture(*size, seed) for seed, size in enumerate(sizes)]
    pictures[1::3] = map(np.array, pictures[1::3])  # as simplejpeg decodes: three bytes a pixel, not four
    pixels = torch.zeros((len(pictures), 48, 64, 3), dtype=torch.uint8)
    DeviceUploader(CpuStreams(), CPU, pinned=False, on_device=on_device)(pictures, pixels)
    assert all(
        np.array_equal(row, resize_on_cpu(one, 48, 64)) for row, one in zip(pixels.numpy(), pictures, strict=True)
    )


def test_a_picture_lends_its_memory_or_is_copied():
    small, large = picture(64, 48), picture(2600, 2000)  # the large one lies in several pieces
    for one in (small, large):
        assert np.array_equal(pixel_array(one)[..., :3], np.asarray(one))


# -- buckets ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_filled_up_to_the_next_bucket():
    sizes = []

    def forward(pixels):
        sizes.append(len(pixels))
        return pixels * 2

    pixels = torch.arange(64)
    for count in range(1, 65):
        assert BucketedForward(forward)(pixels, count).tolist() == [n * 2 for n in range(count)]
    assert set(sizes) == set(BUCKETS)
    assert all(bucket_size(size) == size for size in (*BUCKETS, 65, 500))
    assert all(bucket_size(size + 1) == larger for size, larger in pairwise(BUCKETS))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_graphs_compute_what_the_function_does():
    def forward(pixels):
        return pixels.float().sin() * 2

    pixels = torch.arange(16, dtype=torch.uint8, device="cuda")[:, None]
    with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream()):
        graphs = CudaGraphs(forward, pixels)
        for count in (1, 3, 16, 5):
            assert torch.equal(graphs(pixels + 1, count), forward(pixels + 1)[:count])
