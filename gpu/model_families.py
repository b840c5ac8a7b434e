"""Detector families that run here: their `model_type` in transformers, and how a picture becomes their input.

Another family with the same outputs is a name in MODEL_TYPES; one whose modules differ also needs a forward pass in
`network.py`. Importing this file loads neither torch nor transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hearthwatch.gpu import DetectorError

MODEL_TYPES = ("rt_detr_v2", "rt_detr")  # one output format: scores by sigmoid, boxes as centre and size, 0 to 1
BILINEAR = 2  # as PIL numbers it; all published checkpoints use it


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a picture becomes the model's input: resized to `height` x `width` pixels, scaled, perhaps normalised."""

    height: int
    width: int
    factor: float = 1 / 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def read_preparation(model: str, path: str) -> Preparation:
    """Read `preprocessor_config.json`.

    Raises:
        DetectorError: it asks for a preparation that this detector does not do.
    """
    config = json.loads(Path(path).read_text())
    size = config.get("size", {})
    unknown = [
        f"{name} = {config[name]}"
        for name, supported in (("do_resize", True), ("resample", BILINEAR), ("do_pad", False))
        if config.get(name, supported) != supported
    ]
    if unknown or not {"height", "width"} <= size.keys():
        raise DetectorError(
            f"model `{model}`: preprocessor_config.json asks for {', '.join(unknown) or f'size = {size}'}, "
            "but this detector resizes bilinearly to a fixed height and width, without padding"
        )
    normalises = config.get("do_normalize", False)
    return Preparation(
        height=size["height"],
        width=size["width"],
        factor=config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0,
        mean=tuple(config["image_mean"]) if normalises else None,
        std=tuple(config["image_std"]) if normalises else None,
    )
