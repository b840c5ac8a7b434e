"""Sample the graphics card (NVML) and the detector's speed, for the page and the lake.

On a separate thread, because a driver may be slow. Without a card, without nvidia-ml-py or with a driver that does not
answer, a sample holds the speed alone; while no picture is processed there are none. Keeps no state.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from bytewax.inputs import DynamicSource, StatelessSourcePartition
from pydantic import Field

from hearthwatch.record import Record, now
from hearthwatch.record.gpu_samples import FrameCounter, GpuSample
from hearthwatch.schemas import Source
from hearthwatch.schemas.context import SAMPLES_STOP_SECONDS_MAX, Context
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import from_settings

log = logging.getLogger(__name__)

POLL = timedelta(seconds=0.5)
WAITING_MAX = 100  # samples, should the dataflow's thread be busy for minutes


class GpuStats(Source):
    """How busy the graphics card is, and how many pictures a second are processed."""

    emits: ClassVar[type | None] = GpuSample
    follows: ClassVar[bool] = True

    interval_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Seconds between two samples."""
    device: str = from_settings("hearthwatch_device")
    """Which card: `cuda:1` is the second; everything else the first."""

    def label(self) -> str:
        return f"every {self.interval_seconds:g} s"

    def build(self, context: Context) -> DynamicSource[GpuSample]:
        return _Source(self, context)


class _Source(DynamicSource[GpuSample]):
    def __init__(self, options: GpuStats, context: Context) -> None:
        self.options, self.context = options, context

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSourcePartition[GpuSample]:
        return _Part(self.options, self.context.record_path)


class _Part(StatelessSourcePartition[GpuSample]):
    def __init__(self, options: GpuStats, record_path: Path) -> None:
        self.options, self.record_path = options, record_path
        self._samples: deque[GpuSample] = deque(maxlen=WAITING_MAX)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu_stats", daemon=True)
        self._thread.start()

    def next_batch(self) -> list[Any]:
        return [self._samples.popleft() for _ in range(len(self._samples))]

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + POLL

    def close(self) -> None:
        self._ends.set()
        self._thread.join(SAMPLES_STOP_SECONDS_MAX)

    def _run(self) -> None:
        index = re.fullmatch(r"cuda:(\d+)", self.options.device)
        card = open_card(int(index[1]) if index else 0)
        try:
            sampler = Sampler(Record(self.record_path), card)
            while not self._ends.wait(self.options.interval_seconds):
                if sample := sampler.sample(now(), time.monotonic()):
                    self._samples.append(sample)
        except UserError as error:
            log.warning("gpu_stats: %s; no samples from now on", error)


class Reading(NamedTuple):
    """What a card reports: utilization 0-100, memory in bytes, temperature in °C."""

    gpu_utilization: float
    memory_used: int
    memory_total: int
    temperature: float


NOTHING = (None, None, None, None)
Card = Callable[[], Reading | None]


class Sampler:
    """Samples worth keeping: all where there is a card, else those while something happens and the first after it."""

    def __init__(self, record: Record, card: Card) -> None:
        self.card, self.counter = card, FrameCounter(record)
        self._last, self._idle = time.monotonic(), True

    def sample(self, at: int, clock: float) -> GpuSample | None:
        """Sample at `at` (microseconds); `clock` is monotonic, in seconds."""
        pictures, seconds, reading = self.counter.count_new(), clock - self._last, self.card()
        was_idle, self._idle, self._last = self._idle, not pictures, clock
        if reading is None and was_idle and self._idle:
            return None
        fps = round(pictures / seconds, 2) if seconds > 0 else 0.0
        busy, used, total, degrees = reading or NOTHING
        return GpuSample(at, busy, used, total, degrees, fps)


def open_card(index: int) -> Card:
    """Return a function that reads the card of this number, and None where there is none."""
    try:
        import pynvml as nvml

        nvml.nvmlInit()
        card = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(card)
    except ImportError:
        return lambda: None
    except Exception as error:  # NVML has an exception for each of its forty codes
        log.debug("no graphics card: %s", error)
        return lambda: None
    log.info("gpu_stats: %s", name)

    def read() -> Reading | None:
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(card)
            busy = nvml.nvmlDeviceGetUtilizationRates(card).gpu
            return Reading(
                busy, memory.used, memory.total, nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)
            )
        except Exception as error:
            log.debug("the graphics card does not answer: %s", error)
            return None

    return read
