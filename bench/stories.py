"""Draw the labelled stories again and store what the packaged detector finds in them.

python -m bench.stories         # in the checkout, 5 minutes on two cores -> demo/stories.jsonl

Everyday stories are drawn as the yard deals them (plots, hours and light by chance; `quiet` is left out: nothing
happens), each at a moment of the year with this light (the caption in the picture has another). They hold few alarming ones, so those are topped up: `EXTRA` asks for more of them by plot and light.
"""

import io
import os
import random
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import torch
from PIL import Image

from hearthwatch.demo.scenes import CAMERAS, PLAYS, PLOTS, Clip, story
from hearthwatch.demo.stories import Split, Story, draw_start, write
from hearthwatch.gpu.detector import Detector

TARGET = Path(__file__).parents[1] / "demo/stories.jsonl"
SEEDS: dict[Split, int] = {"tune": 2_000_000, "test": 3_000_000}  # the detector was trained on seeds below 1,000,000
EVERYDAY = 28  # stories per camera and split
EXTRA = (  # camera, plot, light (None: by chance), how many per split
    ("front_door", "thief", None, 6), ("driveway", "thief", None, 6), ("back_yard", "garden", "night", 4),
    *((camera, "lingers", "night", 3) for camera in CAMERAS),
)  # fmt: skip
CONFIDENCE = 0.5  # as the demo runs it


def clips(split: Split):
    """Yield (clip, second plot)."""
    for camera in CAMERAS:
        seed, n = SEEDS[split], 0
        while n < EVERYDAY:
            clip = story(camera, seed)
            if clip.plot != "quiet":
                yield clip, beside(clip, None)
                n += 1
            seed += 1
    for number, (camera, plot, light, n) in enumerate(EXTRA):
        for seed in range(SEEDS[split] + 1000 * (number + 1), SEEDS[split] + 1000 * (number + 1) + n):
            clip = story(camera, seed, plot, light)
            yield clip, beside(clip, light)


def beside(clip: Clip, light: str | None) -> list[str]:
    """Return the plot that `story` added by chance, by repeating its random choices in order."""
    r = random.Random(f"{clip.camera}/{clip.seed}")
    r.choice(PLAYS[clip.camera])
    chance = r.random()
    if not light and chance >= (0.6 if clip.plot in ("lingers", "thief") else 0.25):
        r.choices(["day", "dusk", "rain"], [0.5, 0.25, 0.25])
    alone = len(PLOTS[clip.plot][0](CAMERAS[clip.camera], r))
    if r.random() >= 0.3:
        assert len(clip.cast) == alone
        return []
    others = [p for p in PLAYS[clip.camera] if p not in ("quiet", clip.plot, "thief", "car_parks", "car_leaves")]
    other = r.choice(others)
    assert len(clip.cast) == alone + len(PLOTS[other][0](CAMERAS[clip.camera], r)), (clip.camera, clip.seed)
    return [other]


@cache
def detector() -> Detector:
    torch.set_num_threads(1)
    return Detector("yard", device="cpu", confidence=CONFIDENCE)


def line(split: Split, clip: Clip, others: list[str]) -> str:
    pictures = (Image.open(io.BytesIO(frame.jpeg())).convert("RGB") for frame in clip.frames())
    frames = tuple(detector().detect([picture])[0] for picture in pictures)
    start = draw_start(clip.light, f"{clip.camera}/{clip.seed}")
    return write(Story(clip.camera, clip.seed, split, (clip.plot, *others), start, frames))


def main():
    jobs = [(split, *played) for split in SEEDS for played in clips(split)]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        lines = []
        for text in pool.map(line, *zip(*jobs, strict=True)):
            lines.append(text)
            print(len(lines), "of", len(jobs), text[:90], flush=True)
    TARGET.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
