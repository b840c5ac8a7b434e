"""Detector families that run here: what differs between them, and how a picture becomes their input.

All have one output format: scores by sigmoid, boxes as centre and size, 0 to 1. Another family with it is a line in FAMILIES.
`trimmed` is written for RT-DETR's modules (`network.py`); where it does not fit, a family runs as transformers runs it.
Importing this file loads neither torch nor transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from typing import Any, NamedTuple

from hearthwatch.gpu import DetectorError


class Family(NamedTuple):
    """One architecture."""

    name: str
    patch: int = 32
    """Its input's sides are multiples of this, and of the windows of a side where attention is divided into windows."""
    normalises: bool = False
    """Whether its image processor does, where preprocessor_config.json does not say."""
    windows: int = 1
    """`num_windows`, where config.json does not say."""
    power: int = 1
    """`num_windows` is the windows of a side to this power."""


FAMILIES = {  # by `model_type` in transformers
    "rt_detr": Family("RT-DETR"),
    "rt_detr_v2": Family("RT-DETRv2"),
    "d_fine": Family("D-FINE"),
    "deimv2": Family("DEIMv2"),
    "lw_detr": Family("LW-DETR", 16, True, windows=16, power=2),
    "rf_detr": Family("RF-DETR", 14, True, windows=4),
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
    step: int = 32
    """Height and width are multiples of this."""


def side_step(config: Mapping[str, Any]) -> int:
    """Return what the sides of a model's input are multiples of, by its config.json."""
    family, backbone = FAMILIES[config["model_type"]], config.get("backbone_config") or {}
    if family.windows == 1:
        return family.patch
    patch = backbone.get("patch_size", family.patch)
    sides = patch if isinstance(patch, list) else [patch]
    windows: float = backbone.get("num_windows", family.windows) ** (1 / family.power)
    return lcm(*sides) * round(windows)


def read_preparation(model: str, path: str) -> Preparation:
    """Read `preprocessor_config.json`; `config.json` beside it names the family.

    Raises:
        DetectorError: it asks for a preparation that this detector does not do.
    """
    config, shape = (json.loads(one.read_text()) for one in (Path(path), Path(path).with_name("config.json")))
    family, step = FAMILIES[shape["model_type"]], side_step(shape)
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
    if size["height"] % step or size["width"] % step:
        raise DetectorError(
            f"model `{model}`: preprocessor_config.json asks for {size['width']}x{size['height']} pixels, "
            f"but both have to be multiples of {step} for {family.name}"
        )
    normalises = config.get("do_normalize", family.normalises)
    return Preparation(
        height=size["height"],
        width=size["width"],
        factor=config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0,
        mean=tuple(config.get("image_mean", MEAN)) if normalises else None,
        std=tuple(config.get("image_std", STD)) if normalises else None,
        family=family.name,
        step=step,
    )
