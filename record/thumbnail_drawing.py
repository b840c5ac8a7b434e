"""Draw a thumbnail: one small JPEG of a picture with its boxes and labels. Colours, sizes and where labels go. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from hearthwatch.schemas.items import Detection

SIZE = (320, 240)
QUALITY = 85
FONT_PIXELS = 13  # the smallest that reads well on a phone's lock screen
BOX_PIXELS = 2
LABEL_PAD = 3

COLOURS = {
    "person": "#E74856",
    **dict.fromkeys(("car", "truck", "bus"), "#3B82F6"),
    **dict.fromkeys(("dog", "cat"), "#76B900"),
    **dict.fromkeys(("bicycle", "motorcycle"), "#FFB800"),
    "bird": "#A855F7",
    "package": "#14B8A6",
}
OTHERS = "#94A3B8"


def draw(picture: Image.Image, detections: Sequence[Detection], size: tuple[int, int] = SIZE) -> bytes:
    """Draw a JPEG of `size`: the picture fitted in and padded with black, its boxes and labels."""
    canvas, scale, left, top = _fitted(picture, size)
    pen = ImageDraw.Draw(canvas)
    found = [_Box.of(d, scale, left, top, picture.size) for d in sorted(detections, key=lambda d: d.confidence)]
    for box in found:
        pen.rectangle(box.edges, outline=box.colour, width=BOX_PIXELS)
    taken: list[_Edges] = []
    for box in reversed(found):  # the surest one's label is placed first
        _label(pen, box, size, taken)
    out = BytesIO()
    canvas.save(out, "JPEG", quality=QUALITY, subsampling=0)  # halved colour would wash thin lines and letters out
    return out.getvalue()


def cut_borders(thumbnail: bytes, width: int, height: int) -> bytes:
    """Return a thumbnail of a picture of this size without its black borders."""
    with Image.open(BytesIO(thumbnail)) as image:
        _, inner_width, inner_height, left, top = _fit(width, height, image.size)
        out = BytesIO()
        image.crop((left, top, left + inner_width, top + inner_height)).save(
            out, "JPEG", quality=QUALITY, subsampling=0
        )
        return out.getvalue()


def _fit(width: int, height: int, size: tuple[int, int]) -> tuple[float, int, int, int, int]:
    """Return scale, width, height, left and top of a picture fitted into this size."""
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    return scale, *inner, (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2


def _fitted(picture: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, float, int, int]:
    scale, width, height, left, top = _fit(*picture.size, size)
    canvas = Image.new("RGB", size)
    canvas.paste(picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0), (left, top))
    return canvas, scale, left, top


class _Edges(NamedTuple):
    """A rectangle; all four pixels belong to it."""

    left: int
    top: int
    right: int
    bottom: int

    def touches(self, other: _Edges) -> bool:
        return (
            self.left <= other.right
            and other.left <= self.right
            and self.top <= other.bottom
            and other.top <= self.bottom
        )


class _Box(NamedTuple):
    """A detection in pixels of the thumbnail."""

    edges: _Edges
    colour: str
    text: str

    @classmethod
    def of(cls, d: Detection, scale: float, left: int, top: int, picture: tuple[int, int]) -> _Box:
        def within(value: float, offset: int, length: int) -> int:
            return offset + max(0, min(round(value * scale), round(length * scale) - 1))

        x, y, width, height = d.bbox
        x0, x1 = (within(value, left, picture[0]) for value in (x, x + width))
        y0, y1 = (within(value, top, picture[1]) for value in (y, y + height))
        edges = _Edges(x0, y0, max(x0, x1), max(y0, y1))
        return cls(edges, COLOURS.get(d.object_type, OTHERS), f"{d.object_type} {d.confidence:.0%}")


def _label(pen: ImageDraw.ImageDraw, box: _Box, size: tuple[int, int], taken: list[_Edges]) -> None:
    """Write the label beside its box, whole, and on no other label; not at all where there is no room left."""
    font = _font()
    text = box.text
    while len(text) > 1 and font.getlength(text) + 2 * LABEL_PAD > size[0]:
        text = text[:-2].rstrip() + "…"
    width, height = round(font.getlength(text)) + 2 * LABEL_PAD, FONT_PIXELS + LABEL_PAD
    place = _place(box.edges, width, height, size, taken)
    if place is None:
        return
    taken.append(place)
    pen.rectangle(place, fill=box.colour)
    pen.text((place.left + LABEL_PAD, place.top + height / 2), text, fill=_ink(box.colour), font=font, anchor="lm")


def _place(box: _Edges, width: int, height: int, size: tuple[int, int], taken: Sequence[_Edges]) -> _Edges | None:
    """Above the box, else below it, else in it; None where other labels fill that room, as in a crowd."""
    tops = (box.top - height, box.bottom + 1, *range(box.top, max(box.top + 1, box.bottom - height), height))
    for top in tops:
        for left in (box.left, box.right - width + 1):
            x, y = max(0, min(left, size[0] - width)), max(0, min(top, size[1] - height))
            place = _Edges(x, y, x + width - 1, y + height - 1)
            if y == top and not any(place.touches(other) for other in taken):
                return place
    return None


def _ink(colour: str) -> str:
    """Black or white, whichever stands out more (luma of ITU-R BT.601)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_PIXELS)
