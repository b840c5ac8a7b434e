"""Collect Prometheus metrics: what the record counts, conditions, and the numbers of the pipeline's heartbeat.

What retention deletes leaves the counts of the record, so those are gauges; counters never decrease.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from hearthwatch.api.dependencies import product_version
from hearthwatch.record import Record, RecordError, now
from hearthwatch.record.feed import Feed
from hearthwatch.record.problems import read_waiting
from hearthwatch.record.read import status as queries
from hearthwatch.record.read.events import Filter, count_levels
from hearthwatch.record.timings import STEPS, StepHistograms
from hearthwatch.record.units import LEVELS

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
        yield _many("hearthwatch_build_info", "The version of this server.", "version", {product_version(): 1})
        yield _one("hearthwatch_disk_free_bytes", "Free space of the data folder's disk.", _free_bytes(self.state))


def render(state: AppState) -> tuple[bytes, str]:
    """Render the metrics in Prometheus' text format; returns (text, content type)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(state))
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _families(record: Record) -> Iterator[Metric]:
    at, counters, levels = now(), record.counters(), count_levels(record, Filter())
    yield _one("hearthwatch_pictures_total", "Pictures found since the record began.", queries.pictures_found(record), counter=True)  # fmt: skip
    states = {state: counters[state] for state in ("discovered", "settled", "quarantined")}
    reasons = "SELECT error_stage, count(*) FROM frames WHERE state = 'quarantined' GROUP BY 1 ORDER BY 1"
    (cameras,) = record.one("SELECT count(*) FROM cameras")
    yield _one("hearthwatch_detections", "Boxes in the record.", counters["detections"])
    yield _many("hearthwatch_events", "Events in the record by level.", "level", {level: levels[level] for level in LEVELS})  # fmt: skip
    yield _many("hearthwatch_ledger", "Pictures by state.", "state", states)
    yield _one("hearthwatch_backlog", "Pictures that wait, in the ledger or on disk for their place there.", read_waiting(record).pictures)  # fmt: skip
    yield _many("hearthwatch_dead_letters", "Quarantined pictures by the stage that failed.", "stage", dict(record.rows(reasons)))  # fmt: skip
    yield _one("hearthwatch_cameras", "Cameras.", cameras)
    yield _one("hearthwatch_verdicts_pending", "Events that wait for the language model.", queries.pending(record))
    yield _one("hearthwatch_feed_seq", "Newest message of the feed.", Feed(record).last())
    yield from _cameras(record, at)
    yield from _consumers(queries.consumers(record))
    yield from _conditions(record)
    beats = queries.heartbeats(record)
    yield from _histograms(beats)
    ages = {chain: max(0.0, (at - beat["at"]) / 1e6) for chain, beat in beats.items()}
    yield _many("hearthwatch_heartbeat_age_seconds", "Seconds since a chain's last heartbeat.", "chain", ages)
    family = GaugeMetricFamily("hearthwatch_chain", "A number from a chain's heartbeat.", labels=["chain", "name"])
    for chain, beat in beats.items():
        for name, value in beat["counters"].items():
            if isinstance(value, int | float):
                family.add_metric([chain, name], value)
    yield family


def _cameras(record: Record, at: int) -> Iterator[Metric]:
    counts, cameras = queries.count_by_camera(record), queries.camera_health(record, at)
    things = {"pictures": "Pictures", "detections": "Boxes", "events": "Events", "quarantined": "Quarantined pictures"}
    for name, thing in things.items():
        numbers = {camera: counts[name].get(camera, 0) for camera in cameras}
        yield _many(f"hearthwatch_camera_{name}", f"{thing} in the record by camera.", "camera", numbers)
    for name, help in (
        ("last_picture_age_seconds", "Seconds since a camera's last picture."),
        ("clock_offset_seconds", "How slow a camera's clock is."),
    ):
        known = {id: camera[name] for id, camera in cameras.items() if camera[name] is not None}
        yield _many(f"hearthwatch_camera_{name}", help, "camera", known)


def _consumers(consumers: dict[str, Any]) -> Iterator[Metric]:
    for name, help, counter in (
        ("delivered", "Messages delivered.", True),
        ("failed", "Deliveries that failed; they come again.", True),
        ("lag", "Messages that a consumer of the feed has not processed.", False),
    ):
        numbers = {consumer: row[name] for consumer, row in consumers.items()}
        yield _many(f"hearthwatch_consumer_{name}", help, "consumer", numbers, counter=counter)


def _conditions(record: Record) -> Iterator[Metric]:
    labels = ["kind", "subject", "severity"]
    family = GaugeMetricFamily("hearthwatch_condition", "Whether this is wrong now.", labels=labels)
    for *values, is_on in record.rows("SELECT kind, subject, severity, state = 'on' FROM conditions ORDER BY 1, 2"):
        family.add_metric(values, is_on)
    yield family


def _free_bytes(state: AppState) -> int:
    folder = state.settings.hearthwatch_data_dir.absolute()
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def _histograms(beats: dict[str, Any]) -> Iterator[Metric]:
    """Histograms that the pipeline reports since its start; zeros for what it does not report."""
    for name, step in STEPS.items():
        reported = beats.get(step.chain, {}).get("counters", {}).get("seconds", {})
        histogram = reported.get(name) or StepHistograms().summary(step.chain)[name]
        yield HistogramMetricFamily(
            f"hearthwatch_{name}_seconds", step.help, buckets=list(histogram["le"].items()), sum_value=histogram["sum"]
        )


def _one(name: str, help: str, value: float, *, counter: bool = False) -> Metric:
    kind = CounterMetricFamily if counter else GaugeMetricFamily
    return kind(name.removesuffix("_total") if counter else name, help, value)


def _many(name: str, help: str, label: str, values: Mapping[str, float], *, counter: bool = False) -> Metric:
    family = (CounterMetricFamily if counter else GaugeMetricFamily)(name, help, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family
