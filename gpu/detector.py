"""Run RT-DETRv2 on CUDA or CPU: pictures in, labelled boxes in pixels of the original out.

No Bytewax, no database. One thread at a time. Boxes and scores are those of transformers' own processor and
post-processing within 0.5 px and 0.01, except that a score equal to the threshold counts. A picture that the model fails
on costs only itself; a batch too large for the memory becomes a smaller one. Each optimization has a switch in
`hearthwatch.gpu.options`. Importing this file loads neither torch nor transformers, `Detector()` does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hearthwatch.gpu import DetectorError
from hearthwatch.gpu.batches import BatchRunner, is_device_lost, is_out_of_memory
from hearthwatch.gpu.boxes import UNIQUE_IOU, DetectionFilter, canonical_label
from hearthwatch.gpu.decode import size_of
from hearthwatch.gpu.loading import choose_device, labels_of, load, locate, require_torch, usable_cpus, user_cache
from hearthwatch.gpu.model_families import read_preparation
from hearthwatch.gpu.options import DetectorSwitches, Runtime
from hearthwatch.gpu.parity import EXACT, FLOAT32_PROBES
from hearthwatch.schemas.items import Detection
from hearthwatch.schemas.settings import input_size

if TYPE_CHECKING:
    from hearthwatch.gpu.decode import DecodedPicture, Pixels
    from hearthwatch.gpu.openvino_runner import ExportedNetwork, OpenVinoRunner
    from hearthwatch.gpu.runner import ModelRunner

log = logging.getLogger(__name__)

BATCH_MAX_CUDA, BATCH_MAX_CPU = 32, 1  # a CPU gains nothing from batches (60 GFLOP a picture keep every core busy)


class InferenceResult(NamedTuple):
    """One picture's detections, or its error; and its share of the batch's time."""

    detections: tuple[Detection, ...]
    error: str | None
    milliseconds: float


class CandidateBoxes(NamedTuple):
    """All candidates of one picture without threshold, by descending score: k = min(number of queries, queries x classes)."""

    scores: NDArray[np.float32]
    """(k,), 0 to 1"""
    classes: NDArray[np.int64]
    """(k,), index into `labels`"""
    boxes: NDArray[np.float32]
    """(k, 4), x0 y0 x1 y1 in pixels of the original picture, not clipped"""


class SubmittedBatch(NamedTuple):
    """A batch in flight and the sizes of its pictures."""

    ticket: Any
    sizes: list[tuple[int, int]]


LABELS_SHOWN = 10  # in a sentence; a model may have hundreds


class Detector:
    """A loaded, warmed-up model.

    Raises:
        DetectorError: device or model is not available, or one batch does not fit the memory.
    """

    def __init__(
        self,
        model: str,
        device: str = "auto",
        confidence: float = 0.5,
        object_types: Sequence[str] = ("*",),
        unique_iou: float | None = UNIQUE_IOU,
        batch_max: int | None = None,
        switches: DetectorSwitches = DetectorSwitches(),  # noqa: B008  (frozen)
        runtime: Runtime = "auto",
        size: str | None = None,
        cache: Path | None = None,
    ) -> None:
        """`cache`: a folder for networks exported to OpenVINO; the user's own without it."""
        self.model, self.device = model, choose_device(device)
        folder = locate(model)
        self.preparation = read_preparation(model, str(folder / "preprocessor_config.json"))
        if size:
            try:
                width, height = input_size(size, self.preparation.step)
            except ValueError as error:
                raise DetectorError(f"model `{model}`, size `{size}`: {error}") from None
            self.preparation = replace(self.preparation, width=width, height=height)
        self._notes: dict[str, str] = {}
        rows = batch_max or (BATCH_MAX_CPU if self.device == "cpu" else BATCH_MAX_CUDA)
        self._runner = self._open_openvino(folder, switches, runtime, cache) or self._open_torch(switches, rows)
        # Scores are float32: 0.7 is met by the float32 next to 0.7, which is a little less.
        self.filter = DetectionFilter(
            float(np.float32(confidence)), frozenset(map(canonical_label, object_types)), unique_iou
        )
        self._accepted = np.array([self.filter.accepted_label(label) is not None for label in self.labels])
        self._batches = BatchRunner(
            self._submit, self._collect, rows, is_out_of_memory, is_device_lost, self._runner.in_flight
        )
        self._warm_up()

    @property
    def batch_max(self) -> int:
        """Pictures per forward pass; lower after the memory ran out."""
        return self._batches.size

    @property
    def at_once(self) -> int:
        """Pictures that keep the device busy: while one batch is computed, the next are uploaded."""
        return self._batches.size * self._batches.in_flight

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about this model and these options."""
        unknown = sorted(set(self.filter.object_types) - {"*"} - set(self.labels))
        labels = [f"model `{self.model}` has no label {', '.join(unknown)}"] if unknown else []
        if unknown and len(unknown) == len(self.filter.object_types):  # a slip, or the labels of another model
            known = ", ".join(sorted(self.labels)[:LABELS_SHOWN])
            labels = [
                f"{labels[0]}, so nothing will be detected: HEARTHWATCH_OBJECT_TYPES takes labels such as {known}"
            ]
        return (*labels, *([self._notes["warning"]] if "warning" in self._notes else []))

    def describe(self) -> str:
        """Return one line for logs and health."""
        size, notes = f"{self.preparation.width}x{self.preparation.height}", self._notes
        how = f"{notes['runtime'].partition(';')[0]}, {size}, {notes['precision']}"
        return f"{self.preparation.family} {self.model} on {self.device}, {how}, up to {self.batch_max} a batch"

    def details(self) -> dict[str, str]:
        """Return each switch, on or off and why; `parity`, the difference of low precision from float32; the device."""
        return {"device": self.device, "batch_max": str(self.batch_max), **self._notes}

    def infer(self, decoded: Sequence[DecodedPicture]) -> list[InferenceResult]:
        """Detect in batches of `batch_max`, in order; an exception becomes the `error` of the picture that caused it.

        Raises:
            DetectorError: no picture is to blame: the device is lost, or a single picture does not fit the memory.
        """
        pictures = [one.pixels() for one in decoded]
        began, size = time.perf_counter(), self.batch_max
        try:
            results = self._batches.run(pictures)
        except Exception as error:
            raise DetectorError(f"{self.describe()} cannot continue: {type(error).__name__}: {error}") from error
        milliseconds = (time.perf_counter() - began) * 1e3 / max(1, len(decoded))
        if self.batch_max < size:
            log.warning("out of memory with %d pictures a batch: %d from now on", size, self.batch_max)
        return [
            InferenceResult((), f"{type(result).__name__}: {result}", milliseconds)
            if isinstance(result, Exception)
            else InferenceResult(result, None, milliseconds)
            for result in results
        ]

    def detect(self, pictures: Sequence[Image.Image]) -> list[tuple[Detection, ...]]:
        """Detect in PIL RGB pictures of any sizes, by descending score. An exception propagates."""
        found = self.candidates(pictures)
        return [self._select(one, picture.size) for one, picture in zip(found, pictures, strict=True)]

    def candidates(self, pictures: Sequence[Image.Image]) -> list[CandidateBoxes]:
        """Return everything the model finds in each picture, without threshold."""
        size = self.batch_max
        parts = [pictures[at : at + size] for at in range(0, len(pictures), size)]
        return [one for part in parts for one in self._candidates(self._submit(part))]

    def close(self) -> None:
        """Release the model and its memory."""
        del self._runner
        if self.device != "cpu":
            import torch

            torch.cuda.empty_cache()

    def _open_openvino(
        self, folder: Path, switches: DetectorSwitches, runtime: Runtime, cache: Path | None
    ) -> OpenVinoRunner | None:
        """Return None and note why, where torch has to run the model."""
        from hearthwatch.gpu.openvino_runner import ExportError, OpenVinoRunner, make_export

        def make() -> ExportedNetwork:
            return make_export(load(self.model)[0], self.preparation, switches)

        warning = problem = None
        try:
            if runtime == "torch":
                return None
            if self.device != "cpu" or switches.compiled or switches.precision not in ("auto", "float32"):
                raise ExportError("it computes in float32 on CPUs only, without `compiled`")
            runner = OpenVinoRunner(folder, self.preparation, switches, cache or user_cache(), make)
            if not runner.difference.within(EXACT):
                warning = f"openvino moves boxes or scores: {runner.difference} on {FLOAT32_PROBES} pictures"
        except ExportError as error:
            problem = str(error)
        if runtime == "openvino" and problem:
            raise DetectorError(f"runtime `openvino`: {problem}; set HEARTHWATCH_DETECTOR_RUNTIME to auto or torch")
        if problem or (warning and runtime == "auto"):
            self._notes["runtime"] = f"torch; not openvino: {problem or warning}"
            return None
        self.labels, self._notes = runner.labels, runner.notes
        if warning:
            self._notes["warning"] = f"{warning}; `auto` would refuse it"
        return runner

    def _open_torch(self, switches: DetectorSwitches, rows: int) -> ModelRunner:
        require_torch()
        import torch

        from hearthwatch.gpu.runner import ModelRunner

        self._notes.setdefault("runtime", "torch")
        if self.device == "cpu":
            torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))
        detr, _ = load(self.model)
        self.labels = labels_of(detr)
        try:
            return ModelRunner(detr, self.preparation, switches, torch.device(self.device), rows, self._notes)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise DetectorError(
                f"no room on {self.device} for `{self.model}` with {rows} pictures a batch: "
                f"set HEARTHWATCH_DETECT_BATCH_MAX below {rows}"
            ) from error

    def _warm_up(self) -> None:
        """Run an empty picture: the first pass allocates and compiles, and a broken model fails before real pictures."""
        (result,) = self._batches.run([Image.new("RGB", (self.preparation.width, self.preparation.height))])
        if isinstance(result, Exception):
            raise DetectorError(f"model `{self.model}` fails on an empty picture: {result}") from result

    def _submit(self, pictures: Sequence[Pixels]) -> SubmittedBatch:
        for picture in pictures:
            if isinstance(picture, Image.Image) and picture.mode != "RGB":
                raise ValueError(f"a picture of mode {picture.mode}, not RGB")
        return SubmittedBatch(self._runner.submit(pictures), [size_of(picture) for picture in pictures])

    def _collect(self, submitted: SubmittedBatch) -> list[tuple[Detection, ...]]:
        return [self._select(one, size) for one, size in zip(self._candidates(submitted), submitted.sizes, strict=True)]

    def _candidates(self, submitted: SubmittedBatch) -> list[CandidateBoxes]:
        found = self._runner.collect(submitted.ticket)
        if not np.isfinite(found).all():
            raise ArithmeticError("the model returned NaN or infinity")
        return [
            CandidateBoxes(one[:, 0], one[:, 1].astype(np.int64), one[:, 2:] * np.array(size * 2, np.float32))
            for one, size in zip(found, submitted.sizes, strict=True)
        ]

    def _select(self, found: CandidateBoxes, size: tuple[int, int]) -> tuple[Detection, ...]:
        at = np.flatnonzero((found.scores >= np.float32(self.filter.confidence)) & self._accepted[found.classes])
        labels = [self.labels[number] for number in found.classes[at]]
        boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in found.boxes[at].tolist()]
        return self.filter.select(zip(labels, found.scores[at].tolist(), boxes, strict=True), *size)
