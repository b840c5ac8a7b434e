"""Report to systemd that `hearthwatch run` works (the protocol of sd_notify); without systemd nothing happens.

Ready when the API answers and the pipeline has begun. From then on the watchdog is pinged only if the API answers and the
pipeline has made progress since the last ping, so that systemd restarts a service in which one of them hangs. A pipeline that
loads its model or upgrades the record makes progress; whether pictures come does not matter.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Sequence

import httpx

from hearthwatch.api.security import is_wildcard
from hearthwatch.cli.supervisor import RestartedProcess
from hearthwatch.record import OlderRecordError, RecordError
from hearthwatch.record.read.snapshot import SnapshotReader
from hearthwatch.record.read.status import heartbeats
from hearthwatch.schemas.settings import Settings

CHECK_SECONDS = 2.0
WATCHDOG_SECONDS_MAX = 180.0  # where systemd gives no limit; after a quarter of it the status says what hangs


class Watchdog(threading.Thread):
    """Checks and reports until `stop`. `has_heartbeat`: a node of the graph writes one; else a pipeline that runs counts."""

    def __init__(
        self, settings: Settings, processes: Sequence[RestartedProcess], has_heartbeat: bool, stop: threading.Event
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.settings, self.reader = settings, SnapshotReader(settings.database_path)
        self.pipeline = next(process for process in processes if process.name == "pipeline")
        self.has_heartbeat, self.stop = has_heartbeat, stop
        self.address = os.environ.pop("NOTIFY_SOCKET", "")  # only this process may report
        self.seconds_max = int(os.environ.pop("WATCHDOG_USEC", "0")) / 1e6 or WATCHDOG_SECONDS_MAX

    def run(self) -> None:
        if not self.address:
            return
        seen, seen_at, state, reported = self._read_progress(), time.monotonic(), "READY=1", ""
        while not self.stop.wait(CHECK_SECONDS):
            progress, answers = self._read_progress(), self._is_api_answering()
            if answers and progress not in (None, seen):
                self.notify(state)
                seen, seen_at, state = progress, time.monotonic(), "WATCHDOG=1"
            is_late = time.monotonic() - seen_at > self.seconds_max / 4
            words = "" if not is_late else "the pipeline makes no progress" if answers else "the API does not answer"
            if words != reported:
                self.notify(f"STATUS={words}")
                reported = words
        self.notify("STOPPING=1")

    def notify(self, state: str) -> None:
        """Send this state; a systemd that does not read it is no reason to end."""
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.settimeout(CHECK_SECONDS)
            try:
                sending.sendto(state.encode(), path)
            except OSError as error:
                print(f"watchdog: {state} cannot be sent: {error.strerror}", flush=True)

    def _read_progress(self) -> object:
        """Read what changes while the pipeline works: its heartbeat; before the first, what its monitor writes. None: it does not run."""
        if not (children := self.pipeline.children):
            return None
        try:
            with self.reader.snapshot() as record:
                beat, monitored = heartbeats(record).get("see"), record.meta("services") or {}
        except OlderRecordError:
            return time.monotonic()
        except (sqlite3.Error, RecordError, OSError):
            return None
        if not self.has_heartbeat:
            return time.monotonic()
        return beat["at"] if beat and beat["pid"] in [child.process.pid for child in children] else monitored.get("at")

    def _is_api_answering(self) -> bool:
        host, port = self.settings.hearthwatch_api_host, self.settings.hearthwatch_api_port
        host = "127.0.0.1" if is_wildcard(host) else f"[{host}]" if ":" in host.strip("[]") else host
        try:
            httpx.get(f"http://{host}:{port}/health", timeout=CHECK_SECONDS, trust_env=False)
        except httpx.HTTPError:
            return False
        return True
