"""Detect objects in pictures: `Frame` in, `Detected` out, in order, nothing lost.

A picture that cannot be processed comes out as `Detected` with its error. Detection is never on the dataflow's thread: it
is on one thread for each device, in batches across cameras, where a lone picture is processed at once and a backlog fills
the batches; or a remote service does it, a few requests in flight. A frame that waits, also for a model that is still being
loaded, holds back only the frames behind it: it stays discovered, so nothing is lost, and a tick passes it and says that its
camera is behind. The source hands out what keeps all devices busy, `in_flight_max` for a service, and for a model that is
being loaded nothing.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

from pydantic import Field, model_validator

from hearthwatch.gpu import StoppedError
from hearthwatch.gpu.batch_queue import BatchQueue
from hearthwatch.gpu.boxes import UNIQUE_IOU
from hearthwatch.gpu.detector import Detector, InferenceResult
from hearthwatch.gpu.loading import BackgroundLoader, known_step
from hearthwatch.gpu.options import DetectorSwitches, Runtime
from hearthwatch.gpu.remote import REQUESTS_MAX, RemoteDetector, probe_detector
from hearthwatch.schemas.components import AT_ONCE, Stage, StageWorker
from hearthwatch.schemas.context import FRAMES_MAX, STOP_SECONDS_MAX, Context
from hearthwatch.schemas.items import DeadLetter, Detected, Frame, Tick, has_failed
from hearthwatch.schemas.settings import BATCH_MAX, HttpUrl, InputSize, from_settings, input_size, masked
from hearthwatch.stages.local import attach_here

if TYPE_CHECKING:
    from bytewax.dataflow import Stream

log = logging.getLogger(__name__)

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
WAIT_SECONDS = 0.05  # at the end of the input, asks this often for an answer
BATCHES_AHEAD = 3  # of each device: one is computed, one is ready, one is being decoded or decided
SILENT_SECONDS = 10.0  # no answer for so long: the service counts as unavailable


class RtDetr(Stage):
    """RT-DETRv2 in this process, on CUDA or CPU; or, where `url` is set, the service there."""

    accepts = Frame
    emits = Detected

    model: str = from_settings("hearthwatch_detector_model")
    """A hub id, a folder with `config.json`, `model.safetensors`, `preprocessor_config.json`, or `yard`."""
    device: Device | Annotated[tuple[Device, ...], Field(min_length=1)] = from_settings("hearthwatch_device")
    """`auto`, `cpu`, `cuda` or `cuda:N`; a list of several: each has the model, and pictures are shared out."""
    runtime: Runtime = from_settings("hearthwatch_detector_runtime")
    """`auto`, `torch` or `openvino`, which is 1.2 to 2 times as fast on a CPU; `auto` takes it where it finds the same boxes."""
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

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.size and not self.url and (step := known_step(self.model)):
            try:
                input_size(self.size, step)
            except ValueError as error:
                raise ValueError(f"`size` = {self.size!r}, model `{self.model}`: {error}") from None
        return self

    def label(self) -> str:
        """Name model and device, or the service."""
        if self.url:
            return f"RT-DETR at {masked('RTDETR_URL', self.url)}"
        return f"RT-DETRv2 {self.model} on {', '.join(self.devices())}"

    def devices(self) -> tuple[str, ...]:
        """Return each device."""
        return (self.device,) if isinstance(self.device, str) else self.device

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
        self.options, self.state, self._wake = options, context.detector, context.wake
        self._cache = context.data_dir / "detector"
        self._shared, self._uses_shared = context.shared, False
        self.backend: BatchQueue | RemoteDetector | None = None
        self._model = ""
        self._loader: BackgroundLoader[BatchQueue] | None = None
        self._held: deque[HeldItem] = deque()
        self._stopped = False

    def open(self) -> None:
        """Begin to load and warm the model: seconds, and a download at the first use of a hub id. A service may come later."""
        o = self.options
        self._stopped = False
        self.state.limit, self.state.is_remote = self._limit, bool(o.url)
        if o.url:
            remote = RemoteDetector(o.url, o.confidence, o.object_types, o.unique_iou, o.requests_max)
            self._use(remote, [remote], o.requests_max)
        else:
            self._loader = self._shared.take(o, lambda: BackgroundLoader(self._load))
            self._uses_shared = True
        self._report()

    def _load(self) -> BatchQueue:
        o = self.options
        how = o.confidence, o.object_types, o.unique_iou, o.batch_max, o.switches, o.runtime, o.size
        return BatchQueue([Detector(o.model, device, *how, cache=self._cache) for device in o.devices()])

    def attach(self, step_id: str, up: Stream[Any]) -> Stream[Any]:
        import bytewax.operators as op

        keyed = op.flat_map_batch(f"{step_id}_chunks", up, lambda items: [("frames", items)])
        detected = op.stateful_batch(f"{step_id}_frames", keyed, self._logic())
        return op.flat_map_batch(
            f"{step_id}_detected", detected, lambda pairs: [item for _, items in pairs for item in items]
        )

    def attach_local(self, step_id: str, up: Stream[Any], pulse: Stream[Any]) -> Stream[Any]:
        """Do the same on the worker that reads the cell."""
        return attach_here(f"{step_id}_frames", up, pulse, self.take, self.finish)

    def take(self, items: list[Any]) -> list[Any]:
        """Take these in and return what can leave: what has its result and nothing before it, and every tick.

        Raises:
            DetectorError: the model cannot be loaded, or no longer used.
        """
        if self._loader and self._loader.loaded.done():
            queue = self._loader.loaded.result()
            self._use(queue, queue.detectors, len(queue.detectors))
        out: list[Any] = []
        held = iter(self._hold([item for item in items if not isinstance(item, Tick)]))
        for item in items:
            if isinstance(item, Tick):
                out += self._release()
                frames = [held.item for held in self._held if isinstance(held.item, Frame)]
                behind = {
                    frame.camera_id for frame in frames if frame.recorded is None
                }  # the others may have no camera
                out.append(replace(item, behind=item.behind | behind))
            else:
                self._held.append(next(held))
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
        return self.take(items) + self.finish()

    def stop(self) -> None:
        """Wait no more: what is held comes again at the next start. Fit for a signal handler."""
        self._stopped = True
        if self.backend:
            self.backend.stop()

    def close(self) -> None:
        """Release the model or the connections."""
        is_ours = self._uses_shared and self._shared.release(self.options)
        self._uses_shared = False
        if self._loader and is_ours:
            self._loader.close(STOP_SECONDS_MAX)
        if isinstance(self.backend, RemoteDetector):
            self.backend.close()
        elif self.backend and is_ours:
            self.backend.stop()
            if self.backend.join(STOP_SECONDS_MAX):  # a thread that computes needs its model
                for detector in self.backend.detectors:
                    detector.close()
        self.backend = self._loader = None
        self._held.clear()
        self.state.ids.clear()

    # -- the model

    def _use(
        self, backend: BatchQueue | RemoteDetector, detectors: Sequence[Detector | RemoteDetector], at_a_time: int
    ) -> None:
        for warning in dict.fromkeys(warning for one in detectors for warning in one.warnings):
            log.warning("%s", warning)
        for one in detectors:
            log.info("detecting with %s", one.describe())
        self.backend, self._loader, self._model = backend, None, detectors[0].model
        self.state.at_a_time = at_a_time
        self._held = deque(self._hold([held.item for held in self._held]))
        self._report()

    def _limit(self) -> int:
        """How many frames may be here. A model that is being loaded gets none: a picture in flight is suspected if it ends the process."""
        if isinstance(self.backend, BatchQueue):
            return sum(BATCHES_AHEAD * max(one.batch_max, one.at_once) for one in self.backend.detectors)
        return self.options.in_flight_max if self.options.url else 0

    def _report(self) -> None:
        """Say for the heartbeat what this stage does."""
        state, problem = self.state, None
        if isinstance(self.backend, RemoteDetector):
            silent = self._held and time.monotonic() - self._held[0].since > SILENT_SECONDS
            problem = self.backend.problem or (f"no answer for {SILENT_SECONDS:g} s" if silent else None)
        state.status = "starting" if self._loader else "unavailable" if problem else "ready"
        state.reason = self._loader.reason if self._loader else problem or ""

    # -- the frames

    def _hold(self, items: Sequence[Any]) -> list[HeldItem]:
        """Ask about those that are asked about, all of them together."""
        asked, answers = [item for item in items if self._is_asked(item)], list[Future[InferenceResult]]()
        self.state.ids.update(item.id for item in asked)
        if isinstance(self.backend, BatchQueue):
            answers = self.backend.submit_all([item.opened for item in asked])
        elif self.backend:
            answers = [self.backend.submit(item.opened) for item in asked]
        for answer in answers:
            answer.add_done_callback(lambda _: self._wake.set())
        by_item = {id(item): answer for item, answer in zip(asked, answers, strict=False)}  # none yet while it loads
        return [HeldItem(item, by_item.get(id(item)), time.monotonic()) for item in items]

    def _release(self) -> list[Any]:
        """Return from the front what can leave."""
        out: list[Any] = []
        while self.backend and self._held and has_answer(self._held[0].answer):
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
            model=self._model,
            detect_ms=found.milliseconds,
            is_grey=is_grey,
        )


def has_answer(answer: Future[InferenceResult] | None) -> bool:
    """Whether a held item has its result; None: it waits for none."""
    return answer is None or (
        answer.done() and not answer.cancelled() and not isinstance(answer.exception(), StoppedError)
    )
