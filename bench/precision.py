"""Measure what low precision does to the packaged model's boxes and scores, and its speed, on a CPU.

    scripts/bench precision [--frames 60] [--threads 1]

Each way gets the same drawn frames as the folded float32 network, one by one. A box counts from half the default threshold;
the largest difference is shown, as `hearthwatch.gpu.parity` measures it at every start on four pictures. Times are medians of
the whole pass. Then the resize for a GPU, beside Pillow's, for a picture of 1080p.
"""

import argparse
import copy
import statistics
import time
from contextlib import nullcontext

import numpy as np
import torch
from PIL import Image

from hearthwatch.demo.scenes import CAMERAS, story
from hearthwatch.gpu.loading import load
from hearthwatch.gpu.network import Network
from hearthwatch.gpu.optimize import fuse
from hearthwatch.gpu.parity import compare
from hearthwatch.gpu.resize import resize, resize_on_cpu

ROUNDS = 5  # of the resize
LOW = (torch.bfloat16, torch.float16)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    detr, preparation = load("yard")
    fuse(detr)
    detr = detr.requires_grad_(False).to(memory_format=torch.channels_last)
    rows = [
        torch.from_numpy(resize_on_cpu(one, preparation.height, preparation.width).copy())[None]
        for one in drawn(given.frames)
    ]
    reference = None
    print(f"yard, {given.frames} frames, {given.threads} threads, torch {torch.__version__}\n")
    print("| way | worst box, px | worst score | ms a picture |\n|---|---|---|---|")
    for name, dtype, everything in [("float32", torch.float32, False), *ways()]:
        network = Network(copy.deepcopy(detr), preparation, True, torch.float32 if everything else dtype)
        found, milliseconds = seen(network, rows, dtype if everything else None)
        reference = found if reference is None else reference
        far = compare(reference, found)
        print(f"| {name} | {far.pixels:.2f} | {far.score:.4f} | {milliseconds:.1f} |", flush=True)
    both(preparation)


def ways():
    for dtype in LOW:
        name = str(dtype).removeprefix("torch.")
        yield f"{name}, as `precision` does it", dtype, False
        yield f"{name}, all of it by autocast", dtype, True


def drawn(count):
    for number in range(count):
        clip = story(list(CAMERAS)[number % len(CAMERAS)], 100 + number)
        yield clip.frame(clip.seconds // 2).image


@torch.inference_mode()
def seen(network, rows, autocast):
    found, times = [], []
    for row in rows:
        began = time.perf_counter()
        with torch.autocast("cpu", dtype=autocast) if autocast else nullcontext():
            found.append(network(row).float())
        times.append((time.perf_counter() - began) * 1e3)
    return torch.cat(found).numpy(), statistics.median(times)


def both(preparation):
    height, width = preparation.height, preparation.width
    picture = Image.effect_noise((1920, 1080), 60).convert("RGB")
    whole = torch.from_numpy(np.asarray(picture).copy())[None]
    ours, pillow = (
        best(way) for way in (lambda: resize(whole, height, width), lambda: resize_on_cpu(picture, height, width))
    )
    print(f"\n1080p to {width}x{height}: the device's resize {ours:.1f} ms, Pillow's {pillow:.1f} ms")


def best(work):
    def once():
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1e3

    return min(once() for _ in range(ROUNDS))


if __name__ == "__main__":
    main()
