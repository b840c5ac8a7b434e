"""Consumers of the feed: at least once, in order, behind a durable cursor; whatever they do, nobody waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import run_main
from pydantic import ConfigDict

import hearthwatch.flows.services
from hearthwatch.flows.graph import Graph
from hearthwatch.flows.services import ConsumerThread, ServiceThreads
from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.feed import Feed
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas import Consumer, Context, Detected, Detection, Message, Source
from hearthwatch.stages.rules import RulesJudge

SECONDS_MAX = 20.0  # for what takes milliseconds, on a machine that may be very busy


class Bell(Consumer):
    """Keeps what it was told, and does what the test wants first."""

    heard: list[int]
    """The numbers of the messages."""
    first: Callable[[], None] = lambda: None
    """Called at each delivery, before anything is kept."""
    ring: threading.Event
    """Set after each delivery."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def deliver(self, messages: Sequence[Message]) -> None:
        self.first()
        self.heard.extend(message.seq for message in messages)
        self.ring.set()


def bell(first: Callable[[], None] = lambda: None) -> Bell:
    return Bell(heard=[], first=first, ring=threading.Event())


def happen(path: Path, count: int, camera_id: str = "front_door", label: str = "person") -> None:
    """`count` pictures with something on them, an hour between two: as many events opened, and the former ones closed."""
    record = Record(path)
    ledger = Ledger(record)
    (number,) = record.one("SELECT count(*) FROM frames")
    hours = [(number + n + 1) * 3_600_000_000 for n in range(count)]
    ledger.discover(
        [FoundFile(camera_id, camera_id, f"{camera_id}/{at}.jpg", at, 1, at, at) for at in hours], hours[-1]
    )
    frames = [entry.frame for entry in ledger.todo(0, count)]
    found = (Detection(label, 0.9, (1, 2, 3, 4)),)
    Batching(record, RulesJudge).write([Detected(frame, 64, 48, found) for frame in frames])
    record.close()


def seqs(path: Path) -> list[int]:
    return [message.seq for message in Feed(Record(path)).after(0, 1000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record.db"


class Listening:
    """A consumer's thread, for the length of a `with`."""

    def __init__(self, path: Path, consumer: Consumer, **only: Any) -> None:
        given = Context(path, path.parent, path.parent / "uploads")
        self.services, self.thread = ServiceThreads(), ConsumerThread("bell", consumer, only, given)

    def __enter__(self) -> ServiceThreads:
        self.services.start(self.thread)
        return self.services

    def __exit__(self, *error: object) -> None:
        self.services.stop()


def wait_for(bell: Bell, seen: Callable[[], bool]) -> None:
    while not seen():
        assert bell.ring.wait(SECONDS_MAX), f"nothing came; so far: {bell.heard}"
        bell.ring.clear()


def test_a_new_consumer_starts_at_the_end_and_then_misses_nothing(path: Path) -> None:
    happen(path, 2)
    old = len(seqs(path))
    b = bell()
    with Listening(path, b) as services:
        happen(path, 3)
        services.wake()
        wait_for(b, lambda: len(b.heard) == len(seqs(path)) - old)
    happen(path, 2)  # while it is away
    with Listening(path, b):
        wait_for(b, lambda: len(b.heard) == len(seqs(path)) - old)
    assert b.heard == seqs(path)[old:]


def test_of_two_pipelines_with_the_same_consumer_one_tells_and_the_other_goes_on_when_it_ends(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearthwatch.flows.services, "IDLE_SECONDS", 0.01)
    one, two = bell(), bell()
    first, second = Listening(path, one), Listening(path, two)
    first.__enter__()
    with second:
        happen(path, 3)
        wait_for(one, lambda: one.heard == seqs(path))
        assert two.heard == []
        first.__exit__()
        before = len(seqs(path))
        happen(path, 2)
        wait_for(two, lambda: two.heard == seqs(path)[before:])
    assert one.heard + two.heard == seqs(path)


def test_news_that_came_just_before_the_end_are_still_told(path: Path) -> None:
    b = bell()
    with Listening(path, b):
        happen(path, 250)  # more than one delivery
    assert b.heard == seqs(path)


@pytest.mark.slow
def test_what_could_not_be_delivered_comes_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tries = iter(range(3))

    def fail_at_first() -> None:
        if next(tries, None) is not None:
            raise ConnectionError("nobody at home")

    b = bell(fail_at_first)
    with caplog.at_level("INFO"), Listening(path, b):
        happen(path, 2)
        wait_for(b, lambda: len(b.heard) == len(seqs(path)))
    assert b.heard == seqs(path)
    told = [record.message for record in caplog.records if record.name == "hearthwatch.flows.services"]
    assert told[0] == "bell: ConnectionError: nobody at home; trying again until it works"
    assert told[1].startswith("bell works again after")
    assert len(told) == 2  # once for an outage, however long it was
    assert "Traceback" not in caplog.text, "an outage is no mistake of the program"


@pytest.mark.slow
def test_a_mistake_in_a_consumer_is_logged_with_its_line(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tries = iter([AttributeError("'Event' object has no attribute 'sumary'")])

    def mistaken() -> None:
        if error := next(tries, None):
            raise error

    b = bell(mistaken)
    with caplog.at_level("INFO"), Listening(path, b):
        happen(path, 1)
        wait_for(b, lambda: len(b.heard) == len(seqs(path)))
    assert "in mistaken\n    raise error" in caplog.text


def test_what_was_not_delivered_before_the_end_comes_at_the_next_start(path: Path) -> None:
    down = threading.Event()

    def fail() -> None:
        down.set()
        raise ConnectionError

    with Listening(path, bell(fail)):
        happen(path, 2)
        assert down.wait(SECONDS_MAX)
    b = bell()
    with Listening(path, b):
        wait_for(b, lambda: len(b.heard) == len(seqs(path)))
    assert b.heard == seqs(path)


def test_a_consumer_that_hangs_does_not_hold_up_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hearthwatch.flows.services, "CONSUMERS_STOP_SECONDS_MAX", 0.05)
    inside, go = threading.Event(), threading.Event()

    def hang() -> None:
        inside.set()
        assert go.wait(SECONDS_MAX)

    hanging = Listening(path, bell(hang))
    with hanging:
        happen(path, 1)
        assert inside.wait(SECONDS_MAX)
    assert "bell is still delivering" in caplog.text
    go.set()
    hanging.thread.join(time.monotonic() + SECONDS_MAX)


@pytest.mark.parametrize(
    ("only", "heard"),
    [
        ({"camera_id": "yard"}, ["yard"]),
        ({"camera_id": ["yard", "street"]}, ["street", "yard"]),
        ({"object": "cat"}, ["street"]),
        ({"camera_id": "yard", "object": "cat"}, []),
        ({"type": "event.opened", "analyzer": "rules"}, ["front_door", "street", "yard"]),
        ({"camera_name": "yard", "risk_level": ["low", "medium", "high", "critical"]}, ["yard"]),
    ],
)
def test_only_chooses_messages(path: Path, only: Mapping[str, Any], heard: list[str]) -> None:
    b = bell()
    with Listening(path, b, **only):
        happen(path, 1, "front_door")
        happen(path, 1, "street", "cat")
        happen(path, 1, "yard")
    cameras = {message.seq: message.event.camera_id for message in Feed(Record(path)).after(0, 100)}
    assert sorted({cameras[seq] for seq in b.heard}) == heard
    assert Feed(Record(path)).cursor("bell") == max(cameras)  # what it does not want is behind it


def test_a_slow_consumer_in_a_graph_delays_neither_the_stream_nor_another_consumer(path: Path) -> None:
    go = threading.Event()
    slow, quick = bell(lambda: bool(go.wait(SECONDS_MAX)) or None), bell()

    class Days(StatefulSourcePartition[Any, None]):
        """Something happens on each of three days; the third ends when the quick one has heard of all."""

        day = 0

        def next_batch(self) -> list[Any]:
            if self.day < 3:
                self.day += 1
                happen(path, 1)
            elif len(quick.heard) == len(seqs(path)):
                go.set()
                raise StopIteration
            return []

        def snapshot(self) -> None:
            return None

    class Worlds(FixedPartitionedSource[Any, None]):
        def list_parts(self) -> list[str]:
            return ["one"]

        def build_part(self, *where: Any) -> Days:
            return Days()

    class World(Source):
        """Writes to the record and emits nothing."""

        def build(self) -> Worlds:
            return Worlds()

    graph = Graph(Context(path, path.parent, path.parent)).add("world", World()).add("slow", slow).add("quick", quick)
    run_main(graph.build())
    assert slow.heard == quick.heard == seqs(path)


def test_a_graph_of_consumers_alone_runs_beside_the_pipeline(path: Path) -> None:
    """It has no source but the feed, so only a signal ends it."""
    import os
    import signal

    happen(path, 1)
    Feed(Record(path)).cursor("bell")
    happen(path, 1)

    b = bell(lambda: os.kill(os.getpid(), signal.SIGINT))
    run_main(Graph(Context(path, path.parent, path.parent)).add("bell", b).build())
    assert b.heard == seqs(path)[1:]
