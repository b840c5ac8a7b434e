"""`GET /metrics` for Prometheus: the record's counters, and the pipeline's own through its heartbeat."""

from __future__ import annotations

import sqlite3
import threading
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from record import Record, RecordError, now, pulse

if TYPE_CHECKING:
    from api.here import Here

INFINITE = float("inf")
SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LONG = (0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
STEPS = {
    "detect": (SHORT, "Detection, per picture."),
    "open": (LONG, "From the arrival of an event's first picture to the event."),
    "close": (LONG, "From the arrival of an event's first picture to its close."),
    "verdict": (LONG, "A language model's answer."),
}


class Steps:
    """How long each step took, as histograms: of everything that was decided since this server started."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._frame = self._revision = -1
        self._taken = {name: [0] * (len(bounds) + 1) for name, (bounds, _) in STEPS.items()}
        self._sums = dict.fromkeys(STEPS, 0.0)

    def families(self, record: Record) -> Iterator[Metric]:
        """What came since the last call is added; a step that nobody took is there with zeros."""
        with self._turn:
            self._catch_up(record)
            for name, (bounds, help) in STEPS.items():
                counts = accumulate(self._taken[name])
                buckets = [
                    (f"{bound:g}" if bound < INFINITE else "+Inf", n)
                    for bound, n in zip((*bounds, INFINITE), counts, strict=True)
                ]
                yield HistogramMetricFamily(
                    f"hearthwatch_{name}_seconds", help, buckets=buckets, sum_value=self._sums[name]
                )

    def _catch_up(self, record: Record) -> None:
        if self._frame < 0:
            self._frame, self._revision = pulse.ends(record)
        while found := pulse.detect_seconds(record, self._frame):
            self._add("detect", [seconds for _, seconds in found if seconds is not None])
            self._frame = found[-1][0]
        while steps := pulse.event_seconds(record, self._revision):
            for _, step, seconds in steps:
                self._add(step, [seconds])
            self._revision = steps[-1][0]

    def _add(self, name: str, values: list[float]) -> None:
        for value in values:
            self._taken[name][bisect_left(STEPS[name][0], value)] += 1
            self._sums[name] += value


class Collector:
    """Reads the record when it is asked to, and keeps nothing."""

    def __init__(self, here: Here) -> None:
        self.here = here

    def collect(self) -> Iterator[Metric]:
        try:
            with self.here.reader.reading() as record:
                yield GaugeMetricFamily("hearthwatch_up", "Whether the record can be read.", 1)
                yield from _families(record)
                yield from self.here.steps.families(record)
        except (sqlite3.Error, RecordError, OSError):
            yield GaugeMetricFamily("hearthwatch_up", "Whether the record can be read.", 0)


def text(here: Here) -> tuple[bytes, str]:
    """The metrics as Prometheus reads them, and their content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(here))
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _families(record: Record) -> Iterator[Metric]:
    totals, at = pulse.totals(record), now()
    counters = totals["counters"]
    decided = counters["settled"] + counters["quarantined"]
    yield _one("hearthwatch_pictures_total", "Pictures taken in.", decided + counters["discovered"], counter=True)
    yield _one("hearthwatch_detections", "Boxes in the record.", counters["detections"])
    yield _many("hearthwatch_events", "Events in the record by level.", "level", totals["levels"])
    yield _many(
        "hearthwatch_ledger",
        "Pictures by state.",
        "state",
        {s: counters[s] for s in ("discovered", "settled", "quarantined")},
    )
    yield _many(
        "hearthwatch_dead_letters", "Quarantined pictures by the stage that gave up.", "stage", totals["reasons"]
    )
    yield _one("hearthwatch_cameras", "Cameras.", totals["cameras"])
    yield _one("hearthwatch_verdicts_pending", "Events that wait for a language model.", totals["pending"])
    yield _one("hearthwatch_feed_seq", "Newest message of the feed.", totals["feed"])
    lag = {name: max(0, totals["feed"] - seq) for name, seq in totals["cursors"].items()}
    yield _many("hearthwatch_consumer_lag", "Messages that a consumer of the feed has yet to take.", "consumer", lag)
    for chain, beat in pulse.heartbeats(record).items():
        age = GaugeMetricFamily(
            "hearthwatch_heartbeat_age_seconds", "Since a chain's last sign of life.", labels=["chain"]
        )
        age.add_metric([chain], max(0.0, (at - beat["at"]) / 1e6))
        yield age
        yield from _own(chain, beat["counters"])


def _own(chain: str, counters: dict[str, Any]) -> Iterator[Metric]:
    """What a chain itself says."""
    numbers = {name: value for name, value in counters.items() if isinstance(value, int | float)}
    family = GaugeMetricFamily("hearthwatch_chain", "A number from a chain's heartbeat.", labels=["chain", "name"])
    for name, value in numbers.items():
        family.add_metric([chain, name], value)
    yield family


def _one(name: str, help: str, value: float, *, counter: bool = False) -> Metric:
    return (CounterMetricFamily if counter else GaugeMetricFamily)(
        name.removesuffix("_total") if counter else name, help, value
    )


def _many(name: str, help: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, help, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family
