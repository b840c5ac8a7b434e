"""Milliseconds per picture of each step of detection on a CPU.

    python bench/detector_cpu.py [MODEL] [--size 1920x1080] [--threads 2] [--pictures 8]

MODEL is a hub id, a folder or `yard` (default). Every step runs alone; the numbers are medians.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from PIL import Image

from gpu.decode import open_picture
from gpu.detector import Detector
from gpu.options import Options
from sources.yard_cameras import CAMERAS, story


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="yard")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size = tuple(map(int, args.size.split("x")))
    with tempfile.TemporaryDirectory() as folder:
        files = [draw(Path(folder) / f"{number}.jpg", number, size) for number in range(args.pictures)]
        pictures = [open_picture(file).picture() for file in files]
        print(f"{args.model}, pictures of {args.size}, {args.threads} threads, torch {torch.__version__}")
        print(f"{'read and decode':32}{milliseconds(open_picture, files):8.1f} ms")
        steps(args.model, pictures)


def steps(model: str, pictures: list[Image.Image]) -> None:
    for fused, name in ((True, "folded"), (False, "as published")):
        detector = Detector(model, "cpu", confidence=0.4, options=Options(folded=fused))
        batches = [[picture] for picture in pictures]
        print(f"{'resize and scale':32}{milliseconds(detector._runner.prepared, batches):8.1f} ms")
        print(f"{f'all of detect, {name}':32}{milliseconds(detector.detect, batches):8.1f} ms")
        detector.close()


def milliseconds(step, inputs, rounds: int = 3) -> float:
    clock = []
    for one in [*inputs[:1], *inputs * rounds]:
        began = time.perf_counter()
        step(one)
        clock.append((time.perf_counter() - began) * 1e3)
    return median(clock[1:])


def draw(path: Path, number: int, size: tuple[int, int]) -> Path:
    clip = story(list(CAMERAS)[number % 4], number)
    clip.frame(clip.seconds // 2).image.resize(size).save(path, quality=85)
    return path


if __name__ == "__main__":
    main()
