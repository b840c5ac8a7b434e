"""Load an RT-DETRv2 through transformers: a hub id, a folder, or `yard`, the packaged model of the demo."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearthwatch.gpu import DetectorError

YARD = Path(__file__).parent / "models" / "yard"
FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
KINDS = ("rt_detr_v2", "rt_detr")  # one output format: scores by sigmoid, boxes as centre and size, 0 to 1
BILINEAR = 2  # as PIL numbers it; all published checkpoints use it


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a picture becomes the model's input: resized to `height` x `width`, scaled, perhaps normalised."""

    height: int
    width: int
    factor: float = 1 / 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def load(model: str) -> tuple[Any, Preparation]:
    """The model, float32 on the CPU, and its preparation. Raises `DetectorError`."""
    os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")  # one `.item()` per decoder layer is a CUDA sync
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForObjectDetection
    from transformers.utils import cached_file, logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    where = _where(model)
    try:
        config = AutoConfig.from_pretrained(where)
        if config.model_type not in KINDS:
            raise DetectorError(f"model `{model}` is a `{config.model_type}`: this detector runs {' and '.join(KINDS)}")
        preparation = _preparation(model, cached_file(where, "preprocessor_config.json"))
        network, report = AutoModelForObjectDetection.from_pretrained(
            where, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # files, hub, JSON, shapes, weights
        raise DetectorError(
            f"model `{model}` cannot be loaded: {str(error).splitlines()[0]}. Set HEARTHWATCH_DETECTOR_MODEL to `yard`, "
            f"to a hub id that this machine can reach, or to a folder with {', '.join(FILES)}"
        ) from error
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        raise DetectorError(
            f"model `{model}` lacks {len(missing)} of its weights, {missing[0]} for one: is it complete?"
        )
    return network.eval(), preparation


def _where(model: str) -> str:
    if model == "yard":
        return str(YARD)
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith((".", "~")):
            raise DetectorError(f"model `{model}` is not a folder: it should hold {', '.join(FILES)}")
        return model
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise DetectorError(f"model folder `{model}` has no {', '.join(missing)}")
    return str(folder)


def _preparation(model: str, path: str) -> Preparation:
    said = json.loads(Path(path).read_text())
    size = said.get("size", {})
    unknown = [
        f"{name} = {said[name]}"
        for name, known in (("do_resize", True), ("resample", BILINEAR), ("do_pad", False))
        if said.get(name, known) != known
    ]
    if unknown or not {"height", "width"} <= size.keys():
        raise DetectorError(
            f"model `{model}`: preprocessor_config.json asks for {', '.join(unknown) or f'size = {size}'}, "
            "but this detector resizes bilinearly to a fixed height and width, without padding"
        )
    normalises = said.get("do_normalize", False)
    return Preparation(
        height=size["height"],
        width=size["width"],
        factor=said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 1.0,
        mean=tuple(said["image_mean"]) if normalises else None,
        std=tuple(said["image_std"]) if normalises else None,
    )
