"""Measure how long the pipeline's steps take, as histograms that its heartbeat writes into the record.

Adding is arithmetic in memory, under 1 µs a value, from any thread; nothing is written until the next heartbeat. Counts
begin with the process, as Prometheus expects of counters.
"""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, NamedTuple

from hearthwatch.record import Record, now
from hearthwatch.schemas.context import Timings

SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LONG = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0)


class TimedStep(NamedTuple):
    chain: str
    """The chain whose heartbeat has it."""
    bounds: tuple[float, ...]
    help: str


STEPS = {
    "wait": TimedStep("see", LONG, "From the arrival of a picture to the detector."),
    "decode": TimedStep("see", SHORT, "Reading and decoding, per picture."),
    "detect": TimedStep("see", SHORT, "Detection, per picture."),
    "decide": TimedStep("see", SHORT, "Writing what was found, per chunk of pictures."),
    "draw": TimedStep("see", SHORT, "Drawing a thumbnail."),
    "open": TimedStep("see", LONG, "From the arrival of an event's first picture to the event."),
    "raise": TimedStep("see", LONG, "From the arrival of an event's first picture to a rise of its level."),
    "close": TimedStep("see", LONG, "From the arrival of an event's first picture to its close."),
    "verdict": TimedStep("judge", LONG, "A language model's answer."),
}


class StepHistograms:
    """A histogram for each step."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {name: [0] * (len(step.bounds) + 1) for name, step in STEPS.items()}
        self._sums = dict.fromkeys(STEPS, 0.0)

    def add(self, step: str, seconds: Iterable[float]) -> None:
        bounds, counts = STEPS[step].bounds, self._counts[step]
        with self._lock:
            for value in seconds:
                counts[bisect_left(bounds, value)] += 1
                self._sums[step] += value

    def summary(self, chain: str) -> dict[str, Any]:
        """Return for the chain's heartbeat: `{step: {"le": {bound: how many at most that}, "sum": seconds}}`."""
        with self._lock:
            return {
                name: {
                    "le": dict(zip([*map(str, step.bounds), "+Inf"], accumulate(self._counts[name]), strict=True)),
                    "sum": round(self._sums[name], 6),
                }
                for name, step in STEPS.items()
                if step.chain == chain
            }


def write_heartbeat(record: Record, chain: str, timings: Timings, counters: dict[str, Any]) -> None:
    """Store that this chain (`see`, `judge`) is alive, with its counters and how long its steps took."""
    row = (chain, os.getpid(), now(), json.dumps(counters | {"seconds": timings.summary(chain)}))
    record.transact(lambda: record.execute("INSERT OR REPLACE INTO heartbeat VALUES (?,?,?,?)", *row))
