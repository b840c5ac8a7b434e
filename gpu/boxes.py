"""From scored boxes to detections: which count, under which name, in whole pixels. Pure; both detectors end here."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hearthwatch.gpu.labels import canonical_label
from hearthwatch.schemas.items import PER_FRAME, Detection

Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the original picture."""


@dataclass(frozen=True, slots=True)
class DetectionFilter:
    """What counts as a detection: `score >= confidence`, one of `object_types` (`*`: any), and not a double."""

    confidence: float = 0.5
    object_types: Collection[str] = ("*",)
    unique_iou: float | None = None
    """Of boxes of one type that overlap by this much, only the surest counts; None: all do."""

    def label(self, spelling: str) -> str | None:
        """The name under which a model's label counts; None if it does not."""
        label = canonical_label(spelling)
        return label if "*" in self.object_types or label in self.object_types else None

    def pick(self, found: Iterable[tuple[str, float, Corners]], width: int, height: int) -> tuple[Detection, ...]:
        """(label as wanted, score, corners) of a picture of this size -> its detections, the surest first."""
        sure = sorted((one for one in found if one[1] >= self.confidence), key=lambda one: -one[1])
        if self.unique_iou is not None:
            sure = _unique(sure, self.unique_iou)
        return tuple(
            Detection(label, score, whole_pixels(corners, width, height)) for label, score, corners in sure[:PER_FRAME]
        )


def whole_pixels(corners: Corners, width: int, height: int) -> tuple[int, int, int, int]:
    """Corners -> x, y, width, height: rounded, inside the picture, at least one pixel."""
    x, y = _between(corners[0], 0, width - 1), _between(corners[1], 0, height - 1)
    return x, y, _between(corners[2], x + 1, width) - x, _between(corners[3], y + 1, height) - y


def overlap(one: Corners, other: Corners) -> float:
    """Intersection over union, 0 to 1."""
    both = _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    return both / (_area(one) + _area(other) - both) if both else 0.0


def _between(value: float, low: int, high: int) -> int:
    return max(low, min(round(value), high))


def _area(corners: Corners) -> float:
    return max(0.0, corners[2] - corners[0]) * max(0.0, corners[3] - corners[1])


def _unique(sure: list[tuple[str, float, Corners]], iou: float) -> list[tuple[str, float, Corners]]:
    kept: list[tuple[str, float, Corners]] = []
    for one in sure:
        if not any(one[0] == other[0] and overlap(one[2], other[2]) >= iou for other in kept):
            kept.append(one)
    return kept
