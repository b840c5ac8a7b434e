"""Collect Prometheus metrics: what the record counts, conditions, and the numbers of the pipeline's heartbeat.

What retention deletes leaves the counts of the record, so those are gauges; counters never decrease.
"""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from hearthwatch.record import Record, RecordError, now
from hearthwatch.record.feed import Feed
from hearthwatch.record.problems import read_waiting
from hearthwatch.record.read import status as queries
from hearthwatch.record.read.events import Filter, count_levels
from hearthwatch.record.timings import STEPS, StepHistograms
from hearthwatch.record.units import LEVELS

if TYPE_CHECKING:
    from hearthwatch.api.dependencies import AppState
from hearthwatch.schemas.text import product_version

CAMERAS_MAX = 200  # with a series each, those that sent a picture last; a tree whose folders are days has thousands
OTHERS = "(others)"  # no camera has this id
CONDITIONS_MAX = 1000
COUNTED = (
    ("pictures", "Pictures", "sum(n) FROM pictures"), ("detections", "Boxes", "sum(n) FROM detection_counts"),
    ("events", "Events", "sum(n) FROM event_counts WHERE object_type = ''"),
    ("quarantined", "Quarantined pictures", "count(*) FROM frames WHERE state = 'quarantined'"),
)  # fmt: skip


class Collector:
    """Reads the record on each scrape, and stores nothing."""

    def __init__(self, state: AppState) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        is_readable = True
        try:
            with self.state.reader.snapshot() as record:
                yield from _read_families(record)
                alive = {name: cell["alive"] for name, cell in self.state.health.view(record, now()).cells.items()}
                yield _family("cell_up", "Whether the pipeline of a cell runs.", "cell", alive)
        except (sqlite3.Error, RecordError, OSError):
            is_readable = False
        yield _family("up", "Whether the record can be read.", "", is_readable)
        yield _family("build_info", "The version of this server.", "version", {product_version(): 1})
        yield _family("disk_free_bytes", "Free space of the data folder's disk.", "", _free_bytes(self.state))


def render(state: AppState) -> tuple[bytes, str]:
    """Render the metrics in Prometheus' text format; returns (text, content type)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(state))
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _family(name: str, help: str, labels: str, values: float | Mapping[Any, float | None]) -> Metric:
    """Make a family; `values` by label, by a tuple of several, or one number. What is None is left out."""
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = kind(f"hearthwatch_{name.removesuffix('_total')}", help, labels=labels.split())
    for key, value in (values if isinstance(values, Mapping) else {(): values}).items():
        if value is not None:
            family.add_metric([str(label) for label in (key if isinstance(key, tuple) else (key,))], value)
    return family


def _read_families(record: Record) -> Iterator[Metric]:
    at, counters, levels = now(), record.counters(), count_levels(record, Filter())
    beats, cameras, consumers = queries.heartbeats(record), queries.camera_health(record, at), queries.consumers(record)
    counts = {what: dict(record.rows(f"SELECT camera_id, {sql} GROUP BY 1")) for what, _, sql in COUNTED}
    reasons = "SELECT error_stage, count(*) FROM frames WHERE state = 'quarantined' GROUP BY 1 ORDER BY 1"
    newest = "SELECT kind, subject, severity, state = 'on' FROM conditions ORDER BY state = 'on' DESC, changed_at DESC LIMIT ?"
    conditions = sorted(record.rows(newest, CONDITIONS_MAX))
    by_age = sorted(cameras, key=lambda id: cameras[id]["last_picture_age_seconds"] or math.inf)
    shown = sorted(by_age[:CAMERAS_MAX])
    numbers = {(chain, name): value for chain, beat in beats.items() for name, value in beat["counters"].items()}
    families: list[tuple[str, str, str, Any]] = [
        ("pictures_total", "Pictures found since the record began.", "", queries.pictures_found(record)),
        ("detections", "Boxes in the record.", "", counters["detections"]),
        ("events", "Events in the record by level.", "level", {level: levels[level] for level in LEVELS}),
        ("ledger", "Pictures by state.", "state", {state: counters[state] for state in ("discovered", "settled", "quarantined")}),
        ("backlog", "Pictures that wait, in the ledger or on disk for their place there.", "", read_waiting(record).pictures),
        ("dead_letters", "Quarantined pictures by the stage that failed.", "stage", dict(record.rows(reasons))),
        ("cameras", "Cameras.", "", len(cameras)),
        ("verdicts_pending", "Events that wait for the language model.", "", queries.pending(record)),
        ("feed_seq", "Newest message of the feed.", "", sum(Feed(cell).last() for cell in record.cells or (record,))),
        *((f"camera_{what}", f"{words} in the record by camera.", "camera", _by_camera(counts[what], shown, cameras)) for what, words, _ in COUNTED),
        ("camera_last_picture_age_seconds", "Seconds since a camera's last picture.", "camera", {id: cameras[id]["last_picture_age_seconds"] for id in shown}),
        ("camera_clock_offset_seconds", "How slow a camera's clock is.", "camera", {id: cameras[id]["clock_offset_seconds"] for id in shown}),
        ("consumer_delivered_total", "Messages delivered.", "consumer", {name: row["delivered"] for name, row in consumers.items()}),
        ("consumer_failed_total", "Deliveries that failed; they come again.", "consumer", {name: row["failed"] for name, row in consumers.items()}),
        ("consumer_lag", "Messages that a consumer of the feed has not processed.", "consumer", {name: row["lag"] for name, row in consumers.items()}),
        ("condition", "Whether this is wrong now.", "kind subject severity", {tuple(key): is_on for *key, is_on in conditions}),
        ("heartbeat_age_seconds", "Seconds since a chain's last heartbeat.", "chain", {chain: max(0.0, (at - beat["at"]) / 1e6) for chain, beat in beats.items()}),
        ("chain", "A number from a chain's heartbeat.", "chain name", {key: n for key, n in numbers.items() if isinstance(n, int | float)}),
    ]  # fmt: skip
    yield from (_family(*each) for each in families)
    yield from _histograms(beats)


def _by_camera(counts: Mapping[str, int], shown: list[str], cameras: Mapping[str, Any]) -> dict[str, int]:
    """Return the counts of the cameras with a series, and the sum of the others, if there are any."""
    others = {OTHERS: sum(counts.get(id, 0) for id in cameras) - sum(counts.get(id, 0) for id in shown)}
    return {id: counts.get(id, 0) for id in shown} | (others if len(cameras) > len(shown) else {})


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
