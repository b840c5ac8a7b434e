"""RT-DETRv2 on CUDA or CPU: pictures in, labelled boxes in pixels of the original out.

No Bytewax, no database. One thread at a time. Boxes and scores are those of transformers' own processor and
post-processing within 0.5 px and 0.01, except that a score equal to the threshold counts. A picture that cannot be
looked at costs itself only; a batch too large for the memory becomes a smaller one. Importing this file loads neither
torch nor transformers, `Detector()` does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpu import DetectorError
from gpu.boxes import Wanted
from gpu.halving import Batches
from gpu.labels import canonical
from gpu.options import Options
from schemas.items import Detection

if TYPE_CHECKING:
    from torch import Tensor

    from gpu.decode import Opened

log = logging.getLogger(__name__)

BATCH_MAX_CUDA, BATCH_MAX_CPU = 32, 1  # a CPU gains nothing from batches (60 GFLOP a picture keep every core busy)


class Looked(NamedTuple):
    """What came of one picture: its detections, or why nobody could look; and its share of the time."""

    detections: tuple[Detection, ...]
    error: str | None
    milliseconds: float


class Raw(NamedTuple):
    """Every candidate of one picture, the surest first: k = min(number of queries, queries x classes)."""

    scores: NDArray[np.float32]
    """(k,), 0 to 1"""
    classes: NDArray[np.int64]
    """(k,), index into `labels`"""
    boxes: NDArray[np.float32]
    """(k, 4), x0 y0 x1 y1 in pixels of the original picture, not clipped"""


class Detector:
    """A loaded, warmed-up model. Raises `DetectorError` with a message for the user where it cannot be had."""

    def __init__(
        self,
        model: str,
        device: str = "auto",
        confidence: float = 0.5,
        object_types: Sequence[str] = ("*",),
        unique_iou: float | None = None,
        batch_max: int | None = None,
        options: Options = Options(),  # noqa: B008  (frozen)
    ) -> None:
        import torch

        from gpu import device as devices
        from gpu.loading import load

        self.model, self.device = model, devices.choose(device)
        network, self.preparation = load(model)
        names = network.config.id2label
        self.labels = [canonical(names[number]) for number in range(len(names))]
        # Scores are float32: 0.7 is met by the float32 next to 0.7, which is a little less.
        self.wanted = Wanted(float(np.float32(confidence)), frozenset(map(canonical, object_types)), unique_iou)
        self._names = np.array([self.wanted.label(label) is not None for label in self.labels])
        self.options = options
        if options.folded:
            from gpu.fuse import fuse

            fuse(network)
        # r18 at 640x640 on two cores: 438 ms a picture, 269 folded, 235 folded and with its channels last.
        self._network = network.requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        size = batch_max or (BATCH_MAX_CUDA if self.device.type == "cuda" else BATCH_MAX_CPU)
        self._batches = Batches(self.detect, size, devices.is_out_of_memory, devices.is_fatal)
        self._warm_up()

    @property
    def batch_max(self) -> int:
        """Pictures per forward pass; less than asked for after the memory ran out."""
        return self._batches.size

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about this model and these options."""
        never = sorted(set(self.wanted.object_types) - {"*"} - set(self.labels))
        return (f"model `{self.model}` never sees: {', '.join(never)}",) if never else ()

    def describe(self) -> str:
        """One line for logs and health."""
        size = f"{self.preparation.width}x{self.preparation.height}"
        return f"RT-DETRv2 {self.model} on {self.device}, {size}, up to {self.batch_max} a batch"

    def details(self) -> dict[str, str]:
        """What is on, what is off and why, for whoever measures."""
        return {"device": str(self.device), "precision": "float32", "batch_max": str(self.batch_max)}

    def look(self, opened: Sequence[Opened]) -> list[Looked]:
        """Look at pictures in batches of `batch_max`, in order; what raises is said of the picture that did it.

        Raises `DetectorError` where no picture is to blame: the device is lost, or one picture alone does not fit the
        memory.
        """
        pictures = [one.picture() for one in opened]
        began, size = time.perf_counter(), self.batch_max
        try:
            results = self._batches.run(pictures)
        except Exception as error:
            raise DetectorError(f"{self.describe()} cannot go on: {type(error).__name__}: {error}") from error
        milliseconds = (time.perf_counter() - began) * 1e3 / max(1, len(opened))
        if self.batch_max < size:
            log.warning("out of memory with %d pictures a batch: %d from now on", size, self.batch_max)
        return [
            Looked((), f"{type(result).__name__}: {result}", milliseconds)
            if isinstance(result, Exception)
            else Looked(result, None, milliseconds)
            for result in results
        ]

    def detect(self, pictures: Sequence[Image.Image]) -> list[tuple[Detection, ...]]:
        """PIL RGB pictures of any sizes -> what counts in each, the surest first. One forward pass."""
        return [self._pick(raw, picture) for raw, picture in zip(self.raw(pictures), pictures, strict=True)]

    def raw(self, pictures: Sequence[Image.Image]) -> list[Raw]:
        """Everything the model says of each picture, without threshold. One forward pass."""
        import torch

        with torch.inference_mode():
            output = self._network(pixel_values=self._prepared(pictures))
            found = _candidates(output.logits, output.pred_boxes).cpu().numpy()  # the one copy back
        if not np.isfinite(found).all():
            raise ArithmeticError("the model answered with a number that is none (NaN or infinite)")
        sizes = np.array([picture.size * 2 for picture in pictures], np.float32)
        return [
            Raw(one[:, 0], one[:, 1].astype(np.int64), one[:, 2:] * size)
            for one, size in zip(found, sizes, strict=True)
        ]

    def close(self) -> None:
        """Let go of the model and its memory."""
        import torch

        del self._network
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _warm_up(self) -> None:
        """The first pass allocates and compiles; and a model that cannot look at nothing can look at nothing."""
        (result,) = self._batches.run([Image.new("RGB", (self.preparation.width, self.preparation.height))])
        if isinstance(result, Exception):
            raise DetectorError(f"model `{self.model}` fails on an empty picture: {result}") from result

    def _pick(self, raw: Raw, picture: Image.Image) -> tuple[Detection, ...]:
        at = np.flatnonzero((raw.scores >= np.float32(self.wanted.confidence)) & self._names[raw.classes])
        labels = [self.labels[number] for number in raw.classes[at]]
        boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in raw.boxes[at].tolist()]
        return self.wanted.pick(zip(labels, raw.scores[at].tolist(), boxes, strict=True), *picture.size)

    def _prepared(self, pictures: Sequence[Image.Image]) -> Tensor:
        """PIL RGB pictures -> (n, 3, height, width) float32 on the device."""
        import torch

        wanted = self.preparation
        # Pillow resizes, as it does in transformers' processor: bit for bit the same, and half its cost (1080p: 9 ms
        # of 16). torch's antialiased uint8 `interpolate` takes 5 ms and differs by one level in 0.2 % of the pixels,
        # which moves scores of the yard model by up to 0.03.
        resized = [picture.resize((wanted.width, wanted.height), Image.Resampling.BILINEAR) for picture in pictures]
        x = torch.from_numpy(np.stack([np.asarray(one) for one in resized])).to(self.device)
        x = x.permute(0, 3, 1, 2).float() * wanted.factor
        if wanted.mean and wanted.std:
            x = (x - x.new_tensor(wanted.mean)[:, None, None]) / x.new_tensor(wanted.std)[:, None, None]
        return x


def _candidates(logits: Tensor, boxes: Tensor) -> Tensor:
    """(n, queries, classes) and (n, queries, 4) centre and size -> (n, k, 6): score, class, x0 y0 x1 y1, all 0 to 1.

    Top k over query x class, as transformers' `post_process_object_detection` does for a focal-loss model.
    """
    import torch

    n, queries, classes = logits.shape
    scores, index = logits.float().sigmoid().flatten(1).topk(queries)
    centre, size = boxes.float().chunk(2, dim=-1)
    corners = torch.cat((centre - size / 2, centre + size / 2), dim=-1)
    chosen = corners.gather(1, (index // classes)[..., None].expand(n, queries, 4))
    return torch.cat((scores[..., None], (index % classes)[..., None].float(), chosen), dim=-1)
