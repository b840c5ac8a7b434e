"""A detector: something bright in a dark picture, as headlights in a drive at night. No model, 1 ms a picture."""

from __future__ import annotations

from typing import Annotated

from PIL import ImageStat
from pydantic import Field

from hearthwatch.schemas import Detected, Detection, Frame, Reject, Stage

SMALL = 160  # pixels of width are enough to see a light by


class Headlights(Stage):
    """Detects `light`: the brightest region of a dark picture."""

    accepts = Frame
    emits = Detected

    bright: Annotated[int, Field(ge=1, le=255)] = 230
    """What is at least this bright is a light, 1 to 255."""
    dark: Annotated[int, Field(ge=1, le=255)] = 60
    """A picture is dark if its mean is below this, 0 to 255."""

    def process(self, items: list[Frame]) -> list[Detected]:
        return [self.detect(frame) for frame in items]

    def detect(self, frame: Frame) -> Detected:
        picture = frame.picture()
        if not (picture.width and picture.height):
            raise Reject("the picture has no size")
        grey = picture.convert("L")
        grey.thumbnail((SMALL, SMALL))
        box = grey.point(lambda value: 255 if value >= self.bright else 0).getbbox()
        found: tuple[Detection, ...] = ()
        if box and ImageStat.Stat(grey).mean[0] < self.dark:
            x, y = picture.width / grey.width, picture.height / grey.height
            left, top, right, bottom = (round(value * scale) for value, scale in zip(box, (x, y, x, y), strict=True))
            found = (Detection("light", 1.0, (left, top, right - left, bottom - top)),)
        return Detected(frame, picture.width, picture.height, found, model="headlights")
