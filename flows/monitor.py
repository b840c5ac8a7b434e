"""Watch the pipeline on a separate thread: what is wrong becomes a condition in the record, and a system message.

Every `CHECK_SECONDS` it collects what the record, the disks, the services and the other threads of this process say, and
reports it to `record/conditions.py`. Services are asked (`Component.probe`) on one thread each, so one that hangs delays
nothing. In a graph that is split over processes, each one reports on its own nodes; the one that decides frames also
reports on uploads, cameras, clocks and disks. The monitor itself is started again if anything ends it.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from hearthwatch.flows.node import Node
from hearthwatch.flows.services import JobThread, ServiceThreads, SupervisedThread
from hearthwatch.record import Record, now
from hearthwatch.record.conditions import Conditions, Problem
from hearthwatch.record.connection import last_blocked
from hearthwatch.record.graph_description import read_description
from hearthwatch.record.problems import BEHIND_SECONDS, find_full_disk, find_problems, read_waiting
from hearthwatch.record.units import SECOND
from hearthwatch.schemas import Component, Consumer, Detected, Job, Stage
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.messages import SystemKind
from hearthwatch.schemas.settings import masked
from hearthwatch.sinks.kept_pictures import CURSOR
from hearthwatch.sinks.redis import Redis
from hearthwatch.stages.detect import RtDetr

CHECK_SECONDS = 2.0
PROBE_SECONDS = 5.0  # between two questions to a service
ANSWER_SECONDS_MAX = 8.0  # an answer that takes longer is none; HTTP questions give up after 5 s themselves
BLOCKED_SECONDS = 5.0  # that the record could not be written is reported for so long after it could
STOP_SECONDS_MAX = 0.5
STORE_SECONDS = 10.0  # how often what services answer is stored, if nothing changes: it says that the monitor is alive
FAILING_SECONDS, BUSY_SECONDS = 10.0, 15.0  # what fails, or takes, longer than this is reported
RESTARTED_SECONDS = 10.0  # a part that was started again is reported for so long, and ten seconds more until it is over
JUDGING_SECONDS = 20.0  # a language model that takes longer than this for one event is reported
WAITING_SECONDS = 5.0  # a remote detector is asked to detect only while others wait for so long

NODE_KINDS = "detector_down judge_failed lake_down llm_down notifier_down part_restarted redis_down".split()
"""Their subject is a node of the graph."""


class Probe(threading.Thread):
    """Asks one question again and again, and keeps the answer: words, or what is wrong."""

    stopping: threading.Event

    def __init__(self, subject: str, ask: Callable[[], str | list[Problem] | None], kind: SystemKind) -> None:
        super().__init__(name=f"probe {subject}", daemon=True)
        self.subject, self.ask, self.kind = subject, ask, kind
        self.answer: str | list[Problem] | None = None
        self.error: str | None = None
        self._asked: float | None = None

    def run(self) -> None:
        self.ask_once()
        while not self.stopping.wait(PROBE_SECONDS):
            self.ask_once()

    def ask_once(self) -> None:
        self._asked = time.monotonic()
        try:
            self.answer, self.error = self.ask(), None
        except BaseException as error:
            self.error = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        self._asked = None

    def problems(self) -> Iterator[Problem]:
        asked, error = self._asked, self.error
        if asked is not None and time.monotonic() - asked > ANSWER_SECONDS_MAX:
            error = f"{self.subject} does not respond"
        if error:
            yield Problem(self.kind, error, self.subject)
        elif isinstance(self.answer, list):
            yield from self.answer


class Monitor(SupervisedThread):
    """One for each process; `is_starting` until the graph runs."""

    def __init__(self, context: Context, nodes: Sequence[Node], services: ServiceThreads) -> None:
        super().__init__("monitor")
        self.context, self.services = context, services
        self.nodes = {node.name: node for node in nodes if not node.off()}
        self.decides = any(node.commits_events() for node in nodes)
        self.leads = self.decides
        """Whether the graph lives if this process does: it decides frames, or there are none to decide."""
        self.is_starting, self._began = True, now()
        self._waits = False
        self._asked: dict[int, float] = {}
        """Events that the language model is being asked about, and since when."""
        self._probes: list[Probe] = []
        self._stored: tuple[float, dict[str, Any]] = (0.0, {})
        self._write_seconds = 0.0
        """How long the last transaction took; there is one with each check while pictures wait."""

    def start(self) -> None:
        self._stopping.clear()
        self._probes = list(self._make_probes())
        for probe in self._probes:
            probe.stopping = self._stopping
            probe.start()
        super().start()

    def stop(self) -> None:
        self._stopping.set()
        self._join(STOP_SECONDS_MAX)

    def end_start(self) -> None:
        """Note that the graph runs: models are loaded."""
        self.is_starting = False

    def _run(self) -> None:
        record = Record(self.context.record_path)
        try:
            conditions, graph = Conditions(record), read_description(record) or {}
            known = {node["name"] for node in graph.get("nodes", ())} | self.nodes.keys()
            self.leads = self.decides or not any(node["use"] == "batch" for node in graph.get("nodes", ()))
            while True:
                self.check(record, conditions, known)
                if self._stopping.wait(CHECK_SECONDS):
                    return
        finally:
            record.close()

    def check(self, record: Record, conditions: Conditions, known: set[str]) -> None:
        """Collect what is wrong, report it, and store what the services answered. `known`: the nodes of the whole graph."""
        at = now()
        problems = [problem for probe in self._probes for problem in probe.problems()]
        problems += [*self._of_threads(), *self._of_the_judge(), *self._of_own_functions(), *self._of_the_record()]
        if self.decides:
            oldest = read_waiting(record).oldest
            self._waits = oldest is not None and at - oldest > WAITING_SECONDS * SECOND
            remote = any(n.emits() is Detected and getattr(n.component, "url", None) for n in self.nodes.values())
            behind = BEHIND_SECONDS / 2 if remote else BEHIND_SECONDS
            problems += find_problems(record, self.context.base_path, at, behind, self._write_seconds)

        def covers(kind: str, subject: str) -> bool:
            if kind in NODE_KINDS:
                return subject in self.nodes or (self.decides and subject not in known)
            return self.leads

        conditions.report(at, problems, covers)
        self._store_answers(record, at)

    def _of_threads(self) -> Iterator[Problem]:
        at = time.monotonic()
        for thread in (self, *self.services.running()):
            name, since = thread.name, thread.failing_since
            if thread.restarted is not None and at - thread.restarted < RESTARTED_SECONDS:
                says = f"{name} ended ({thread.died_of}) and was started again"
                yield Problem("part_restarted", says, name, at_once=True)
            if since is not None and at - since > (FAILING_SECONDS if thread.error else BUSY_SECONDS):
                yield Problem(self._kind_of(name), f"{name} fails: {thread.error or thread.hangs}", name)

    def _of_the_record(self) -> Iterator[Problem]:
        """Yield that the record could not be written: it could not be noted until now."""
        blocked, at = last_blocked(self.context.record_path), time.monotonic()
        if blocked and at - (blocked.until or at) < BLOCKED_SECONDS:
            seconds = (blocked.until or at) - blocked.since
            yield Problem("record_locked", f"{blocked.reason}; writing waited for {seconds:.0f} s", at_once=True)

    def _of_the_judge(self) -> Iterator[Problem]:
        """Yield that a language model has one question for long: it may list its models and answer nothing."""
        at, asked = time.monotonic(), set(self.context.in_flight.ids)
        self._asked = {event: self._asked.get(event, at) for event in asked}
        longest = at - min(self._asked.values(), default=at)
        judge = next((name for name, node in self.nodes.items() if node.is_judge()), None)
        if judge and longest > JUDGING_SECONDS:
            yield Problem("llm_down", f"{judge} has had no answer from the language model for {longest:.0f} s", judge)

    def _of_own_functions(self) -> Iterator[Problem]:
        """Yield that own rules, or an own judge, raised: events have the verdict of the others."""
        failed = self.context.failures.recent()
        for name, node in self.nodes.items():
            functions = *getattr(node.component, "rules", ()), getattr(node.component, "judge", None)
            if words := [f"{one} failed: {failed[one]}" for one in functions if one in failed]:
                says = "; ".join(words) + "; the rules' verdict without it stands, correct the function"
                yield Problem("judge_failed", says, name, at_once=True)

    def _kind_of(self, name: str) -> SystemKind:
        component = self.nodes[name].component if name in self.nodes else None
        if isinstance(component, Job) or name == CURSOR:
            return "lake_down"
        return "redis_down" if isinstance(component, Redis) else "notifier_down"

    # -- questions to services

    def _make_probes(self) -> Iterator[Probe]:
        if self.decides:
            for folder, kind in ((self.context.base_path, "uploads_missing"), (self.context.data_dir, "disk_low")):
                yield Probe(str(folder), partial(find_full_disk, folder), kind)  # type: ignore[arg-type]
        for name, node in self.nodes.items():
            component = node.component
            if component is None or type(component).probe is Component.probe:
                continue
            if isinstance(component, Stage) and node.is_judge():
                yield Probe(name, component.probe, "llm_down")
            elif isinstance(component, Stage) and node.emits() is Detected:
                yield Probe(name, partial(self._ask_detector, component), "detector_down")
            elif isinstance(component, Consumer):
                yield Probe(name, component.probe, self._kind_of(name))

    def _ask_detector(self, component: Component) -> str | None:
        """Connect to a remote detector; ask it for detections only while pictures wait: it has work enough."""
        detector, url = self.context.detector, getattr(component, "url", None)
        if detector.status == "starting" and detector.reason:
            raise UserError(detector.reason)
        if detector.status == "starting" or self._waits or not isinstance(url, str):
            return component.probe() if self._waits and detector.status != "starting" else None
        parts = urlsplit(url)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), timeout=5).close()
        except OSError as error:
            raise UserError(f"{masked('RTDETR_URL', url)}: {error}: start the service") from None
        return f"{masked('RTDETR_URL', url)} accepts connections"

    def _store_answers(self, record: Record, at: int) -> None:
        """Store what each service answered, for health: when it changes, and as a sign of life."""
        answers: dict[str, Any] = {}
        for probe in self._probes:
            if isinstance(probe.answer, str) and not probe.error:
                version = re.search(r": Redis (\S+)$", probe.answer)
                details = {"redis_version": version[1]} if version else {}
                answers[probe.subject] = {"message": probe.answer, "details": details}
        for thread in self.services.running():
            if isinstance(thread, JobThread):
                answers[thread.name] = {"details": {"failed_at": thread.failed_at, "error": thread.error or None}}
        loads = self.context.detector.status == "starting"
        says = {"starting": True, "message": "the model is being loaded"} if loads else {"starting": False}
        for name in [name for name, node in self.nodes.items() if isinstance(node.component, RtDetr)]:
            answers[name] = answers.get(name, {}) | says
        new = {"starting": self.is_starting, "services": answers}
        (due, stored), began = self._stored, time.monotonic()
        if began >= due or new != stored or self._waits:
            self._stored = began + STORE_SECONDS, new
            record.transact(lambda: self._merge(record, new, at))
            self._write_seconds = time.monotonic() - began

    def _merge(self, record: Record, new: dict[str, Any], at: int) -> None:
        """Write what this process knows; other processes of the graph keep theirs."""
        before = record.meta("services") or {"at": at, "starting": False, "services": {}}
        after = before | (self._note_start(before, at) if self.leads else {})
        after["services"] = before["services"] | new["services"]
        record.execute("INSERT OR REPLACE INTO meta VALUES ('services', ?)", json.dumps(after))

    def _note_start(self, before: dict[str, Any], at: int) -> dict[str, Any]:
        """Say whether this process still starts, and how many in a row before it ended before the graph ran."""
        failed = before.get("failed_starts", 0)
        if before["starting"] and before.get("began", self._began) != self._began:
            failed += 1
        return {
            "at": at,
            "starting": self.is_starting,
            "began": self._began,
            "failed_starts": failed * self.is_starting,
        }
