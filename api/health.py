"""Health that is probed: database, Redis, detector, language model, pipeline; bounded in time, never cached for long.

The pipeline's word is its heartbeat, not that this web server runs. A database that fails is unhealthy, anything else
degrades; what is not configured is `disabled` and degrades nothing.
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
from hearthwatch.record.read import status as pulse
from hearthwatch.record.read.events import iso
from hearthwatch.record.read.snapshot import SnapshotReader
from hearthwatch.schemas.settings import Settings, masked

PROBE_SECONDS = 2.0  # a service that needs longer to say that it lives is of no use to anybody who waits for it
ALL_SECONDS = 3.0
BEHIND_SECONDS = 60.0  # whoever waits so long for an alert should know; a burst of pictures is worked off sooner
FRESH_SECONDS = 1.0  # many who ask at once get one answer
GLANCE_SECONDS = 10.0  # the status line looks at what was probed last, and has it probed again this often

Service = dict[str, Any]


def service(status: str, message: str, **details: Any) -> Service:
    return {"status": status, "message": message, "details": details}


class Health:
    """Probes for all who ask; remembers when the pipeline last got on."""

    def __init__(self, settings: Settings, reader: SnapshotReader) -> None:
        self.settings, self.reader = settings, reader
        self._pool = ThreadPoolExecutor(6, thread_name_prefix="probe")
        self._turn = threading.Lock()
        self._last: dict[str, Service] = {}
        self._probed = self._asked = -GLANCE_SECONDS
        self._decided, self._moved = -1, time.monotonic()

    def services(self) -> dict[str, Service]:
        """All services, as they are now."""
        with self._turn:
            if time.monotonic() - self._probed > FRESH_SECONDS:
                self._last, self._probed = self._probe(), time.monotonic()
            return self._last

    def glance(self) -> dict[str, Service]:
        """All services as they were last seen; never waits. Empty at first."""
        if time.monotonic() - self._asked > GLANCE_SECONDS:
            self._asked = time.monotonic()
            self._pool.submit(self.services)
        return self._last

    def _probe(self) -> dict[str, Service]:
        probes: dict[str, Callable[[], Service]] = {
            "database": self._database, "redis": self._redis, "detector": self._detector, "nemotron": self._nemotron, "pipeline": self._pipeline,
        }  # fmt: skip
        running = {name: self._pool.submit(probe) for name, probe in probes.items()}
        wait(running.values(), timeout=ALL_SECONDS)
        return {name: self._result(future) for name, future in running.items()}

    def _result(self, future: Any) -> Service:
        if not future.done():
            return service("unhealthy", f"no answer within {ALL_SECONDS:g} s")
        try:
            result: Service = future.result()
        except (sqlite3.Error, RecordError, OSError) as error:
            return service("unhealthy", f"the record cannot be read: {error}")
        return result

    # -- one by one

    def _database(self) -> Service:
        began = time.perf_counter()
        if not self.reader.exists():
            return service("healthy", "no record yet: it is made when the pipeline starts", path=str(self.reader.path))
        with self.reader.snapshot() as record:
            counters, (version,) = record.counters(), record.one("SELECT value FROM meta WHERE key = 'schema_version'")
            record.one("SELECT count(*) FROM (SELECT 1 FROM events LIMIT 1)")
        took = round((time.perf_counter() - began) * 1e3, 2)
        return service("healthy", "the record answers", latency_ms=took, schema_version=int(version), **counters)

    def _redis(self) -> Service:
        if not self.settings.redis_url:
            return service("disabled", "REDIS_URL is not set: events are not published")
        try:
            client = Redis.from_url(
                self.settings.redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=PROBE_SECONDS, socket_connect_timeout=PROBE_SECONDS,
            )  # fmt: skip
            with client:
                version = client.info("server")["redis_version"]
        except (RedisError, OSError, ValueError) as error:
            where = masked("REDIS_URL", self.settings.redis_url)
            return service("unhealthy", f"{where} does not answer ({type(error).__name__}): events wait in the feed")
        return service("healthy", "Redis answers", redis_version=version)

    def _detector(self) -> Service:
        with self.reader.snapshot() as record:
            last, alive = pulse.last_detected(record), self._alive(record)
        if url := self.settings.rtdetr_url:
            try:
                code = httpx.get(f"{url}/health", timeout=PROBE_SECONDS).status_code
            except (httpx.HTTPError, OSError) as error:
                where = masked("RTDETR_URL", url)
                return service(
                    "unhealthy", f"{where} does not answer ({type(error).__name__}): pictures wait", last_inference=last
                )
            status = "healthy" if code < 500 else "unhealthy"
            return service(status, f"the RT-DETR service answers with {code}", last_inference=last)
        if not alive:
            return service("unhealthy", "it runs in the pipeline, which does not run", last_inference=last)
        if self._stalled():
            return service("unhealthy", "pictures wait and none was looked at for a minute", last_inference=last)
        return service(
            "healthy", "detects in the pipeline" if last else "has not seen a picture yet", last_inference=last
        )

    def _nemotron(self) -> Service:
        if not self.settings.nemotron_url:
            return service("disabled", "NEMOTRON_URL is not set: rules alone judge")
        with self.reader.snapshot() as record:
            last, pending = pulse.last_verdict(record), pulse.pending(record)
        url, wanted = self.settings.nemotron_url.removesuffix("/v1"), self.settings.hearthwatch_nemotron_model
        try:
            found = httpx.get(f"{url}/v1/models", timeout=PROBE_SECONDS).raise_for_status().json()
            models = [str(model["id"]) for model in found["data"]]
        except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
            where = masked("NEMOTRON_URL", url)
            return service("unhealthy", f"{where} does not answer as a vLLM server ({type(error).__name__}): {pending} events wait", last_verdict=last, pending=pending)  # fmt: skip
        if wanted not in models:
            return service("unhealthy", f"it serves {', '.join(models) or 'nothing'}, not {wanted}: set HEARTHWATCH_NEMOTRON_MODEL", last_verdict=last, pending=pending)  # fmt: skip
        return service("healthy", f"serves {wanted}", models=models, last_verdict=last, pending=pending)

    def _pipeline(self) -> Service:
        with self.reader.snapshot() as record:
            self.watch(record)
            beat, backlog, oldest, at = (
                pulse.heartbeats(record).get("see"),
                pulse.backlog(record),
                pulse.oldest_waiting(record),
                now(),
            )
        if beat is None:
            return service(
                "unhealthy", "has not run yet: start `hearthwatch run`", alive=False, stalled=False, backlog=backlog
            )
        alive, stalled, behind = at - beat["at"] < pulse.ALIVE, self._stalled(), _seconds(oldest, at)
        details = {
            "alive": alive, "stalled": stalled, "backlog": backlog, "last_heartbeat": iso(beat["at"]), "pid": beat["pid"],
            "oldest_unprocessed_seconds": behind, "counters": {name: n for name, n in beat["counters"].items() if name != "seconds"},
        }  # fmt: skip
        if not alive:
            return service("unhealthy", f"no sign of life since {iso(beat['at'])}; pictures wait on disk", **details)
        if stalled:
            return service("unhealthy", f"{backlog} pictures wait and none was processed for a minute", **details)
        if behind is not None and behind > BEHIND_SECONDS:
            return service("degraded", f"{backlog} pictures wait, the oldest for {behind:.0f} s: more came than can be looked at", **details)  # fmt: skip
        return service("healthy", f"{backlog} pictures wait" if backlog else "has caught up", **details)

    # -- the pipeline's pulse

    def watch(self, record: Record) -> None:
        """Note whether the pipeline got on since the last look; called every two seconds while we run."""
        counters = record.counters()
        decided = counters["settled"] + counters["quarantined"]
        if decided != self._decided or not counters["discovered"]:
            self._decided, self._moved = decided, time.monotonic()

    def _stalled(self) -> bool:
        return time.monotonic() - self._moved > pulse.STALLED / 1e6

    def _alive(self, record: Record) -> bool:
        beat = pulse.heartbeats(record).get("see")
        return beat is not None and now() - beat["at"] < pulse.ALIVE

    def status(self, record: Record, at: int, midnight: int) -> dict[str, Any]:
        """What the page's first line needs."""
        self.watch(record)
        seen, beat = self.glance(), pulse.heartbeats(record).get("see")
        cameras = pulse.cameras(record, at, midnight)
        gpu = pulse.gpu(record)
        return {
            "at": iso(beat["at"]) if beat else None, "now": iso(at), "needs_person": pulse.needs_person(record), "to_review": pulse.to_review(record),
            "cameras_online": sum(c["status"] == "online" for c in cameras), "cameras_total": len(cameras), "backlog": pulse.backlog(record),
            "behind_seconds": _seconds(pulse.oldest_waiting(record), at), "llm": _word(seen.get("nemotron"), bool(self.settings.nemotron_url)), "detector": _word(seen.get("detector"), True),
            "gpu_percent": gpu[0]["gpu_utilization"] if gpu else None, "today": pulse.today(record, midnight) if cameras else None,
            "stalled": self._stalled(), "watching": str(self.settings.foscam_base_path),
        }  # fmt: skip


def _seconds(since: int | None, at: int) -> float | None:
    return None if since is None else max(0.0, (at - since) / 1e6)


def _word(seen: Service | None, configured: bool) -> str:
    if seen is None:
        return "ok" if configured else "disabled"
    return {"healthy": "ok", "degraded": "slow", "unhealthy": "down", "disabled": "disabled"}[seen["status"]]


def overall(services: dict[str, Service]) -> str:
    """A database that fails is unhealthy; any other service that does is a degradation."""
    if services["database"]["status"] == "unhealthy":
        return "unhealthy"
    return "degraded" if any(s["status"] in ("unhealthy", "degraded") for s in services.values()) else "healthy"
