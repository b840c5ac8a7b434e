"""Detect objects in pictures: `Frame` in, `Detected` out, in order, nothing lost.

A picture that cannot be processed comes out as `Detected` with its error. In this process: one forward pass for up to
`batch_max` frames, across cameras: a lone picture is processed alone and at once, a backlog fills the batches. With a
remote service: a few requests in flight, none of them on the dataflow's thread. A frame that waits, for the service or for a
model that is still being loaded, holds back only the frames behind it: it stays discovered, so nothing is lost, and a tick
passes it and says that its camera is behind. The source sends a service no more than `in_flight_max`, and a model that is being loaded none.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from hearthwatch.gpu.boxes import UNIQUE_IOU
from hearthwatch.gpu.detector import Detector, InferenceResult
from hearthwatch.gpu.loading import BackgroundLoader
from hearthwatch.gpu.options import DetectorSwitches, Runtime
from hearthwatch.gpu.remote import REQUESTS_MAX, RemoteDetector, probe_detector
from hearthwatch.schemas.components import AT_ONCE, Stage, StageWorker
from hearthwatch.schemas.context import FRAMES_MAX, STOP_SECONDS_MAX, Context
from hearthwatch.schemas.items import DeadLetter, Detected, Frame, Tick, has_failed
from hearthwatch.schemas.settings import BATCH_MAX, HttpUrl, InputSize, from_settings, masked

if TYPE_CHECKING:
    from bytewax.dataflow import Stream

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.05  # at the end of the input, asks this often for an answer
SILENT_SECONDS = 10.0  # no answer for so long: the service counts as unavailable


class RtDetr(Stage):
    """RT-DETRv2 in this process, on CUDA or CPU; or, where `url` is set, the service there."""

    accepts = Frame
    emits = Detected

    model: str = from_settings("hearthwatch_detector_model")
    """A hub id, a folder with `config.json`, `model.safetensors`, `preprocessor_config.json`, or `yard`."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = from_settings("hearthwatch_device")
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    runtime: Runtime = from_settings("hearthwatch_detector_runtime")
    """`auto`, `torch` or `openvino`, which is about twice as fast on a CPU; `auto` takes it where it finds the same boxes."""
    size: InputSize = from_settings("hearthwatch_detector_size")
    """Resize pictures to `640` or `640x384` pixels for the model; unset: as it was trained."""
    url: HttpUrl = from_settings("rtdetr_url")
    """Base URL of an RT-DETR service that detects instead; unset: detect in this process."""
    confidence: Annotated[float, Field(ge=0, le=1)] = from_settings("detection_confidence_threshold")
    """Keep detections whose score is at least this."""
    object_types: tuple[str, ...] = from_settings("hearthwatch_object_types")
    """Labels that count; `*` is all."""
    unique_iou: Annotated[float | None, Field(gt=0, le=1)] = UNIQUE_IOU
    """Of boxes of one type that overlap by this much (intersection over union), only the surest counts; 1: all do,
    but for equal ones."""
    batch_max: Annotated[int | None, Field(ge=1, le=BATCH_MAX)] = from_settings("hearthwatch_detect_batch_max")
    """Pictures per forward pass at most; unset: 32 on CUDA, 1 on a CPU."""
    in_flight_max: Annotated[int, Field(ge=1, le=FRAMES_MAX)] = 32
    """Decoded pictures that wait for the service at `url` at most; the others wait on disk."""
    requests_max: Annotated[int, Field(ge=1, le=FRAMES_MAX)] = REQUESTS_MAX
    """Of these, sent to the service at a time: 2 × the batch of `hearthwatch detector` on a card, times the services behind `url`."""
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
        return DetectWorker(self, context)


class HeldItem(NamedTuple):
    """An item that waits for its turn."""

    item: Any
    answer: Future[InferenceResult] | None
    since: float


class DetectWorker(StageWorker):
    """Holds the model, or the connections to the service, and the frames that wait."""

    def __init__(self, options: RtDetr, context: Context) -> None:
        self.options, self.state = options, context.detector
        self._cache = context.data_dir / "detector"
        self.backend: Detector | RemoteDetector | None = None
        self._loader: BackgroundLoader[Detector] | None = None
        self._held: deque[HeldItem] = deque()
        self._stopped = False

    def open(self) -> None:
        """Begin to load and warm the model: seconds, and a download at the first use of a hub id. A service may come later."""
        o = self.options
        self._stopped = False
        self.state.limit = self._limit
        if o.url:
            self._use(RemoteDetector(o.url, o.confidence, o.object_types, o.unique_iou, o.requests_max))
        else:
            how = o.confidence, o.object_types, o.unique_iou, o.batch_max, o.switches, o.runtime, o.size
            self._loader = BackgroundLoader(lambda: Detector(o.model, o.device, *how, cache=self._cache))
        self._report()

    def attach(self, step_id: str, up: Stream[Any]) -> Stream[Any]:
        import bytewax.operators as op

        keyed = op.flat_map_batch(f"{step_id}_chunks", up, lambda items: [("frames", items)])
        detected = op.stateful_batch(f"{step_id}_frames", keyed, self._logic())
        return op.flat_map_batch(
            f"{step_id}_detected", detected, lambda pairs: [item for _, items in pairs for item in items]
        )

    def take(self, items: list[Any]) -> list[Any]:
        """Take these in and return what can leave: what has its result and nothing before it, and every tick.

        Raises:
            DetectorError: the model cannot be loaded, or no longer used.
        """
        if self._loader and self._loader.loaded.done():
            self._use(self._loader.loaded.result())
        if isinstance(self.backend, Detector) and not self._held:
            return self.process(items)
        out: list[Any] = []
        for item in items:
            if isinstance(item, Tick):
                out += self._release()
                frames = [held.item for held in self._held if isinstance(held.item, Frame)]
                behind = {
                    frame.camera_id for frame in frames if frame.recorded is None
                }  # the others may have no camera
                out.append(replace(item, behind=item.behind | behind))
            else:
                self._held.append(self._hold(item))
        out += self._release()
        self._report()
        return out

    def finish(self) -> list[Any]:
        """Wait for everything that is held and return it; after `stop`, what has its result already."""
        out = self.take([])
        while self._held and not self._stopped:
            answer: Future[Any] | None = self._loader.loaded if self._loader else self._held[0].answer
            wait([answer] if answer else [], WAIT_SECONDS)
            out += self.take([])
        return out

    def wake_at(self) -> datetime | None:
        """When to call `take` again without new items."""
        return AT_ONCE if self._held and not self._stopped else None

    def process(self, items: list[Any]) -> list[Any]:
        """Frames in, `Detected` out, other items as they are; waits for the model or the service."""
        if self._loader:
            self._use(self._loader.loaded.result())
        assert self.backend is not None, "open() comes first"
        good = [item for item in items if self._is_asked(item)]
        found = dict(zip(map(id, good), self.backend.infer([frame.opened for frame in good]), strict=True))
        return [self._result(item, found.get(id(item))) for item in items]

    def stop(self) -> None:
        """Wait no more: what is held comes again at the next start. Fit for a signal handler."""
        self._stopped = True
        if isinstance(self.backend, RemoteDetector):
            self.backend.stop()

    def close(self) -> None:
        """Release the model or the connections."""
        if self._loader:
            self._loader.close(STOP_SECONDS_MAX)
        if self.backend:
            self.backend.close()
        self.backend = self._loader = None
        self._held.clear()
        self.state.ids.clear()

    # -- the model

    def _use(self, backend: Detector | RemoteDetector) -> None:
        for warning in backend.warnings:
            log.warning("%s", warning)
        log.info("detecting with %s", backend.describe())
        self.backend, self._loader = backend, None
        self._report()

    def _limit(self) -> int:
        """How many frames may be here. A model that is being loaded gets none: a picture in flight is suspected if it ends the process."""
        return self.options.in_flight_max if self.options.url else FRAMES_MAX if self.backend else 0

    def _report(self) -> None:
        """Say for the heartbeat what this stage does."""
        state, problem = self.state, None
        if isinstance(self.backend, RemoteDetector):
            silent = self._held and time.monotonic() - self._held[0].since > SILENT_SECONDS
            problem = self.backend.problem or (f"no answer for {SILENT_SECONDS:g} s" if silent else None)
        state.status = "starting" if self._loader else "unavailable" if problem else "ready"
        state.reason = self._loader.reason if self._loader else problem or ""

    # -- the frames

    def _hold(self, item: Any) -> HeldItem:
        answer = None
        if self._is_asked(item):
            self.state.ids.add(item.id)
            answer = self.backend.submit(item.opened) if isinstance(self.backend, RemoteDetector) else None
        return HeldItem(item, answer, time.monotonic())

    def _release(self) -> list[Any]:
        """Return from the front what can leave."""
        out: list[Any] = []
        if isinstance(self.backend, Detector):
            out = self.process([self._held.popleft().item for _ in range(min(len(self._held), self.backend.batch_max))])
        while isinstance(self.backend, RemoteDetector) and self._held and has_answer(self._held[0].answer):
            item, answer, _ = self._held.popleft()
            out.append(self._result(item, answer.result() if answer else None))
        self.state.ids.difference_update(item.frame.id for item in out if isinstance(item, Detected))
        return out

    def _is_asked(self, item: Any) -> bool:
        """Whether there is something to detect in: no frame that failed, or that was decided before a resume."""
        opened = item.opened if isinstance(item, Frame) and item.recorded is None else None
        return opened is not None and not has_failed(opened.error)

    def _logic(self) -> Callable[[None], Any]:
        from bytewax.operators import StatefulBatchLogic

        worker = self

        class Logic(StatefulBatchLogic[list[Any], list[Any], None]):
            """Hands everything to the worker; what is held is in the ledger, so there is nothing to snapshot."""

            def __init__(self, resumed: None) -> None: ...

            def on_batch(self, values: list[list[Any]]) -> tuple[list[list[Any]], bool]:
                return [worker.take([item for items in values for item in items])], False

            def on_notify(self) -> tuple[list[list[Any]], bool]:
                out = worker.take([])
                return [out] if out else [], False

            def on_eof(self) -> tuple[list[list[Any]], bool]:
                return [worker.finish()], False

            def notify_at(self) -> datetime | None:
                return worker.wake_at()

            def snapshot(self) -> None:
                return None

        return Logic

    def _result(self, item: Any, found: InferenceResult | None) -> Any:
        if not isinstance(item, Frame):
            return item
        opened = item.opened
        if item.recorded is not None:
            return item.recorded
        if opened is None:
            return Detected(item, 0, 0, (), DeadLetter("detect", "the frame carries no picture"))
        is_grey: bool | None = getattr(opened, "is_grey", None)  # an own source's picture need not know
        if found is None or self.backend is None:
            return Detected(item, opened.width, opened.height, (), opened.error, is_grey=is_grey)
        return Detected(
            item,
            opened.width,
            opened.height,
            found.detections,
            DeadLetter("detect", found.error) if found.error else opened.error,
            model=self.backend.model,
            detect_ms=found.milliseconds,
            is_grey=is_grey,
        )


def has_answer(answer: Future[InferenceResult] | None) -> bool:
    """Whether a held item has its result; None: it waits for none."""
    return answer is None or (answer.done() and not answer.cancelled())
