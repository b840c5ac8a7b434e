"""Probe the database, Redis, detector, language model and pipeline, within three seconds; results are cached for one.

The pipeline is alive if its heartbeat is recent, not because this server runs. A failing database is unhealthy, any other
failure degrades; what is not configured is `disabled` and degrades nothing.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import httpx
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from hearthwatch.record import Record, RecordError, now
from hearthwatch.record.read import status as queries
from hearthwatch.record.read.events import iso
from hearthwatch.record.read.snapshot import SnapshotReader
from hearthwatch.schemas.settings import Settings, masked

PROBE_SECONDS = 2.0  # a service that needs longer for this counts as down
ALL_SECONDS = 3.0
BEHIND_SECONDS = 60.0  # alerts are late by more than this; a burst of pictures is processed sooner
FRESH_SECONDS = 1.0  # requests within this get the same result
STATUS_PROBE_SECONDS = 10.0  # the status line uses the last results, and has them probed again this often

ServiceStatus = dict[str, Any]


def service_status(status: str, message: str, **details: Any) -> ServiceStatus:
    return {"status": status, "message": message, "details": details}


class Health:
    """Probes services for all requests, and remembers when the pipeline last made progress."""

    def __init__(self, settings: Settings, reader: SnapshotReader) -> None:
        self.settings, self.reader = settings, reader
        self._pool = ThreadPoolExecutor(6, thread_name_prefix="probe")
        self._lock = threading.Lock()
        self._last: dict[str, ServiceStatus] = {}
        self._probed = self._requested = -STATUS_PROBE_SECONDS
        self._decided, self._progress_at = -1, time.monotonic()

    def services(self) -> dict[str, ServiceStatus]:
        """Probe all services."""
        with self._lock:
            if time.monotonic() - self._probed > FRESH_SECONDS:
                self._last, self._probed = self._probe(), time.monotonic()
            return self._last

    def last_services(self) -> dict[str, ServiceStatus]:
        """Return the last results without waiting; empty at first."""
        if time.monotonic() - self._requested > STATUS_PROBE_SECONDS:
            self._requested = time.monotonic()
            self._pool.submit(self.services)
        return self._last

    def _probe(self) -> dict[str, ServiceStatus]:
        probes: dict[str, Callable[[], ServiceStatus]] = {
            "database": self._database, "redis": self._redis, "detector": self._detector, "nemotron": self._nemotron, "pipeline": self._pipeline,
        }  # fmt: skip
        running = {name: self._pool.submit(probe) for name, probe in probes.items()}
        wait(running.values(), timeout=ALL_SECONDS)
        return {name: self._result(future) for name, future in running.items()}

    def _result(self, future: Any) -> ServiceStatus:
        if not future.done():
            return service_status("unhealthy", f"no response within {ALL_SECONDS:g} s")
        try:
            result: ServiceStatus = future.result()
        except (sqlite3.Error, RecordError, OSError) as error:
            return service_status("unhealthy", f"the record cannot be read: {error}")
        return result

    # -- each service

    def _database(self) -> ServiceStatus:
        began = time.perf_counter()
        if not self.reader.exists():
            return service_status(
                "healthy", "no record yet: the pipeline creates it at its start", path=str(self.reader.path)
            )
        with self.reader.snapshot() as record:
            counters, (version,) = record.counters(), record.one("SELECT value FROM meta WHERE key = 'schema_version'")
            record.one("SELECT count(*) FROM (SELECT 1 FROM events LIMIT 1)")
        took = round((time.perf_counter() - began) * 1e3, 2)
        return service_status(
            "healthy", "the record can be read", latency_ms=took, schema_version=int(version), **counters
        )

    def _redis(self) -> ServiceStatus:
        if not self.settings.redis_url:
            return service_status("disabled", "REDIS_URL is not set: events are not published")
        try:
            client = Redis.from_url(
                self.settings.redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=PROBE_SECONDS, socket_connect_timeout=PROBE_SECONDS,
            )  # fmt: skip
            with client:
                version = client.info("server")["redis_version"]
        except (RedisError, OSError, ValueError) as error:
            where = masked("REDIS_URL", self.settings.redis_url)
            return service_status(
                "unhealthy", f"{where} does not respond ({type(error).__name__}): events wait in the feed"
            )
        return service_status("healthy", "Redis responds", redis_version=version)

    def _detector(self) -> ServiceStatus:
        with self.reader.snapshot() as record:
            last, alive = queries.last_detected(record), self._is_alive(record)
        if url := self.settings.rtdetr_url:
            try:
                code = httpx.get(f"{url}/health", timeout=PROBE_SECONDS).status_code
            except (httpx.HTTPError, OSError) as error:
                where = masked("RTDETR_URL", url)
                return service_status(
                    "unhealthy",
                    f"{where} does not respond ({type(error).__name__}): pictures wait",
                    last_inference=last,
                )
            status = "healthy" if code < 500 else "unhealthy"
            return service_status(status, f"the RT-DETR service responds with {code}", last_inference=last)
        if not alive:
            return service_status("unhealthy", "it runs in the pipeline, which is not running", last_inference=last)
        if self._is_stalled():
            return service_status("unhealthy", "pictures wait and none was processed for a minute", last_inference=last)
        return service_status(
            "healthy", "detects in the pipeline" if last else "has processed no picture yet", last_inference=last
        )

    def _nemotron(self) -> ServiceStatus:
        if not self.settings.nemotron_url:
            return service_status("disabled", "NEMOTRON_URL is not set: rules alone judge")
        with self.reader.snapshot() as record:
            last, pending = queries.last_verdict(record), queries.pending(record)
        url, model = self.settings.nemotron_url.removesuffix("/v1"), self.settings.hearthwatch_nemotron_model
        try:
            found = httpx.get(f"{url}/v1/models", timeout=PROBE_SECONDS).raise_for_status().json()
            models = [str(each["id"]) for each in found["data"]]
        except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
            where = masked("NEMOTRON_URL", url)
            return service_status("unhealthy", f"{where} does not respond as a vLLM server ({type(error).__name__}): {pending} events wait", last_verdict=last, pending=pending)  # fmt: skip
        if model not in models:
            return service_status("unhealthy", f"it serves {', '.join(models) or 'nothing'}, not {model}: set HEARTHWATCH_NEMOTRON_MODEL", last_verdict=last, pending=pending)  # fmt: skip
        return service_status("healthy", f"serves {model}", models=models, last_verdict=last, pending=pending)

    def _pipeline(self) -> ServiceStatus:
        with self.reader.snapshot() as record:
            self.note_progress(record)
            beat, backlog, oldest, at = (
                queries.heartbeats(record).get("see"),
                queries.backlog(record),
                queries.oldest_waiting(record),
                now(),
            )
        if beat is None:
            return service_status(
                "unhealthy", "has not run yet: start `hearthwatch run`", alive=False, stalled=False, backlog=backlog
            )
        alive, stalled, behind = at - beat["at"] < queries.ALIVE, self._is_stalled(), _seconds(oldest, at)
        details = {
            "alive": alive, "stalled": stalled, "backlog": backlog, "last_heartbeat": iso(beat["at"]), "pid": beat["pid"],
            "oldest_unprocessed_seconds": behind, "counters": {name: n for name, n in beat["counters"].items() if name != "seconds"},
        }  # fmt: skip
        if not alive:
            return service_status(
                "unhealthy", f"no heartbeat since {iso(beat['at'])}; pictures wait on disk", **details
            )
        if stalled:
            return service_status(
                "unhealthy", f"{backlog} pictures wait and none was processed for a minute", **details
            )
        if behind is not None and behind > BEHIND_SECONDS:
            return service_status("degraded", f"{backlog} pictures wait, the oldest for {behind:.0f} s: more arrive than can be processed", **details)  # fmt: skip
        return service_status("healthy", f"{backlog} pictures wait" if backlog else "has caught up", **details)

    # -- progress of the pipeline

    def note_progress(self, record: Record) -> None:
        """Note whether the pipeline decided pictures since the last call; called every two seconds."""
        counters = record.counters()
        decided = counters["settled"] + counters["quarantined"]
        if decided != self._decided or not counters["discovered"]:
            self._decided, self._progress_at = decided, time.monotonic()

    def _is_stalled(self) -> bool:
        return time.monotonic() - self._progress_at > queries.STALLED / 1e6

    def _is_alive(self, record: Record) -> bool:
        beat = queries.heartbeats(record).get("see")
        return beat is not None and now() - beat["at"] < queries.ALIVE

    def status_line(self, record: Record, at: int, midnight: int) -> dict[str, Any]:
        """Read the page's first line."""
        self.note_progress(record)
        probed, beat = self.last_services(), queries.heartbeats(record).get("see")
        cameras = queries.cameras(record, at, midnight)
        gpu = queries.gpu(record)
        return {
            "at": iso(beat["at"]) if beat else None, "now": iso(at), "needs_person": queries.needs_person(record), "to_review": queries.to_review(record),
            "cameras_online": sum(c["status"] == "online" for c in cameras), "cameras_total": len(cameras), "backlog": queries.backlog(record),
            "behind_seconds": _seconds(queries.oldest_waiting(record), at), "llm": _short_status(probed.get("nemotron"), bool(self.settings.nemotron_url)), "detector": _short_status(probed.get("detector"), True),
            "gpu_percent": gpu[0]["gpu_utilization"] if gpu else None, "today": queries.today(record, midnight) if cameras else None,
            "stalled": self._is_stalled(), "watching": str(self.settings.foscam_base_path),
        }  # fmt: skip


def _seconds(since: int | None, at: int) -> float | None:
    return None if since is None else max(0.0, (at - since) / 1e6)


def _short_status(probed: ServiceStatus | None, configured: bool) -> str:
    if probed is None:
        return "ok" if configured else "disabled"
    return {"healthy": "ok", "degraded": "slow", "unhealthy": "down", "disabled": "disabled"}[probed["status"]]


def overall_status(services: dict[str, ServiceStatus]) -> str:
    """Combine the services: a failing database is unhealthy, any other failure degrades."""
    if services["database"]["status"] == "unhealthy":
        return "unhealthy"
    return "degraded" if any(s["status"] in ("unhealthy", "degraded") for s in services.values()) else "healthy"
