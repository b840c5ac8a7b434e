"""Filter scored boxes into detections: which count, under which label, in whole pixels. Pure; both detectors use it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hearthwatch.schemas.items import PER_FRAME, Detection

UNIQUE_IOU = 0.6
"""The packaged model finds some people twice: on 600 drawn frames precision 0.85 → 0.95, recall 0.86 → 0.85."""

Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the original picture."""

# One spelling for each kind of object: COCO's, in lower case.
SPELLINGS = {
    "aeroplane": "airplane",
    "cell telephone": "cell phone",
    "cellphone": "cell phone",
    "diningtable": "dining table",
    "hair dryer": "hair drier",
    "mobile phone": "cell phone",
    "motorbike": "motorcycle",
    "parcel": "package",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "television": "tv",
    "trafficlight": "traffic light",
    "tv monitor": "tv",
    "tvmonitor": "tv",
}


@dataclass(frozen=True, slots=True)
class DetectionFilter:
    """What counts as a detection: `score >= confidence`, one of `object_types` (`*`: any), and not a duplicate."""

    confidence: float = 0.5
    object_types: Collection[str] = ("*",)
    unique_iou: float | None = UNIQUE_IOU
    """Of boxes of one type that overlap by this much, only the one with the highest score counts; None: all do."""

    def accepted_label(self, spelling: str) -> str | None:
        """Return the label as stored; None if it does not count."""
        label = canonical_label(spelling)
        return label if "*" in self.object_types or label in self.object_types else None

    def select(self, found: Iterable[tuple[str, float, Corners]], width: int, height: int) -> tuple[Detection, ...]:
        """Turn (accepted label, score, corners) of a picture of this size into detections, by descending score."""
        sure = sorted((one for one in found if one[1] >= self.confidence), key=lambda one: -one[1])
        boxes = [Detection(label, score, whole_pixels(corners, width, height)) for label, score, corners in sure]
        if self.unique_iou is not None:
            boxes = _without_duplicates(boxes, self.unique_iou)
        return tuple(boxes[:PER_FRAME])


def canonical_label(label: str) -> str:
    """Return COCO's spelling: `Motorbike` -> `motorcycle`, `dining_table` -> `dining table`; others in lower case."""
    plain = " ".join(label.lower().replace("_", " ").split())
    return SPELLINGS.get(plain, plain)


def whole_pixels(corners: Corners, width: int, height: int) -> tuple[int, int, int, int]:
    """Convert corners to x, y, width, height: rounded, inside the picture, at least one pixel."""
    x, y = _clamp(corners[0], 0, width - 1), _clamp(corners[1], 0, height - 1)
    return x, y, _clamp(corners[2], x + 1, width) - x, _clamp(corners[3], y + 1, height) - y


def overlap(one: Corners, other: Corners) -> float:
    """Return the intersection over union, 0 to 1."""
    both = _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
    return both / (_area(one) + _area(other) - both) if both else 0.0


def _clamp(value: float, low: int, high: int) -> int:
    return max(low, min(round(value), high))


def _area(corners: Corners) -> float:
    return max(0.0, corners[2] - corners[0]) * max(0.0, corners[3] - corners[1])


def _without_duplicates(found: list[Detection], iou: float) -> list[Detection]:
    """Compare whole pixels, which are all that a service sends: its boxes and those found here lose the same ones."""
    kept: list[tuple[Detection, Corners]] = []
    for one in found:
        x, y, width, height = one.bbox
        corners = (x, y, x + width, y + height)
        if not any(one.object_type == other.object_type and overlap(corners, its) >= iou for other, its in kept):
            kept.append((one, corners))
    return [one for one, _ in kept]
