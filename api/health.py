"""Say how the job goes: what the pipeline's monitor found, and what only this server can know.

That is whether the record can be read and whether the pipeline lives: by its heartbeat, not because this server runs. A
failing database is unhealthy, any other failure degrades; what is not configured is `disabled` and what is `starting`
degrades nothing. From here, only Redis is asked, while no pipeline asks it, and what the pipeline cannot note at once: whether
the record is locked, and its disks. Results are cached for a second.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import chain
from typing import Any, NamedTuple

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from hearthwatch.api import models
from hearthwatch.record import OlderRecordError, Record, RecordError, now
from hearthwatch.record.conditions import Problem, read_conditions, worst_first
from hearthwatch.record.connection import BUSY_SECONDS_MAX, LOCKED_SECONDS, find_lock
from hearthwatch.record.graph_description import read_description
from hearthwatch.record.journal import read_journals
from hearthwatch.record.problems import BEHIND_SECONDS, find_full_disk, read_waiting
from hearthwatch.record.read import status as queries
from hearthwatch.record.read.events import Row, iso
from hearthwatch.record.read.over_cells import add
from hearthwatch.record.read.snapshot import SnapshotReader
from hearthwatch.record.units import SECOND
from hearthwatch.schemas.context import Cell
from hearthwatch.schemas.settings import Settings, masked
from hearthwatch.schemas.text import plural

READ_SECONDS_MAX = 3.0  # a disk that needs longer for the record counts as down
FRESH_SECONDS = 1.0  # requests within this get the same result
ASK_SECONDS = 2.0  # a Redis that needs longer counts as down

ServiceStatus = dict[str, Any]

STATUS_OF_SEVERITY = {"error": "unhealthy", "warning": "degraded", "info": "healthy"}
FAILED_STARTS = 2  # in a row: one may be a person's
SHORT = {"healthy": "ok", "degraded": "slow", "unhealthy": "down", "disabled": "disabled", "starting": "starting"}
IMPORT_AGE = 600 * SECOND  # a file that has waited on disk for longer was there before the pipeline
NOT_RUNNING = "the pipeline, which uses it, is not running"


NODES = {
    "redis": "redis",
    "detector": "rtdetr",
    "nemotron": "nemotron",
    "lake": "duckdb",
    "retention": "retention",
    "journal": "journal",
}
"""The services that are a node of the graph, and its component."""
OF_PICTURES = "detector", "uploads", "cameras"
KINDS = {
    "database": ("disk_low", "record_locked", "record_restored"), "redis": ("redis_down",), "detector": ("detector_down",),
    "nemotron": ("llm_down", "judge_failed"), "consumers": ("notifier_down",), "uploads": ("uploads_missing", "files_unreadable", "watch_off"),
    "cameras": ("camera_silent", "camera_clock", "quarantine", "same_picture", "zones_invalid", "neighbours_invalid"),
}  # fmt: skip
"""The kinds of conditions that each service shows; another one is of the node that it names, else of the pipeline."""
SERVICE_OF_KIND = {kind: service for service, kinds in KINDS.items() for kind in kinds}


def service_status(status: str, message: str, **details: Any) -> ServiceStatus:
    return {"status": status, "message": message, "details": details}


class Storage(NamedTuple):
    """What this server saw of the record's file and the disks: what is wrong, and the folders whose disk it can see."""

    wrong: tuple[Problem, ...] = ()
    folders: frozenset[str] = frozenset()


class CellWatch:
    """Sees the storage of one cell, and remembers when its pipeline last made progress."""

    def __init__(self, settings: Settings, cell: Cell, pool: ThreadPoolExecutor) -> None:
        self.settings = settings.model_copy(
            update={"foscam_base_path": cell.base_path, "hearthwatch_data_dir": cell.data_dir}
        )
        self.name, self.reader, self._pool = cell.name, SnapshotReader(cell.record_path), pool
        self._decided, self._progress_at = -1, time.monotonic()
        self._storage, self._looking, self._looked_at = Storage(), pool.submit(Storage), -FRESH_SECONDS

    def look(self) -> Future[Storage]:
        """Keep what was seen of the storage, and read it again on a thread, once a second at most: a disk may hang."""
        if self._looking.done():
            self._storage = self._looking.result()
            if time.monotonic() - self._looked_at > FRESH_SECONDS:
                self._looked_at, self._looking = time.monotonic(), self._pool.submit(self._see_storage)
        return self._looking

    def _see_storage(self) -> Storage:
        at, since = now(), {p.key: p.since for p in self._storage.wrong}
        both = {self.settings.foscam_base_path, self.settings.hearthwatch_data_dir}
        folders = [folder for folder in both if os.access(folder, os.F_OK)]
        why = find_lock(self.reader.path)
        wrong = [*chain(*map(find_full_disk, folders)), *([Problem("record_locked", why)] if why else [])]
        found = (p._replace(severity="error", since=since.get(p.key, at)) for p in wrong)
        return Storage(tuple(found), frozenset(map(str, folders)))

    def view(self, record: Record, at: int) -> PipelineView:
        """Note whether the pipeline decided pictures since the last call, which comes every two seconds; read how it is.

        `record`: this cell's, or several that are read as one, of which this one is none as long as it is not there.
        """
        mine = next((cell for cell in record.cells or (record,) if cell.path == self.reader.path), None)
        if mine is not None:
            return self._view(mine, at)
        with self.reader.snapshot() as alone:
            return self._view(alone, at)

    def _view(self, record: Record, at: int) -> PipelineView:
        counters = record.counters()
        decided = counters["settled"] + counters["quarantined"]
        if decided != self._decided or not counters["discovered"]:
            self._decided, self._progress_at = decided, time.monotonic()
        self.look()
        stalled = time.monotonic() - self._progress_at > queries.STALLED / 1e6
        return PipelineView(record, self.settings, at, stalled, self._storage)


class Health:
    """Reads the state of all cells for all requests. `hidden`: names of cells that the API does not show."""

    def __init__(
        self, settings: Settings, reader: SnapshotReader, cells: Sequence[Cell], hidden: Sequence[str] = ()
    ) -> None:
        self.settings, self.reader, self.hidden = settings, reader, hidden
        self._pool = ThreadPoolExecutor(2 + len(cells), thread_name_prefix="health")
        self._cells = [CellWatch(settings, cell, self._pool) for cell in cells]
        self._lock = threading.Lock()
        self._last: dict[str, Any] = {}
        self._read_at = -FRESH_SECONDS

    def report(self) -> dict[str, Any]:
        """Return `status`, `services`, `conditions` and `timestamp`, at most a second old."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                self._last, self._read_at = self._report(), time.monotonic()
            return self._last

    def _report(self) -> dict[str, Any]:
        wait([cell.look() for cell in self._cells], 2 * LOCKED_SECONDS)
        cells = dict[str, Any]()
        try:
            services, wrong, cells = self._pool.submit(self._read).result(READ_SECONDS_MAX)
        except (sqlite3.Error, RecordError, OSError, TimeoutError) as error:
            says = f"the record cannot be read: {str(error) or f'no response within {READ_SECONDS_MAX:g} s'}"
            unread = service_status("unhealthy", says)
            if isinstance(error, OlderRecordError):
                unread = service_status("starting", f"upgrading the record: {error}")
            services, wrong = dict.fromkeys(models.Services.model_fields, unread), []
        if self.settings.redis_url and services["redis"]["message"].endswith(NOT_RUNNING):
            services["redis"] = _ask_redis(self.settings.redis_url)
        is_wrong = any(service["status"] in ("unhealthy", "degraded") for service in services.values())
        status = "unhealthy" if services["database"]["status"] == "unhealthy" else "degraded" if is_wrong else "healthy"
        return {
            "status": status, "services": services, "conditions": [problem.as_dict() for problem in wrong], "cells": cells, "timestamp": iso(now()),
        }  # fmt: skip

    def _read(self) -> tuple[dict[str, ServiceStatus], list[Problem], dict[str, Any]]:
        began = time.perf_counter()
        with self.reader.snapshot() as record:
            view = self.view(record, now())
            services = view.services()
        took = round((time.perf_counter() - began) * 1e3, 2)
        services["database"]["details"] |= {"latency_ms": took, "path": str(self.reader.path)}
        if not self.reader.exists():
            services["database"]["message"] = "no record yet: the pipeline creates it at its start"
        return services, view.wrong, view.cells

    def view(self, record: Record, at: int) -> PipelineView:
        """Read how the pipeline of all cells is."""
        views = {cell.name: cell.view(record, at) for cell in self._cells}
        if len(views) > 1:
            return CellsView(record, self.settings, at, views, self.hidden)
        (view,) = views.values()
        view.cells = {self._cells[0].name: view.cells[""]}
        return view

    def status_line(self, record: Record, at: int, midnight: int) -> dict[str, Any]:
        """Read the page's first line."""
        view, gpu = self.view(record, at), queries.gpu(record)
        cameras = queries.cameras(record, at, midnight)
        problems = [problem for problem in view.wrong if problem.severity != "info"]
        return {
            "at": iso(view.seen_at), "now": iso(at), "needs_person": queries.needs_person(record), "to_review": queries.to_review(record),
            "cameras_online": sum(c["status"] == "online" for c in cameras), "cameras_total": len(cameras), "backlog": view.backlog,
            "behind_seconds": view.behind, "importing_since": iso(view.importing_since), "llm": SHORT[view.service("nemotron")["status"]], "detector": SHORT[view.service("detector")["status"]],
            "gpu_percent": gpu[0]["gpu_utilization"] if gpu else None, "today": queries.today(record, midnight) if cameras else None,
            "stalled": view.is_stalled, "watching": None if view.service("uploads")["status"] == "disabled" else str(self.settings.foscam_base_path), "starting": view.is_starting,
            "problem": problems[0].as_dict() if problems else None, "problems": len(problems),
        }  # fmt: skip


class PipelineView:
    """What one snapshot of the record says of the pipeline and its services."""

    not_running = NOT_RUNNING

    def __init__(self, record: Record, settings: Settings, at: int, stalled: bool, storage: Storage) -> None:
        self.record, self.settings, self.at = record, settings, at
        self.beat = queries.heartbeats(record).get("see")
        self.found = record.meta("services") or {}
        self.seen_at = max((beat["at"] for beat in (self.beat, self.found) if beat), default=None)
        is_locked = any(c.kind == "record_locked" for c in storage.wrong)  # then no heartbeat can be written
        alive = BUSY_SECONDS_MAX * 1e6 if is_locked else queries.ALIVE
        self.is_alive = self.seen_at is not None and at - self.seen_at < alive
        self.is_starting = self.is_alive and bool(self.found.get("starting"))
        self.is_stalled = stalled and self.is_alive and not self.is_starting
        self.notes = record.meta("discovery") or {}
        self.backlog, oldest = read_waiting(record, self.notes)
        self.behind = None if oldest is None else max(0.0, (at - oldest) / 1e6)
        oldest_file = self.notes.get("oldest_waiting") if self.notes.get("waiting") else None
        self.importing_since = oldest_file if oldest_file and at - oldest_file > IMPORT_AGE else None
        self.waits = plural(self.backlog, "picture waits", "pictures wait")
        self.nodes = {node["use"]: node for node in (read_description(record) or {}).get("nodes", ())}
        standing = read_conditions(record) if self.is_alive else []
        standing = [p for p in standing if p.kind != "disk_low" or p.subject not in storage.folders]
        known_already = {p.key for p in standing}
        own = [p for p in (*storage.wrong, *self._own()) if p.key not in known_already]
        self.wrong = worst_first(
            [self._importing(p) if p.kind == "behind" else p for p in (*own, *standing) if not self._is_off(p)]
        )
        beat = {"alive": self.is_alive, "last_heartbeat": iso(self.seen_at), "backlog": self.backlog}
        self.cells: dict[str, Row] = {"": beat}

    def _importing(self, behind: Problem) -> Problem:
        """Replace the condition `behind` while pictures are taken in that arrived when nothing ran: that is no fault."""
        if self.importing_since is None or self.is_stalled:
            return behind
        says = f"importing: {self.waits}, the oldest from {iso(self.importing_since)}; live pictures go first"
        return behind._replace(message=says, severity="info")

    def _own(self) -> list[Problem]:
        """Find what shows in the record without a monitor: no pipeline, no progress, too much to do."""
        if not self.is_alive:
            never = "has not run yet: start `hearthwatch run`"
            says = f"no heartbeat since {iso(self.seen_at)}; pictures wait on disk" if self.seen_at else never
            return [Problem("pipeline_down", says, severity="error", since=self.seen_at or self.at)]
        wrong = []
        if self.is_starting and (failed := self.found.get("failed_starts", 0)) >= FAILED_STARTS:
            says = f"the pipeline ended {failed} times before it had started: its log says why"
            wrong.append(Problem("pipeline_down", says, severity="error", since=self.at))
        if self.notes.get("base_missing"):
            says = f"{self.settings.foscam_base_path} cannot be read: no picture arrives"
            wrong.append(Problem("uploads_missing", says, severity="error", since=self.at))
        if self.is_stalled:
            says = f"{self.waits} and none was processed for a minute"
            wrong.append(Problem("stalled", says, severity="error", since=self.at - queries.STALLED))
        elif self.behind is not None and self.behind > BEHIND_SECONDS:
            says = f"{self.waits}, the oldest for {self.behind:.0f} s: more arrive than can be processed"
            wrong.append(Problem("behind", says, severity="warning", since=round(self.at - self.behind * 1e6)))
        return wrong

    def services(self) -> dict[str, ServiceStatus]:
        """Each service's status; the database's is that it could be read."""
        record, beat = self.record, self.beat
        (version,) = record.one("SELECT value FROM meta WHERE key = 'schema_version'")
        last, cameras, consumers = queries.last_detected(record), queries.camera_health(record, self.at), queries.consumers(record)  # fmt: skip
        silent, lag = sum(c["silent"] for c in cameras.values()), max((c["lag"] for c in consumers.values()), default=0)
        of_cameras = f"{plural(len(cameras), 'camera')}, {silent} silent" if cameras else "no camera yet"
        journals = read_journals(record)
        of_consumers = f"{plural(len(consumers), 'consumer')}, {plural(lag, 'message')} to deliver" if consumers else "none"  # fmt: skip
        return {
            "database": self.service("database", "the record can be read", schema_version=int(version), **record.counters()),
            "redis": self.service("redis", "events are published"),
            "detector": self.service("detector", "detects" if last else "has processed no picture yet", last_inference=last),
            "nemotron": self.service("nemotron", "judges events", last_verdict=queries.last_verdict(record), pending=queries.pending(record), pictures=self.reads_pictures()),
            "pipeline": self.service(
                "pipeline", self.waits if self.backlog else "has caught up", alive=self.is_alive, stalled=self.is_stalled, backlog=self.backlog,
                oldest_unprocessed_seconds=self.behind, last_heartbeat=iso(self.seen_at), pid=beat["pid"] if beat else None,
                counters={name: n for name, n in beat["counters"].items() if name != "seconds"} if beat else {},
            ),
            "uploads": self.service("uploads", "; ".join(["the tree is watched", *queries.describe_notes(self.notes)]), **self.notes),
            "cameras": self.service("cameras", of_cameras, **cameras),
            "consumers": self.service("consumers", of_consumers, **consumers),
            "lake": self.service("lake", "events are exported"),
            "retention": self.service("retention", "deletes what is too old"),
            "journal": self.service("journal", of_journal(journals), **{name: dict(found) for name, found in journals.items()}),
        }  # fmt: skip

    def reads_pictures(self) -> bool | None:
        """Whether the language model is shown pictures; None: nothing asks one."""
        beat = queries.heartbeats(self.record).get("judge")
        return bool(beat["counters"].get("pictures")) if beat else None

    def service(self, name: str, message: str = "", **details: Any) -> ServiceStatus:
        """Return what is wrong with it, else why it does nothing, else `message`."""
        node = self.nodes.get(NODES.get(name, ""))
        answer = self.found.get("services", {}).get(node["name"], {}) if node else {}
        details |= answer.get("details", {})
        if "failed_at" in details:
            details["last_failure"] = iso(details.pop("failed_at"))
        wrong = [problem for problem in self.wrong if self._service_of(problem) == name]
        if off := self._off(name, node):
            return service_status("disabled", off, **details)
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
            return service_status(STATUS_OF_SEVERITY[wrong[0].severity or ""], wrong[0].message + more, **details)
        if not self.is_alive and name != "database":
            return service_status("unhealthy", self.not_running, **details)
        if (self.is_starting and name != "database") or answer.get("starting"):
            return service_status("starting", answer.get("message") or "the pipeline is starting", **details)
        return service_status("healthy", answer.get("message") or message, **details)

    def _service_of(self, problem: Problem) -> str:
        named = {self.nodes[use]["name"]: service for service, use in NODES.items() if use in self.nodes}
        return SERVICE_OF_KIND.get(problem.kind) or named.get(problem.subject, "pipeline")

    def _is_off(self, problem: Problem) -> bool:
        """Whether it is of a service that is off now: it ended with that."""
        name = self._service_of(problem)
        return self._off(name, self.nodes.get(NODES.get(name, ""))) is not None

    def _off(self, name: str, node: Row | None) -> str | None:
        """Why a service does nothing here; None: it works."""
        if name in OF_PICTURES and self.nodes and "files" not in self.nodes and "backfill" not in self.nodes:
            return "the graph reads no pictures"
        if node or name not in NODES:
            return node["off"] if node else None
        if self.nodes:
            return None if name == "detector" else "the graph has no such node"
        unset = {"redis": self.settings.redis_url, "nemotron": self.settings.nemotron_url}
        return f"{name.upper()}_URL is not set" if not unset.get(name, True) else None


class CellsView(PipelineView):
    """The same of all cells: what is wrong in any of them is wrong, and says in which."""

    def __init__(
        self, record: Record, settings: Settings, at: int, views: Mapping[str, PipelineView], hidden: Sequence[str]
    ) -> None:
        self.record, self.settings, self.at, every = record, settings, at, list(views.values())
        first = next((view for view in every if view.nodes), every[0])
        self.nodes, self.found, self.notes = first.nodes, first.found, add([view.notes for view in every])
        self.notes["oldest_waiting"] = min(filter(None, (v.notes.get("oldest_waiting") for v in every)), default=None)
        self.beat = queries.heartbeats(record).get("see")
        seen = [view.seen_at for view in every if view.seen_at is not None]
        self.seen_at = min(seen) if len(seen) == len(every) else None
        self.is_alive, self.is_starting = all(v.is_alive for v in every), any(v.is_starting for v in every)
        self.is_stalled, self.backlog = any(v.is_stalled for v in every), sum(v.backlog for v in every)
        self.behind = max((v.behind for v in every if v.behind is not None), default=None)
        self.importing_since = min((v.importing_since for v in every if v.importing_since), default=None)
        self.waits = plural(self.backlog, "picture waits", "pictures wait")
        self.not_running = f"{', '.join(f'cell {name}' for name, v in views.items() if not v.is_alive)}: {NOT_RUNNING}"
        self.cells = {name: view.cells[""] for name, view in views.items()}
        counts = Counter(p.key for view in every for p in view.wrong)
        found = {
            (p.key, name * (counts[p.key] < len(every))): p if counts[p.key] == len(every) else p._replace(message=f"cell {name}: {p.message}")
            for name, view in reversed([*views.items()]) for p in view.wrong
        }  # fmt: skip
        self.wrong = worst_first([*found.values()][::-1])
        if hidden:
            says = f"the API and the page do not show cells {', '.join(hidden)}: divide the data dir"
            self.wrong.append(Problem("cells_not_shown", says, severity="warning", since=at))


def of_journal(journals: dict[str, dict[str, Any]]) -> str:
    """Say how much journals hold."""
    items, failed = (sum(found[what] for found in journals.values()) for what in ("items", "failed"))
    return plural(items, "item") + (f", and {failed} that failed" if failed else "")


def _ask_redis(url: str) -> ServiceStatus:
    once = {"retry": Retry(NoBackoff(), 0), "socket_timeout": ASK_SECONDS, "socket_connect_timeout": ASK_SECONDS}
    try:
        with Redis.from_url(url, **once) as client:
            return service_status("healthy", "Redis responds", redis_version=client.info("server")["redis_version"])
    except (RedisError, OSError, ValueError) as error:
        says = f"{masked('REDIS_URL', url)} does not respond ({type(error).__name__})"
        return service_status("unhealthy", says)
