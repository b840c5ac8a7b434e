"""`GET /metrics` for Prometheus: the record's counters, and the pipeline's own through its heartbeat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from hearthwatch.record import Record, RecordError, now
from hearthwatch.record.read import status as pulse
from hearthwatch.record.timings import STEPS, Timings

if TYPE_CHECKING:
    from hearthwatch.api.dependencies import Here


class Collector:
    """Reads the record when it is asked to, and keeps nothing."""

    def __init__(self, here: Here) -> None:
        self.here = here

    def collect(self) -> Iterator[Metric]:
        try:
            with self.here.reader.snapshot() as record:
                yield GaugeMetricFamily("hearthwatch_up", "Whether the record can be read.", 1)
                yield from _families(record)
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
    beats = pulse.heartbeats(record)
    yield from _histograms(beats)
    for chain, beat in beats.items():
        age = GaugeMetricFamily(
            "hearthwatch_heartbeat_age_seconds", "Since a chain's last sign of life.", labels=["chain"]
        )
        age.add_metric([chain], max(0.0, (at - beat["at"]) / 1e6))
        yield age
        yield from _own(chain, beat["counters"])


def _histograms(beats: dict[str, Any]) -> Iterator[Metric]:
    """What the pipeline measured since it started; zeros for what it has not told."""
    for name, step in STEPS.items():
        told = beats.get(step.chain, {}).get("counters", {}).get("seconds", {})
        told = told.get(name) or Timings().summary(step.chain)[name]
        yield HistogramMetricFamily(
            f"hearthwatch_{name}_seconds", step.help, buckets=list(told["le"].items()), sum_value=told["sum"]
        )


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
