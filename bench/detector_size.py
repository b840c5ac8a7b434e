"""Measure what another size of the detector's input costs: recall on the drawn yard by the height of people, and time.

    scripts/bench detector_size [--sizes 320x192,256x160,224x128] [--frames 400] [--model yard]

The first size is the one to compare with. Frames are from stories that training has not seen; a person counts as found if
a detection of a person, score 0.5 or more, overlaps by half (intersection over union).
"""

import argparse
import io
import statistics
import time

import numpy as np
from PIL import Image

from bench.yard.check import examination
from bench.yard.train import overlap
from hearthwatch.gpu.detector import Detector

HEIGHTS = {"far: under 40 px": (0, 40), "40 to 80 px": (40, 80), "near: 80 px and more": (80, 1e9)}  # of 360


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="yard")
    parser.add_argument("--sizes", default="320x192,448x256,384x224,256x160,224x128,160x96")
    parser.add_argument("--frames", type=int, default=400)
    given = parser.parse_args()
    frames = [
        (Image.open(io.BytesIO(jpeg)).convert("RGB"), [box for label, *box in boxes if label == "person"])
        for *_, jpeg, boxes in examination(given.frames)
    ]
    people = [np.array(box, float) for _, boxes in frames for box in boxes]
    counts = [sum(low <= box[3] - box[1] < high for box in people) for low, high in HEIGHTS.values()]
    print(f"{given.model}, {given.frames} frames; people found, of {', '.join(map(str, counts))}\n")
    print(f"| input | {' | '.join(HEIGHTS)} | all | false people | ms a picture |\n{'|---' * (len(HEIGHTS) + 4)}|")
    for size in given.sizes.split(","):
        print(f"| {size} | {' | '.join(row(Detector(given.model, 'cpu', size=size), frames))} |", flush=True)


def row(detector, frames):
    """Return the cells: share found by height, of all, boxes that are nobody, and the median time."""
    found, false, seconds = [], 0, []
    for picture, people in frames:
        began = time.perf_counter()
        (detections,) = detector.detect([picture])
        seconds.append(time.perf_counter() - began)
        boxes = [one.bbox for one in detections if one.object_type == "person"]
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], float).reshape(-1, 4)
        shared = np.array([overlap(np.array(person, float), boxes) for person in people]).reshape(
            len(people), len(boxes)
        )
        found += [(person[3] - person[1], bool((row >= 0.5).any())) for person, row in zip(people, shared, strict=True)]
        false += int((~(shared >= 0.5).any(axis=0)).sum())
    for low, high in (*HEIGHTS.values(), (0, 1e9)):
        yield f"{100 * statistics.mean([hit for height, hit in found if low <= height < high] or [0]):.0f} %"
    yield str(false)
    yield f"{1e3 * statistics.median(seconds):.1f}"


if __name__ == "__main__":
    main()
