"""Collect Prometheus metrics: counters of the record, and those in the pipeline's heartbeat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from hearthwatch.record import Record, RecordError, now
from hearthwatch.record.read import status as queries
from hearthwatch.record.timings import STEPS, StepHistograms

if TYPE_CHECKING:
    from hearthwatch.api.dependencies import AppState


class Collector:
    """Reads the record on each scrape, and stores nothing."""

    def __init__(self, state: AppState) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        try:
            with self.state.reader.snapshot() as record:
                yield GaugeMetricFamily("hearthwatch_up", "Whether the record can be read.", 1)
                yield from _families(record)
        except (sqlite3.Error, RecordError, OSError):
            yield GaugeMetricFamily("hearthwatch_up", "Whether the record can be read.", 0)


def render(state: AppState) -> tuple[bytes, str]:
    """Render the metrics in Prometheus' text format; returns (text, content type)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(state))
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _families(record: Record) -> Iterator[Metric]:
    totals, at = queries.totals(record), now()
    counters = totals["counters"]
    decided = counters["settled"] + counters["quarantined"]
    yield _one("hearthwatch_pictures_total", "Pictures discovered.", decided + counters["discovered"], counter=True)
    yield _one("hearthwatch_detections", "Boxes in the record.", counters["detections"])
    yield _many("hearthwatch_events", "Events in the record by level.", "level", totals["levels"])
    yield _many(
        "hearthwatch_ledger",
        "Pictures by state.",
        "state",
        {s: counters[s] for s in ("discovered", "settled", "quarantined")},
    )
    yield _many(
        "hearthwatch_dead_letters", "Quarantined pictures by the stage that failed.", "stage", totals["reasons"]
    )
    yield _one("hearthwatch_cameras", "Cameras.", totals["cameras"])
    yield _one("hearthwatch_verdicts_pending", "Events that wait for the language model.", totals["pending"])
    yield _one("hearthwatch_feed_seq", "Newest message of the feed.", totals["feed"])
    lag = {name: max(0, totals["feed"] - seq) for name, seq in totals["cursors"].items()}
    yield _many("hearthwatch_consumer_lag", "Messages that a consumer of the feed has not processed.", "consumer", lag)
    beats = queries.heartbeats(record)
    yield from _histograms(beats)
    for chain, beat in beats.items():
        age = GaugeMetricFamily(
            "hearthwatch_heartbeat_age_seconds", "Seconds since a chain's last heartbeat.", labels=["chain"]
        )
        age.add_metric([chain], max(0.0, (at - beat["at"]) / 1e6))
        yield age
        yield from _chain_numbers(chain, beat["counters"])


def _histograms(beats: dict[str, Any]) -> Iterator[Metric]:
    """Histograms that the pipeline reports since its start; zeros for what it does not report."""
    for name, step in STEPS.items():
        reported = beats.get(step.chain, {}).get("counters", {}).get("seconds", {})
        histogram = reported.get(name) or StepHistograms().summary(step.chain)[name]
        yield HistogramMetricFamily(
            f"hearthwatch_{name}_seconds", step.help, buckets=list(histogram["le"].items()), sum_value=histogram["sum"]
        )


def _chain_numbers(chain: str, counters: dict[str, Any]) -> Iterator[Metric]:
    """Numbers of a chain's heartbeat."""
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
