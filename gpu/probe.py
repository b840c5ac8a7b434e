"""Whether two ways to compute the same model see the same: their boxes on four packaged pictures, side by side.

Asked at every start before a faster way is taken. The pictures are drawn yard scenes of 640x360; on other models their
scores may be low, so the five surest candidates of each picture count whatever their score.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hearthwatch.gpu.loading import YARD

SURE, AT_LEAST = 0.25, 5  # candidates that count: half the default threshold, and so many whatever their score
WIDTH, HEIGHT = 640, 360


class Apart(NamedTuple):
    """How far boxes and scores are apart at worst; infinite where one sees what the other does not."""

    pixels: float
    score: float

    def within(self, limit: Apart) -> bool:
        return self.pixels <= limit.pixels and self.score <= limit.score

    def __str__(self) -> str:
        return f"{self.pixels:.2g} px, score {self.score:.1g}"


# The promises are 0.5 px and 0.01, in low precision 1.5 px and 0.02: four pictures stand for all, so half must do.
EXACT, LOW = Apart(0.1, 0.002), Apart(0.75, 0.01)


def pictures() -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(YARD.glob("probe*.jpg"))]


def apart(reference: NDArray[np.float32], other: NDArray[np.float32]) -> Apart:
    """Both (n, k, 6): score, class, x0 y0 x1 y1 from 0 to 1, the surest first."""
    worst = Apart(0.0, 0.0)
    for wanted, offered in zip(reference, other, strict=True):
        for one in wanted[: max(AT_LEAST, int((wanted[:, 0] >= SURE).sum()))]:
            nearest = _nearest(one, offered)
            worst = Apart(max(worst.pixels, nearest.pixels), max(worst.score, nearest.score))
    return worst


def _nearest(one: NDArray[np.float32], offered: NDArray[np.float32]) -> Apart:
    same = offered[offered[:, 1] == one[1]]
    if not len(same) or not np.isfinite(same).all():
        return Apart(np.inf, np.inf)
    pixels = (np.abs(same[:, 2:] - one[2:]) * (WIDTH, HEIGHT, WIDTH, HEIGHT)).max(1)
    scores = np.abs(same[:, 0] - one[0])
    best = np.argmin(np.maximum(pixels / LOW.pixels, scores / LOW.score))
    return Apart(float(pixels[best]), float(scores[best]))
