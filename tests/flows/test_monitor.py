"""Promise: whatever keeps pictures from being processed, or alerts from being delivered, is said, and its end, too."""

import json
import os
import re
import socket
import sqlite3
import threading
import time
from collections import namedtuple
from datetime import UTC, datetime
from pathlib import Path

import pytest

import hearthwatch.flows.monitor
import hearthwatch.flows.services
from hearthwatch.flows.monitor import Monitor
from hearthwatch.flows.node import Node
from hearthwatch.flows.services import ConsumerThread, JobThread, ServiceThreads
from hearthwatch.record import Record, now, problems
from hearthwatch.record.cameras import add_camera, edit_camera
from hearthwatch.record.conditions import OFF_CHECKS, ON_CHECKS, Conditions
from hearthwatch.record.connection import last_blocked
from hearthwatch.record.feed import Feed
from hearthwatch.schemas import Consumer, Job, JobWorker
from hearthwatch.schemas.context import Context, InFlight
from hearthwatch.sinks.webhook import Webhook
from hearthwatch.stages.analyze import Nemotron
from hearthwatch.stages.batch import Batch
from hearthwatch.stages.detect import RtDetr
from tests.support.http_receiver import HttpEar
from tests.support.pipeline import Pipeline, picture

S = 1_000_000
FAST = ",".join(f"hearthwatch.flows.{name}" for name in ("monitor.CHECK_SECONDS=0.05", "monitor.PROBE_SECONDS=0.1"))


@pytest.fixture
def nursery():
    from tests.support.pipeline import Nursery

    with Nursery() as nursery:
        yield nursery


def system_messages(p, *columns):
    return p.rows(
        f"SELECT {', '.join(f'''json_extract(payload, '$.{column}')''' for column in columns)} FROM feed "
        "WHERE kind = 'system' ORDER BY seq"
    )


def test_an_upload_tree_that_goes_away_and_a_camera_whose_pictures_are_all_cut_short_are_said(tmp_path, nursery):
    p = Pipeline(tmp_path, nursery=nursery, TUNE=FAST)
    good = picture("one")

    def name(n):
        return f"{datetime.fromtimestamp(time.time() - 60 + n, UTC):%Y%m%d_%H%M%S}.jpg"

    for n in range(3):
        p.upload("yard", name(n), good[: len(good) // 3], mtime=time.time() - 60)
        p.upload(".", name(n), good, mtime=time.time() - 60)
    wanted = ("kind", "state", "subject", "camera_id", "severity", "message")
    p.start().until(lambda: system_messages(p, "kind").count(("quarantine",)) == 2)
    (of_none, of_yard) = sorted(row for row in system_messages(p, *wanted) if row[0] == "quarantine")
    assert of_none[:5] == ("quarantine", "on", "", None, "warning") and of_none[5].startswith(
        "3 pictures that are in no"
    )
    assert of_yard[:5] == ("quarantine", "on", "yard", "yard", "error") and of_yard[5].startswith(
        "3 of 3 pictures of yard"
    )
    p.base.rename(tmp_path / "away")
    p.until(lambda: ("uploads_missing", "on") in system_messages(p, "kind", "state"))
    (tmp_path / "away").rename(p.base)
    p.until(lambda: ("uploads_missing", "off") in system_messages(p, "kind", "state"))
    p.stop()
    assert [row for row in system_messages(p, "kind", "state") if row[0] == "uploads_missing"] == [
        ("uploads_missing", "on"),
        ("uploads_missing", "off"),
    ]


# -- without a pipeline


class Watched:
    """A monitor that is asked to check, over services that run."""

    def __init__(self, folder: Path, *nodes: Node, **context) -> None:
        self.context = Context(folder / "r.db", folder, folder / "uploads", **context)
        self.context.base_path.mkdir(exist_ok=True)
        self.record, self.services = Record(self.context.record_path), ServiceThreads()
        self.monitor = Monitor(self.context, nodes, self.services)
        self.conditions, self.feed = Conditions(self.record), Feed(self.record)
        self.monitor._probes = list(self.monitor._make_probes())

    def check(self, times: int = 1) -> list[tuple[str, str, str]]:
        before = self.feed.last()
        for _ in range(times):
            for probe in self.monitor._probes:
                probe.ask_once()
            self.monitor.check(self.record, self.conditions, set(self.monitor.nodes))
        return [(m.kind, m.state, m.subject) for m in self.feed.after(before, 99)]

    def until(self, *wanted: tuple[str, str, str]) -> None:
        deadline, seen = time.monotonic() + 30, []
        while not set(wanted) <= set(seen):
            assert time.monotonic() < deadline, seen
            seen += self.check()
            time.sleep(0.01)

    def began(self):
        return self.check(ON_CHECKS)

    def ended(self):
        return self.check(OFF_CHECKS)


def node(name, component):
    return Node(name, name, type(component), component)


BATCH = node("batch", Batch())


def test_a_consumer_whose_receiver_is_down_and_then_works(tmp_path, monkeypatch):
    monkeypatch.setattr(hearthwatch.flows.monitor, "FAILING_SECONDS", 0.0)
    monkeypatch.setattr(hearthwatch.flows.services, "BACKOFF_SECONDS_MAX", 0.02)
    with HttpEar(*[503] * 400) as ear:
        hook = Webhook(url=ear.url, messages="event")
        w = Watched(tmp_path, node("hook", hook))
        w.services.start(ConsumerThread("hook", hook.build(w.context), {}, w.context))
        w.record.transact(lambda: None)
        happen(w.record)
        w.until(("notifier_down", "on", "hook"))
        assert w.record.one("SELECT delivered, failed > 0, error LIKE '%503%' FROM deliveries") == (0, 1, 1)
        ear.answers.clear()
        w.until(("notifier_down", "off", "hook"))
        assert w.record.one("SELECT delivered > 0, delivered_at > failed_at, error FROM deliveries") == (1, 1, None)
        w.services.stop()


def happen(record):
    """One person at the front door."""
    from tests.flows.test_services import happen as one

    one(record.path, 1)


class Panics(Consumer):
    def deliver(self, messages):
        raise SystemExit("a library ended this thread")


class Broken(JobWorker):
    def run(self, at, stop):
        raise KeyboardInterrupt


class Lake(Job):
    worker: type = Broken

    def pause_seconds(self):
        return 0.01

    def build(self, context):
        return self.worker()


def test_a_thread_that_is_ended_by_its_library_is_started_again_and_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(hearthwatch.flows.services, "BACKOFF_SECONDS_MAX", 0.02)
    bell, lake = Panics(), Lake()
    w = Watched(tmp_path, node("bell", bell), node("lake", lake))
    for thread in (ConsumerThread("bell", bell, {}, w.context), JobThread("lake", lake, w.context)):
        w.services.start(thread)
    happen(w.record)
    w.until(("part_restarted", "on", "bell"), ("part_restarted", "on", "lake"))
    assert all(thread._thread.is_alive() for thread in w.services.running())
    (message,) = w.record.one("SELECT message FROM conditions WHERE subject = 'bell'")
    assert "SystemExit: a library ended this thread" in message
    w.services.stop()
    monkeypatch.setattr(hearthwatch.flows.monitor, "RESTARTED_SECONDS", 0.0)
    w.until(("part_restarted", "off", "bell"), ("part_restarted", "off", "lake"))


class Fails(JobWorker):
    fails = True

    def run(self, at, stop):
        if Fails.fails:
            raise OSError("the disk of the lake is full")


def test_a_job_that_fails_is_said_until_it_works(tmp_path, monkeypatch):
    monkeypatch.setattr(hearthwatch.flows.monitor, "FAILING_SECONDS", 0.0)
    lake = Lake(worker=Fails)
    w = Watched(tmp_path, node("lake", lake))
    w.services.start(JobThread("lake", lake, w.context))
    w.until(("lake_down", "on", "lake"))
    monkeypatch.setattr(Fails, "fails", False)
    w.until(("lake_down", "off", "lake"))
    w.services.stop()


class Hangs(JobWorker):
    goes_on, asked = threading.Event(), threading.Event()

    def run(self, at, stop):
        stop()
        Hangs.asked.set()
        Hangs.goes_on.wait()


def test_a_job_that_hangs_is_said_until_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(hearthwatch.flows.monitor, "BUSY_SECONDS", 0.0)
    lake = Lake(worker=Hangs)
    w, thread = (
        Watched(tmp_path, node("lake", lake)),
        JobThread("lake", lake, Context(tmp_path / "r.db", tmp_path, tmp_path)),
    )
    w.services.start(thread)
    w.until(("lake_down", "on", "lake"))
    assert "does the disk respond?" in w.record.one("SELECT message FROM conditions")[0]
    Hangs.goes_on.set()
    w.until(("lake_down", "off", "lake"))
    w.services.stop()


def test_a_job_that_asks_whether_to_stop_does_not_hang(tmp_path):
    thread = JobThread("lake", Lake(), Context(tmp_path / "r.db", tmp_path, tmp_path))
    thread.failing_since = began = time.monotonic() - 3600
    assert not thread._is_stopping() and thread.failing_since > began + 3599
    thread.failing_since, thread.error = began, "the disk is full"
    assert not thread._is_stopping() and thread.failing_since == began, "one that failed has to end a run first"


def test_a_full_disk_a_silent_camera_a_slow_clock_invalid_zones_and_a_clock_that_was_set(tmp_path, monkeypatch):
    w = Watched(tmp_path, BATCH)
    assert w.began() == []
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(problems.shutil, "disk_usage", lambda folder: usage(10**12, 0, 5 * 10**8))
    add_camera(w.record, "porch", "porch", "porch", "online", None)
    add_camera(w.record, "new", "new", "new", "online", None)
    w.record.execute(
        "UPDATE cameras SET status = 'offline', last_seen_at = ?, clock_offset_ms = 90000 WHERE id = 'porch'",
        now() - 3 * 3600 * S,
    )
    w.record.execute("UPDATE cameras SET zones = 'the drive', neighbours = ? WHERE id = 'new'", '["porch", 7]')
    w.record.execute("INSERT OR REPLACE INTO meta VALUES ('clock_correction', '-7200000000')")
    assert sorted(w.began()) == sorted(
        [
            ("disk_low", "on", str(tmp_path)),
            ("disk_low", "on", str(tmp_path / "uploads")),
            ("camera_silent", "on", "porch"),
            ("camera_clock", "on", "porch"),
            ("zones_invalid", "on", "new"),
            ("neighbours_invalid", "on", "new"),
            ("clock_stepped", "on", ""),
        ]
    )
    words = dict(w.record.rows("SELECT kind, message FROM conditions"))
    assert words["camera_silent"] == "porch has sent no picture for 3 hours"
    assert words["camera_clock"].startswith("porch's clock is 90 s slow")
    assert re.match("the zones of new are invalid.* draw them again on the page", words["zones_invalid"])
    assert re.match("the neighbours of new are invalid, so all cameras are.* choose them", words["neighbours_invalid"])
    assert words["clock_stepped"].startswith("the server's clock was set forward by 2 hours")
    monkeypatch.undo()
    w.record.execute("DELETE FROM meta WHERE key = 'clock_correction'")
    w.record.execute("DELETE FROM cameras")
    assert {state for _, state, _ in w.ended()} == {"off"}
    assert w.record.rows("SELECT * FROM conditions WHERE state = 'on'") == []


def test_a_detector_that_is_dead_and_a_language_model_that_hangs(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        detect, judge = RtDetr(url=url), Nemotron(url=url)
        w = Watched(tmp_path, node("detect", detect), node("analyze", judge), in_flight=InFlight())
        w.monitor._probes = [probe for probe in w.monitor._probes if probe.kind == "detector_down"]
        assert w.began() == [], "it accepts connections"
    w.context.in_flight.ids.add(7)
    monkeypatch.setattr(hearthwatch.flows.monitor, "JUDGING_SECONDS", -1.0)
    assert w.began() == [("detector_down", "on", "detect"), ("llm_down", "on", "analyze")]
    w.context.in_flight.ids.clear()
    monkeypatch.undo()
    assert w.ended() == [("llm_down", "off", "analyze")]


def test_a_probe_that_hangs_delays_nothing_and_is_said(tmp_path, monkeypatch):
    hangs = threading.Event()

    class Slow(Consumer):
        def probe(self):
            hangs.wait()

        def deliver(self, messages):
            pass

    monkeypatch.setattr(hearthwatch.flows.monitor, "ANSWER_SECONDS_MAX", 0.0)
    monkeypatch.setattr(hearthwatch.flows.monitor, "CHECK_SECONDS", 0.01)
    w = Watched(tmp_path, node("slow", Slow()))
    w.monitor.start()
    while not w.feed.after(0, 9):
        time.sleep(0.01)
    (message,) = w.feed.after(0, 9)
    assert (message.kind, message.message) == ("notifier_down", "slow does not respond")
    hangs.set()
    w.monitor.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_priority_of_a_thread_is_lowered_as_a_plain_user_with_a_nice_value_of_15():
    child = os.fork()
    if child == 0:
        from hearthwatch.record.thread_priority import lower_priority

        code = 1
        try:
            nice = os.nice(15)
            os.setresuid(65534, 65534, 65534)
            lower_priority()
            code = 0 if os.getpriority(os.PRIO_PROCESS, 0) == nice else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_record_that_was_locked_is_said_once_it_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(hearthwatch.flows.monitor, "BLOCKED_SECONDS", 3600.0)
    w = Watched(tmp_path, BATCH)
    other = sqlite3.connect(w.record.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    def end_transaction():
        while not last_blocked(w.record.path):  # SQLite itself waits for a second
            time.sleep(0.01)
        other.execute("ROLLBACK")

    release = threading.Thread(target=end_transaction, daemon=True)
    release.start()
    w.record.execute("INSERT INTO cursors VALUES ('bell', 0)")
    release.join()
    assert w.check() == [("record_locked", "on", "")]
    assert "locked by another program" in w.record.one("SELECT message FROM conditions")[0]
    monkeypatch.setattr(hearthwatch.flows.monitor, "BLOCKED_SECONDS", 0.0)
    assert w.ended() == [("record_locked", "off", "")]


def test_a_camera_that_never_sent_a_picture_is_not_online(tmp_path):
    record = Record(tmp_path / "r.db")
    add_camera(record, "porch", "porch", "porch", "online", None)
    edit_camera(record, "porch", {"name": "Porch", "status": "online"})
    assert record.rows("SELECT name, status FROM cameras") == [("Porch", "offline")]
    record.execute("UPDATE cameras SET last_seen_at = 1")
    edit_camera(record, "porch", {"status": "online"})
    assert record.rows("SELECT status FROM cameras") == [("online",)]


def test_pictures_that_wait_are_said_sooner_where_a_service_detects(tmp_path):
    for url, wait, wanted in (
        (None, 12, []),
        ("http://127.0.0.1:9", 12, [("behind", "on", "")]),
        (None, 22, [("behind", "on", "")]),
    ):
        (folder := tmp_path / f"{bool(url)}{wait}").mkdir()
        w = Watched(folder, BATCH, node("detect", RtDetr(url=url)))
        w.monitor._probes = []
        with w.record.db:
            w.record.execute(
                "INSERT INTO meta VALUES ('discovery', ?)",
                json.dumps({"waiting": 3, "oldest_waiting": now() - wait * S}),
            )
        assert w.began() == wanted, (url, wait)


def test_pictures_that_wait_name_the_camera_that_floods_and_the_disk_that_is_slow(tmp_path, monkeypatch):
    w = Watched(tmp_path, BATCH)
    w.monitor._probes = []
    notes = {"waiting": 900, "oldest_waiting": now() - 60 * S, "waiting_by_camera": {"porch": 880}}
    w.record.execute("INSERT INTO meta VALUES ('discovery', ?)", json.dumps(notes))
    assert w.began() == [("behind", "on", "")]
    (message,) = w.record.one("SELECT message FROM conditions")
    assert re.fullmatch(r"900 pictures wait, the oldest for \d+ s, 880 of them from porch", message)
    monkeypatch.setattr(problems, "WRITE_SECONDS_MAX", 0.0)
    (problem,) = problems.find_problems(w.record, tmp_path, now(), 20, w.monitor._write_seconds)
    assert re.search(r"porch; the disk takes \d\.\d s to store anything$", problem.message)


def test_a_thread_that_waits_to_be_started_again_is_said_for_as_long(tmp_path, monkeypatch):
    monkeypatch.setattr(hearthwatch.flows.monitor, "RESTARTED_SECONDS", 0.0)
    monkeypatch.setattr(hearthwatch.flows.services, "_backoff_seconds", lambda deaths: 3600.0)
    w, lake = Watched(tmp_path, node("lake", Lake())), Lake()
    w.services.start(JobThread("lake", lake, w.context))
    w.until(("part_restarted", "on", "lake"))
    assert w.ended() == []
    w.services.stop()


def test_starts_that_end_before_the_graph_runs_are_counted(tmp_path):
    def start():
        watched = Watched(tmp_path, BATCH)
        watched.check(2)
        return watched

    def failed(watched):
        return watched.record.meta("services")["failed_starts"]

    assert [failed(start()) for _ in range(3)] == [0, 1, 2]
    runs = start()
    runs.monitor.end_start()
    runs.check()
    assert [failed(runs), failed(start())] == [0, 0]
