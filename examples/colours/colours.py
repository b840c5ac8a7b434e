"""A stage that adds: the colour that most of a box has, as the attribute `colour` of its detection."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

from hearthwatch.schemas import Detected, Detection, Stage

COLOURS = {
    "black": (20, 20, 20), "grey": (128, 128, 128), "white": (240, 240, 240), "red": (200, 30, 30), "orange": (230, 130, 30),
    "yellow": (230, 210, 40), "green": (40, 150, 60), "blue": (40, 70, 200), "brown": (110, 70, 40),
}  # fmt: skip
SMALL = 16  # pixels a side are enough to see a colour by


class Colours(Stage):
    """Name the dominant colour of each box; a grey picture, as of a camera at night, has none."""

    accepts = Detected
    emits = Detected

    object_types: tuple[str, ...] = ("person", "car", "truck")
    """Whose colour matters."""

    def process(self, items: list[Detected]) -> list[Detected]:
        return [item if item.is_grey else self.paint(item) for item in items]

    def paint(self, item: Detected) -> Detected:
        if not any(found.object_type in self.object_types for found in item.detections):
            return item
        picture = item.frame.picture()
        return replace(item, detections=tuple(self.name(found, picture) for found in item.detections))

    def name(self, found: Detection, picture: Image.Image) -> Detection:
        if found.object_type not in self.object_types:
            return found
        x, y, width, height = found.bbox
        middle = (x + width // 4, y + height // 4, x + width - width // 4, y + height - height // 4)
        pixels = picture.resize((SMALL, SMALL), Image.Resampling.BOX, middle).getdata()
        names = [min(COLOURS, key=lambda name: _distance(COLOURS[name], pixel)) for pixel in pixels]
        return replace(found, attributes={**found.attributes, "colour": max(sorted(set(names)), key=names.count)})


def _distance(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
