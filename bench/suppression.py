"""Measure what it costs to decide whether boxes stand still: CPU time per picture and box, in a record in memory.

scripts/bench suppression [--pictures 300]
"""

import argparse
import sys
import time
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from hearthwatch.record import Record  # noqa: E402
from hearthwatch.record.suppression import Stillness, Suppression  # noqa: E402
from hearthwatch.schemas.items import Detection  # noqa: E402


def microseconds(boxes, stride, pictures):
    """CPU time per picture of so many people, each of whom moves by `stride` pixels from one to the next."""
    random, record = Random(1), Record(":memory:")
    suppression, begins = Suppression(record, Stillness()), [random.randrange(1800) for _ in range(boxes)]
    frames = [
        [
            Detection("person", 0.9, ((x + stride * n) % 1800 + random.randrange(3), 300 + 20 * i, 60, 150))
            for i, x in enumerate(begins)
        ]
        for n in range(pictures)
    ]

    def decide():
        for n, frame in enumerate(frames):
            suppression.reasons("c", n * 1_000_000, (1920, 1080), frame)

    began = time.process_time()
    record.transact(decide)
    spent = time.process_time() - began
    record.close()
    return spent / pictures * 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=300)
    pictures = parser.parse_args().pictures
    print(
        "| people in a picture | stand still, us/picture | us/box | walk, us/picture | us/box |\n|---|---|---|---|---|"
    )
    for boxes in (1, 2, 5, 10, 32):
        still, walks = (microseconds(boxes, stride, pictures) for stride in (0, 40))
        print(f"| {boxes} | {still:.0f} | {still / boxes:.0f} | {walks:.0f} | {walks / boxes:.0f} |")
