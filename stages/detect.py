"""Look at pictures: `Frame` in, `Detected` out, in order, nothing lost.

A picture that cannot be looked at comes out as `Detected` with its error. In this process: one forward pass for up to
`batch_max` frames, across cameras: a lone picture is looked at alone and at once, a backlog fills the batches. With a
service elsewhere: a few requests in flight, and while the service is away frames wait, and with them everything behind
them, since order is kept; they stay discovered, so nothing is lost.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Protocol

from pydantic import Field, PrivateAttr

from hearthwatch.gpu.decode import DecodedPicture
from hearthwatch.gpu.detector import Detector, InferenceResult
from hearthwatch.gpu.options import DetectorSwitches
from hearthwatch.gpu.remote import RemoteDetector
from hearthwatch.schemas.components import Stage
from hearthwatch.schemas.items import DeadLetter, Detected, Frame
from hearthwatch.schemas.settings import BATCH_MAX, HttpUrl, from_settings, masked

log = logging.getLogger(__name__)


class _Backend(Protocol):
    model: str

    @property
    def warnings(self) -> tuple[str, ...]: ...
    def describe(self) -> str: ...
    def infer(self, opened: list[DecodedPicture]) -> list[InferenceResult]: ...
    def close(self) -> None: ...


class _Detect(Stage):
    """What the two detectors share."""

    accepts = Frame
    emits = Detected

    confidence: Annotated[float, Field(ge=0, le=1)] = from_settings("detection_confidence_threshold")
    """Keep detections whose score is at least this."""
    object_types: tuple[str, ...] = from_settings("hearthwatch_object_types")
    """Labels that count; `*` is all."""
    unique_iou: Annotated[float | None, Field(gt=0, le=1)] = None
    """Of boxes of one type that overlap by this much (intersection over union), only the surest counts; unset: all do.
    A fully trained RT-DETRv2 needs it not; `yard` does, 0.6."""

    _backend: _Backend | None = PrivateAttr(None)

    def process(self, items: list[Any]) -> list[Any]:
        """Frames in, `Detected` out, one for each."""
        assert self._backend is not None, "open() comes first"
        good = [frame for frame in items if frame.recorded is None and frame.opened and frame.opened.error is None]
        looked = dict(zip(map(id, good), self._backend.infer([frame.opened for frame in good]), strict=True))
        return [self._detected(frame, looked.get(id(frame))) for frame in items]

    def stop(self) -> None:
        """End a `process` that waits for a service, now: it raises `gpu.StoppedError`. Fit for a signal handler."""
        if isinstance(self._backend, RemoteDetector):
            self._backend.stop()

    def close(self) -> None:
        """Let go of the model or the connections."""
        if self._backend:
            self._backend.close()
            self._backend = None

    def _detected(self, frame: Frame, looked: InferenceResult | None) -> Detected:
        opened, model = frame.opened, self._backend.model if self._backend else None
        if frame.recorded is not None:
            return frame.recorded
        if opened is None:
            return Detected(frame, 0, 0, (), DeadLetter("detect", "the frame carries no picture"))
        if looked is None:
            return Detected(frame, opened.width, opened.height, (), opened.error)
        error = DeadLetter("detect", looked.error) if looked.error else None
        return Detected(
            frame, opened.width, opened.height, looked.detections, error, model=model, detect_ms=looked.milliseconds
        )

    def _remote(self, url: str) -> RemoteDetector:
        return RemoteDetector(url, self.confidence, self.object_types, self.unique_iou)

    def _use(self, backend: _Backend) -> None:
        for warning in backend.warnings:
            log.warning("%s", warning)
        log.info("detecting with %s", backend.describe())
        self._backend = backend


class RtDetr(_Detect):
    """RT-DETRv2 in this process, on CUDA or CPU; or, where `url` is set, the service there."""

    model: str = from_settings("hearthwatch_detector_model")
    """A hub id, a folder with `config.json`, `model.safetensors`, `preprocessor_config.json`, or `yard`."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = from_settings("hearthwatch_device")
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    batch_max: Annotated[int | None, Field(ge=1, le=BATCH_MAX)] = from_settings("hearthwatch_detect_batch_max")
    """Pictures per forward pass at most; unset: 32 on CUDA, 1 on a CPU."""
    switches: DetectorSwitches = DetectorSwitches()
    """What may be done to be fast, each with an off switch: docs/detector.md."""
    url: HttpUrl = from_settings("rtdetr_url")
    """Base URL of an RT-DETR service that detects instead; unset: detect in this process."""

    def label(self) -> str:
        """Model and device, or the service."""
        return _service(self.url) if self.url else f"RT-DETRv2 {self.model} on {self.device}"

    def open(self) -> None:
        """Load and warm the model: seconds, and a download at the first use of a hub id."""
        if self.url:
            return self._use(self._remote(self.url))
        return self._use(
            Detector(
                self.model,
                self.device,
                self.confidence,
                self.object_types,
                self.unique_iou,
                self.batch_max,
                self.switches,
            )
        )


class RemoteRtDetr(_Detect):
    """An RT-DETR service elsewhere: `POST {url}/detect` with each picture."""

    url: Annotated[HttpUrl, Field(min_length=1)]
    """Base URL of the service, such as http://localhost:8001."""

    def label(self) -> str:
        """The service."""
        return _service(self.url)

    def open(self) -> None:
        """Make the client; the service may come later."""
        self._use(self._remote(str(self.url)))


def _service(url: str | None) -> str:
    return f"RT-DETR at {masked('RTDETR_URL', url or '')}"
