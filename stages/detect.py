"""Detect objects in pictures: `Frame` in, `Detected` out, in order, nothing lost.

A picture that cannot be processed comes out as `Detected` with its error. In this process: one forward pass for up to
`batch_max` frames, across cameras: a lone picture is processed alone and at once, a backlog fills the batches. With a
remote service: a few requests in flight, and while the service is unavailable frames wait, and with them everything
behind them, since order is kept; they stay discovered, so nothing is lost.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any

from pydantic import Field

from hearthwatch.gpu.detector import Detector, InferenceResult
from hearthwatch.gpu.options import DetectorSwitches
from hearthwatch.gpu.remote import RemoteDetector, probe_detector
from hearthwatch.schemas.components import Stage, StageWorker
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import DeadLetter, Detected, Frame
from hearthwatch.schemas.settings import BATCH_MAX, HttpUrl, from_settings, masked

log = logging.getLogger(__name__)


class RtDetr(Stage):
    """RT-DETRv2 in this process, on CUDA or CPU; or, where `url` is set, the service there."""

    accepts = Frame
    emits = Detected

    model: str = from_settings("hearthwatch_detector_model")
    """A hub id, a folder with `config.json`, `model.safetensors`, `preprocessor_config.json`, or `yard`."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = from_settings("hearthwatch_device")
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    url: HttpUrl = from_settings("rtdetr_url")
    """Base URL of an RT-DETR service that detects instead; unset: detect in this process."""
    confidence: Annotated[float, Field(ge=0, le=1)] = from_settings("detection_confidence_threshold")
    """Keep detections whose score is at least this."""
    object_types: tuple[str, ...] = from_settings("hearthwatch_object_types")
    """Labels that count; `*` is all."""
    unique_iou: Annotated[float | None, Field(gt=0, le=1)] = None
    """Of boxes of one type that overlap by this much (intersection over union), only the surest counts; unset: all do.
    A fully trained RT-DETRv2 does not need it; `yard` does, 0.6."""
    batch_max: Annotated[int | None, Field(ge=1, le=BATCH_MAX)] = from_settings("hearthwatch_detect_batch_max")
    """Pictures per forward pass at most; unset: 32 on CUDA, 1 on a CPU."""
    switches: DetectorSwitches = DetectorSwitches()
    """What makes the detector fast, each with an off switch: docs/detector.md."""

    def label(self) -> str:
        """Name model and device, or the service."""
        if self.url:
            return f"RT-DETR at {masked('RTDETR_URL', self.url)}"
        return f"RT-DETRv2 {self.model} on {self.device}"

    def probe(self) -> str | None:
        return probe_detector(self.url) if self.url else None

    def build(self, context: Context) -> DetectWorker:
        return DetectWorker(self)


class DetectWorker(StageWorker):
    """Holds the model, or the connections to the service."""

    def __init__(self, options: RtDetr) -> None:
        self.options = options
        self.backend: Detector | RemoteDetector | None = None

    def open(self) -> None:
        """Load and warm the model: seconds, and a download at the first use of a hub id. A service may come later."""
        o = self.options
        backend = (
            RemoteDetector(o.url, o.confidence, o.object_types, o.unique_iou)
            if o.url
            else Detector(o.model, o.device, o.confidence, o.object_types, o.unique_iou, o.batch_max, o.switches)
        )
        for warning in backend.warnings:
            log.warning("%s", warning)
        log.info("detecting with %s", backend.describe())
        self.backend = backend

    def process(self, items: list[Any]) -> list[Any]:
        """Frames in, `Detected` out, one for each."""
        assert self.backend is not None, "open() comes first"
        good = [frame for frame in items if frame.recorded is None and frame.opened and frame.opened.error is None]
        found = dict(zip(map(id, good), self.backend.infer([frame.opened for frame in good]), strict=True))
        return [self._make_detected(frame, found.get(id(frame)), self.backend.model) for frame in items]

    def stop(self) -> None:
        """End a `process` that waits for a service, now: it raises `gpu.StoppedError`. Fit for a signal handler."""
        if isinstance(self.backend, RemoteDetector):
            self.backend.stop()

    def close(self) -> None:
        """Release the model or the connections."""
        if self.backend:
            self.backend.close()
            self.backend = None

    def _make_detected(self, frame: Frame, found: InferenceResult | None, model: str) -> Detected:
        opened = frame.opened
        if frame.recorded is not None:
            return frame.recorded
        if opened is None:
            return Detected(frame, 0, 0, (), DeadLetter("detect", "the frame carries no picture"))
        if found is None:
            return Detected(frame, opened.width, opened.height, (), opened.error)
        error = DeadLetter("detect", found.error) if found.error else None
        return Detected(
            frame, opened.width, opened.height, found.detections, error, model=model, detect_ms=found.milliseconds
        )
