"""Detector families that run here: what differs between them, and how a picture becomes their input.

All have one output format: scores by sigmoid, boxes as centre and size, 0 to 1. Another family with it is a line in FAMILIES.
`trimmed` is written for RT-DETR's modules (`network.py`); where it does not fit, a family runs as transformers runs it.
Importing this file loads neither torch nor transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hearthwatch.gpu import DetectorError


class Family(NamedTuple):
    """One architecture."""

    name: str
    pixels: int = 32
    """Its input's sides are multiples of this."""
    normalises: bool = False
    """Whether its image processor does, where preprocessor_config.json does not say."""


FAMILIES = {  # by `model_type` in transformers
    "rt_detr": Family("RT-DETR"),
    "rt_detr_v2": Family("RT-DETRv2"),
    "d_fine": Family("D-FINE"),
    "deimv2": Family("DEIMv2"),
    "lw_detr": Family("LW-DETR", 16, True),
    "rf_detr": Family("RF-DETR", 14, True),
}
BILINEAR = 2  # as PIL numbers it; all published checkpoints use it
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: transformers' defaults


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a picture becomes the model's input: resized to `height` x `width` pixels, scaled, perhaps normalised."""

    height: int
    width: int
    factor: float = 1 / 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    family: str = "RT-DETRv2"


def read_preparation(model: str, path: str) -> Preparation:
    """Read `preprocessor_config.json`; `config.json` beside it names the family.

    Raises:
        DetectorError: it asks for a preparation that this detector does not do.
    """
    config = json.loads(Path(path).read_text())
    family = FAMILIES[json.loads(Path(path).with_name("config.json").read_text())["model_type"]]
    size = config.get("size", {})
    # Padding up to the largest picture of a batch: pictures of one size get none.
    unknown = [
        f"{name} = {config[name]}"
        for name, supported in (("do_resize", True), ("resample", BILINEAR), ("pad_size", None))
        if config.get(name, supported) != supported
    ]
    if unknown or not {"height", "width"} <= size.keys():
        raise DetectorError(
            f"model `{model}`: preprocessor_config.json asks for {', '.join(unknown) or f'size = {size}'}, "
            "but this detector resizes bilinearly to a fixed height and width, without padding"
        )
    if size["height"] % family.pixels or size["width"] % family.pixels:
        raise DetectorError(
            f"model `{model}`: preprocessor_config.json asks for {size['width']}x{size['height']} pixels, "
            f"but both have to be multiples of {family.pixels} for {family.name}"
        )
    normalises = config.get("do_normalize", family.normalises)
    return Preparation(
        height=size["height"],
        width=size["width"],
        factor=config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0,
        mean=tuple(config.get("image_mean", MEAN)) if normalises else None,
        std=tuple(config.get("image_std", STD)) if normalises else None,
        family=family.name,
    )
