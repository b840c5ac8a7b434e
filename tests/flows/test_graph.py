"""The graph: TOML and Python give the same one, mistakes come at once, order is kept and what fails travels as a value."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.connectors.stdio import StdOutSink
from bytewax.inputs import DynamicSource, FixedPartitionedSource, StatefulSourcePartition, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, run_main
from bytewax.visualize import to_mermaid
from pydantic import SecretStr

import hearthwatch.flows.lifecycle
from hearthwatch.flows.graph import DEFAULT, Graph, GraphError, configured_graph
from hearthwatch.flows.guard import Process, StageError
from hearthwatch.gpu.decode import DecodedPicture
from hearthwatch.record import Record
from hearthwatch.record.ledger import Ledger
from hearthwatch.schemas import (
    DUPLICATE,
    Consumer,
    DeadLetter,
    Detected,
    Event,
    Frame,
    Message,
    Reject,
    Sink,
    Source,
    Stage,
    Tick,
    Upload,
)
from hearthwatch.schemas.items import CUT_SHORT
from hearthwatch.schemas.testing import START, Picture, detected, event, frame
from hearthwatch.sinks.notifier import Notifier

TICK = Tick(START + timedelta(hours=1))


# -- components as small as can be


class Camera(Source):
    """Hands out what it is given."""

    accepts = Upload
    emits = Frame

    items: tuple[Any, ...] = ()
    """What to hand out."""
    chunk: int = 100
    """How many at once."""

    def build(self) -> TestingSource[Any]:
        return TestingSource(self.items, batch_size=self.chunk)


class Events(Camera):
    """Hands out events."""

    emits = Event


class Uploads(Camera):
    """Hands out uploads."""

    emits = Upload


class Look(Stage):
    """Sees a person wherever a picture is not black; cannot stand grey 13."""

    accepts = Frame
    emits = Detected

    threshold: float = 0.5
    """Unused."""

    def process(self, items: list[Frame]) -> list[Detected]:
        for item in items:
            if item.opened.grey == 13:
                raise Reject("unlucky")
        return [detected(item.id, *(["person"] if item.opened.grey else ["nothing"])) for item in items]


class Settle(Stage):
    """Stands for `batch`: an event per frame."""

    accepts = Detected
    emits = Event

    def process(self, items: list[Detected]) -> list[Event]:
        return [event(item.frame.id) for item in items]


class Keep(Sink):
    """Keeps everything in a list."""

    accepts = (Frame, Detected, Event, DeadLetter)

    into: list[Any]
    """Where to."""

    def build(self) -> DynamicSink[Any]:
        return _Keep(self.into)


class KeepTicks(Keep):
    """Keeps ticks, too."""

    accepts = (Detected, Tick)


class Ring(Consumer):
    """Does not ring."""

    channel: str = "bells"
    """Where to ring."""
    key: SecretStr = SecretStr("")
    """Not for everybody."""

    def deliver(self, messages: Any) -> None:
        pass


class _Keep(DynamicSink[Any], StatelessSinkPartition[Any]):
    def __init__(self, into: list[Any]) -> None:
        self.into = into

    def build(self, *where: Any) -> _Keep:
        return self

    def write_batch(self, items: list[Any]) -> None:
        self.into += items


@pytest.fixture(autouse=True)
def _own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTHWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    from hearthwatch.schemas.settings import reload

    reload()


def kept(component: Sink) -> list[Any]:
    """pydantic copies a list that it is given: what the sink itself holds."""
    return component.into  # type: ignore[attr-defined]


def run(*stages: Stage, items: list[Any], sink: Sink | None = None, chunk: int = 100) -> list[Any]:
    """Items through stages into a list, in a real Bytewax run."""
    graph, sink, at = Graph().add("files", Camera(items=items, chunk=chunk)), sink or Keep(into=[]), "files"
    for number, stage in enumerate(stages):
        at, before = f"stage{number}", at
        graph.add(at, stage, after=before)
    graph.add("settle", Settle(), after=at).add("keep", sink, after=at)
    run_main(graph.build())
    return kept(sink)


def ids(items: list[Any]) -> list[int]:
    return [item.id if isinstance(item, Frame) else item.frame.id for item in items]


def steps(flow: Any) -> list[str]:
    """All step ids, the innermost ones: what a recovery store knows a node by."""
    if not getattr(flow, "substeps", None):
        return [flow.step_id]
    return [step for sub in flow.substeps for step in steps(sub)]


# -- order, and what fails


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_failures_travel_in_their_place(chunk: int) -> None:
    truncated = frame(2, opened=Picture(error=DeadLetter("decode", "truncated")))
    items = [frame(1), truncated, frame(3, opened=Picture(13)), TICK, frame(4)]
    out = run(Look(), items=items, chunk=chunk)
    assert ids(out) == [1, 2, 3, 4]
    assert [item.error and (item.error.stage, item.error.reason) for item in out] == [
        None, ("decode", "truncated"), ("stage0", "unlucky"), None,
    ]  # fmt: skip
    assert [len(item.detections) for item in out] == [1, 0, 0, 1]


def test_a_frame_that_was_decided_before_is_not_looked_at_again() -> None:
    known = detected(1, "cat")
    again = replace(known.frame, opened=None, recorded=known)
    (out,) = run(Look(), Look2(), items=[again])
    assert out.detections == known.detections
    assert out.frame.recorded is known


@pytest.mark.parametrize("chunk", [1, 100])
def test_what_passes_a_stage_by_does_not_leave_it_as_an_item(chunk: int) -> None:
    """Decided frames, and those that failed before, are no items of a stage that makes its own of frames."""

    class Plates(Stage):
        accepts = Detected
        emits = dict

        def process(self, items: list[Detected]) -> list[dict[str, int]]:
            return [{"frame": item.frame.id} for item in items]

    known = detected(1, "cat")
    decided = replace(known, frame=replace(known.frame, recorded=known))
    failed = replace(detected(2), error=DeadLetter("detect", "unlucky"))
    items = [decided, failed, TICK, detected(3), DeadLetter("plates", "of before")]
    process, out = Process("plates", Plates(), Plates()), []
    for start in range(0, len(items), chunk):
        out += process(items[start : start + chunk])
    assert out == [TICK, {"frame": 3}, DeadLetter("plates", "of before")]


def test_a_picture_cut_short_is_looked_at_and_filtered_and_keeps_its_error() -> None:
    error = DeadLetter(CUT_SHORT, "cut short")
    (out,) = run(Look(), Look2(), items=[frame(1, opened=Picture(error=error))])
    assert (len(out.detections), out.model, out.error) == (1, "second look", error)


class Look2(Stage):
    """A filter that would rename everything it sees."""

    accepts = Detected
    emits = Detected

    def process(self, items: list[Detected]) -> list[Detected]:
        return [replace(item, model="second look") for item in items]


def test_an_unexpected_exception_costs_one_picture_and_names_it(caplog: pytest.LogCaptureFixture) -> None:
    class Fragile(Look2):
        """Breaks on frame 2."""

        def process(self, items: list[Detected]) -> list[Detected]:
            if 2 in ids(items):
                raise ZeroDivisionError("no pixels")
            return items

    out = run(Look(), Fragile(), items=[frame(1), frame(2), frame(3)])
    assert [item.error for item in out] == [None, DeadLetter("stage1", "ZeroDivisionError: no pixels"), None]
    assert out[1].detections == ()
    assert "frame 2 (Front Door/2.jpg)" in caplog.text


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            lambda items: items[1:],
            "`blind` was given 3 items and returned 2: between `files` and `batch` no item may vanish",
        ),
        (lambda items: items[::-1], "`blind` returned frame 3 in the place of frame 1"),
        (lambda items: [item.frame for item in items], "`blind` returned Frame but declares `emits = Detected`"),
        (lambda items: None, "`blind` returned NoneType: `process` has to return a list"),
    ],
)
def test_a_stage_that_loses_items_ends_the_run_and_is_named(answer: Any, says: str) -> None:
    class Blind(Stage):
        accepts = Detected
        emits = Detected

        def process(self, items: list[Detected]) -> list[Detected]:
            return answer(items)

    with pytest.raises(StageError, match=says):
        Process("blind", Blind(), Blind())([detected(1), detected(2), detected(3)])


@pytest.mark.parametrize("is_grey", [True, False])
def test_what_a_detector_is_not_asked_about_keeps_whether_it_is_grey(is_grey: bool) -> None:
    """As with the built-in detector: a duplicate's row is the same whichever detects."""
    opened = DecodedPicture()
    opened.width, opened.height, opened.is_grey, opened.error = 64, 48, is_grey, DeadLetter(DUPLICATE, "duplicate of 1")
    (out,) = Process("look", Look(), Look())([frame(2, opened=opened)])
    assert (out.width, out.error, out.is_grey) == (64, opened.error, is_grey)


def test_memory_and_the_record_are_not_the_pictures_fault() -> None:
    class Full(Look2):
        def process(self, items: list[Detected]) -> list[Detected]:
            raise MemoryError

    with pytest.raises(MemoryError):
        Process("full", Full(), Full())([detected(1), detected(2)])


def test_ticks_keep_their_place_and_go_to_who_asks_for_them() -> None:
    items = [frame(1), TICK, frame(2), TICK]
    assert [type(item) for item in run(Look(), items=items)] == [Detected, Detected]
    assert [type(item) for item in run(Look(), items=items, sink=KeepTicks(into=[]))] == [
        Detected,
        Tick,
        Detected,
        Tick,
    ]


def test_errors_are_a_port() -> None:
    bad, all_ = Keep(into=[]), Keep(into=[])
    graph = (
        Graph().add("files", Camera(items=[frame(1), frame(2, opened=Picture(13))])).add("look", Look(), after="files")
    )
    graph.add("settle", Settle(), after="look").add("bad", bad, after="look.errors").add("all", all_, after="look")
    run_main(graph.build())
    assert (ids(kept(bad)), ids(kept(all_))) == ([2], [1, 2])


def test_an_event_that_is_rejected_goes_to_the_errors_only(caplog: pytest.LogCaptureFixture) -> None:
    class Fussy(Stage):
        """Refuses event 2, doubles event 3."""

        accepts = Event
        emits = Event

        def process(self, items: list[Event]) -> list[Event]:
            if any(item.id == 2 for item in items):
                raise Reject("even")
            return [item for item in items for _ in range(2 if item.id == 3 else 1)]

    good, bad = EventsOnly(into=[]), Keep(into=[])
    graph = Graph().add("events", Events(items=[event(1), event(2), event(3)])).add("fussy", Fussy(), after="events")
    run_main(graph.add("good", good, after="fussy").add("bad", bad, after="fussy.errors").build())
    assert [item.id for item in kept(good)] == [1, 3, 3]
    assert kept(bad) == [DeadLetter("fussy", "event 2 revision 2: even")]
    assert "fussy left out event 2 revision 2: even" in caplog.text


class EventsOnly(Keep):
    """Keeps events."""

    accepts = Event


def test_only_chooses_among_events() -> None:
    calm, loud = EventsOnly(into=[]), EventsOnly(into=[])
    graph = Graph().add("events", Events(items=[event(1, 10), event(2, 70), event(3, 90)]))
    graph.add("calm", calm, after="events", only={"risk_level": "low", "object": ["person", "cat"]})
    graph.add("loud", loud, after="events", only={"risk_level": ["high", "critical"]})
    run_main(graph.build())
    assert ([item.id for item in kept(calm)], [item.id for item in kept(loud)]) == ([1], [2, 3])


def test_uploads_of_a_plug_in_source_are_left_for_the_files_source(tmp_path: Path) -> None:
    uploads = [Upload("door", f"/srv/{n}.jpg", None) for n in range(3)]
    graph = Graph().add("cam", Uploads(items=uploads)).add("files", Camera(), after="cam")
    run_main(graph.add("look", Look(), after="files").add("settle", Settle(), after="look").build())
    assert [upload for _, upload in Ledger(Record(tmp_path / "hearthwatch.db")).inbox(10)] == uploads


# -- the life of a run


def test_stages_open_before_the_first_frame_and_close_after_the_last() -> None:
    told: list[str] = []

    class Careful(Look):
        """Tells what happens to it."""

        def open(self) -> None:
            told.append("open")

        def process(self, items: list[Frame]) -> list[Detected]:
            told.append(f"process {ids(items)}")
            return super().process(items)

        def close(self) -> None:
            told.append("close")

    class Locked(FixedPartitionedSource[Any, None]):
        def list_parts(self) -> list[str]:
            return ["one"]

        def build_part(self, *where: Any) -> Any:
            told.append("lock")
            return TestingSource([frame(1), frame(2)]).build_part("", "iterable", None)

    class Files(Camera):
        """Takes a lock."""

        def build(self) -> Any:
            return Locked()

    graph = Graph().add("files", Files()).add("look", Careful(), after="files").add("settle", Settle(), after="look")
    flow = graph.build()
    assert told == []
    for _ in range(2):  # the same dataflow can run again
        run_main(flow)
        assert told == ["lock", "open", "process [1]", "process [2]", "close"]
        told.clear()


def test_what_follows_ends_with_the_others() -> None:
    class Clock(Camera):
        """Never ends by itself."""

        emits = Event
        follows = True

        def build(self) -> Any:
            return _Endless()

    graph = Graph().add("clock", Clock()).add("keep", EventsOnly(into=[]), after="clock")
    run_main(graph.add("cam", Events(items=[event(1)])).add("also", EventsOnly(into=[]), after="cam").build())


class _Endless(DynamicSource[Any]):
    def build(self, *where: Any) -> Any:
        return _EndlessPart()


class _EndlessPart(StatelessSourcePartition[Any]):
    def next_batch(self) -> list[Any]:
        return []


@pytest.mark.parametrize("when", ["while it is built", "while it runs"])
def test_a_signal_ends_every_source_even_one_that_sleeps(when: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    asked = threading.Event()

    class Sleeper(StatefulSourcePartition[Any, None]):
        def next_batch(self) -> list[Any]:
            assert when == "while it runs"
            asked.set()
            os.kill(os.getpid(), signal.SIGTERM)
            return []

        def next_awake(self) -> Any:
            return START + timedelta(days=36500) if asked.is_set() else None

        def snapshot(self) -> None:
            return None

    class Sleepy(Camera):
        """Asks to be woken in a hundred years."""

        emits = Event

        def build(self) -> Any:
            class Fixed(FixedPartitionedSource[Any, None]):
                def list_parts(self) -> list[str]:
                    return ["one"]

                def build_part(self, *where: Any) -> Any:
                    if when == "while it is built":
                        os.kill(os.getpid(), signal.SIGTERM)
                        asked.set()
                    return Sleeper()

            return Fixed()

    run_main(Graph().add("sleepy", Sleepy()).add("keep", EventsOnly(into=[]), after="sleepy").build())
    assert asked.is_set()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_source_that_cannot_be_built_leaves_the_signals_as_they_were() -> None:
    class Unbuilt(Camera):
        """Fails where Bytewax asks for its partitions."""

        emits = Event

        def build(self) -> Any:
            class Fixed(FixedPartitionedSource[Any, None]):
                def list_parts(self) -> list[str]:
                    raise ArithmeticError("no camera has that many eyes")

                def build_part(self, *where: Any) -> Any:
                    raise AssertionError

            return Fixed()

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Exception):  # noqa: B017  (Bytewax wraps it in one of its kinds)
        run_main(Graph().add("unbuilt", Unbuilt()).add("keep", EventsOnly(into=[]), after="unbuilt").build())
    assert signal.getsignal(signal.SIGTERM) == before


# -- TOML and Python

TOML = """
[files]
use = "tests.flows.test_graph:Camera"

[look]
use = "tests.flows.test_graph:Look"
from = "files"
threshold = 0.25

[settle]
use = "tests.flows.test_graph:Settle"
from = ["look"]

[bell]
use = "tests.flows.test_graph:Ring"
from = "feed"
only = { risk_level = ["high", "critical"] }
"""


def test_toml_and_python_give_the_same_graph() -> None:
    ours = (
        Graph()
        .add("files", Camera())
        .add("look", Look(threshold=0.25), after="files")
        .add("settle", Settle(), after="look")
    )
    ours.add("bell", Ring(), only={"risk_level": ["high", "critical"]})  # no node here writes to the record
    theirs = Graph.from_toml(TOML)
    assert theirs.check() == ours.check() == []
    assert [replace(node, use="") for node in theirs.nodes.values()] == [
        replace(node, use="") for node in ours.nodes.values()
    ]
    assert steps(theirs.build()) == steps(ours.build())


def test_a_flow_file_knows_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOW_MUCH", "0.75")
    (tmp_path / "flow.toml").write_text(TOML.replace("0.25", '"${HOW_MUCH}"'))
    assert Graph.from_toml(tmp_path / "flow.toml").nodes["look"].component == Look(threshold=0.75)
    monkeypatch.delenv("HOW_MUCH")
    assert Graph.from_toml(tmp_path / "flow.toml").check() == [
        f"{tmp_path}/flow.toml:8: look: ${{HOW_MUCH}} is not set: set HOW_MUCH in the environment or in .env"
    ]


MISTAKES = {
    "an unknown component": ("tests.flows.test_graph:Look", "rtdetr2", "look (rtdetr2): there is no component `rtdetr2`. Did you mean `rtdetr`? `hearthwatch components` lists all"),
    "no class of that name": ("tests.flows.test_graph:Look", "tests.flows.test_graph:Loo", "look (tests.flows.test_graph:Loo): `tests.flows.test_graph` has no `Loo`. Did you mean `Look`?"),
    "a dot for a colon": ("tests.flows.test_graph:Look", "tests.flows.test_graph.Look", "look (tests.flows.test_graph.Look): there is no component `tests.flows.test_graph.Look`. Did you mean `tests.flows.test_graph:Look`? `hearthwatch components` lists all"),
    "an option that is not one": ("threshold = 0.25", "treshold = 0.25", "look (tests.flows.test_graph:Look): `treshold` is not an option of `tests.flows.test_graph:Look`. Did you mean `threshold`?"),
    "a wrong value": ("threshold = 0.25", "threshold = 'much'", "look (tests.flows.test_graph:Look): `threshold` = 'much': should be a valid number, unable to parse string as a number"),
    "a node that is not there": ('from = "files"', 'from = "fils"', "look (tests.flows.test_graph:Look): `from` names `fils`, which is no node. Did you mean `files`?"),
    "no edge": ('from = "files"', "", "look (tests.flows.test_graph:Look): `from` is missing: it accepts Frame; which node does it read?"),
    "an edge that is no name": ('from = "files"', "from = 3", "look: `from` = 3 has to be a node's name or a list of names"),
    "a port that is not there": ('from = "files"', 'from = "files.errors"', "look (tests.flows.test_graph:Look): `files` has no port `errors`; a stage's is `errors`"),
    "no use": ('use = "tests.flows.test_graph:Ring"', "", "bell: `use` is missing: write `use = \"…\"`, one of apprise, batch, "),
    "a type that does not fit": ('from = ["look"]', 'from = "files"', "settle (tests.flows.test_graph:Settle): `settle` accepts Detected, but `files` emits Frame"),
    "a circle": ('from = "files"', 'from = "settle"', "the graph goes round in a circle: `look` → `settle` → `look`"),
    "two streams in one": ('from = ["look"]', 'from = ["look", "look.errors"]', "settle (tests.flows.test_graph:Settle): reads 2 nodes, but merging streams does not keep order: between `files` and `batch` there is one line"),
    "frames that go nowhere": ('from = ["look"]', 'from = "settle2"', "files (tests.flows.test_graph:Camera): its frames reach no `batch`: nothing would ever be settled"),
    "only where nothing may vanish": ("threshold = 0.25", "only = { camera_id = 'x' }", "look (tests.flows.test_graph:Look): `only` chooses among events and messages; between `files` and `batch` no item may vanish"),
    "only on a field that is not there": ("risk_level =", "risk_levels =", "bell (tests.flows.test_graph:Ring): `only` has no field `risk_levels`. Did you mean `risk_level`? It knows type, risk_level, camera_id, camera_name, analyzer, object."),
    "only for a value that never comes": ('"critical"', '"criticl"', "bell (tests.flows.test_graph:Ring): `only.risk_level` = 'criticl' is none of low, medium, high, critical. Did you mean `critical`?"),
    "only that is no table": ("only = {", "only = 'high' #", "bell (tests.flows.test_graph:Ring): `only` is 'high': write a table such as `only = { risk_level = [\"high\", \"critical\"] }`"),
    "a consumer on a stream": ('from = "feed"', 'from = "settle"', 'bell (tests.flows.test_graph:Ring): `bell` reads the record, and `settle` does not write to it'),
    "something else on the feed": ('use = "tests.flows.test_graph:Ring"', 'use = "tests.flows.test_graph:Everything"', "bell (tests.flows.test_graph:Everything): `from` is missing: it accepts Message or Event or Detected; which node does it read?"),
    "the feed's own name": ("[bell]", "[feed]", "feed (tests.flows.test_graph:Ring): the name `feed` is taken: use another name"),
    "a name that is none": ("[bell]", '["door.bell"]', "door.bell (tests.flows.test_graph:Ring): `door.bell` cannot be a name: letters, digits, `_` and `-` only, and no `_errors` at its end"),
    "a class that lacks its method": ('use = "tests.flows.test_graph:Look"\nfrom = "files"\nthreshold = 0.25', 'use = "tests.flows.test_graph:Lazy"\nfrom = "files"', "look (tests.flows.test_graph:Lazy): the class Lazy lacks `process` or `attach`"),
    "a notifier that does not say how": ('use = "tests.flows.test_graph:Ring"', 'use = "tests.flows.test_graph:Mute"', "bell (tests.flows.test_graph:Mute): the class Mute lacks `notify` or `deliver`"),
    "a class that is no component": ("tests.flows.test_graph:Look", "tests.flows.test_graph:Path", "look (tests.flows.test_graph:Path): `tests.flows.test_graph:Path` is not a component: derive it from Source, Stage, Sink, Consumer or Job of `hearthwatch.schemas`"),
    "something outside of a node": ("[files]", "x = 1\n[files]", "`x = 1` stands outside of any node: write it below the `[name]` of one"),
    "a name used twice": ("[look]", "[files]", "the flow is not TOML: the name `files` is used twice (at line 5, column 7)"),
    "no TOML": ("[look]", "[look", "the flow is not TOML: expected ']' at the end of a table declaration (at line 5, column 6)"),
    "reading a consumer": ('from = ["look"]', 'from = "bell"', "settle (tests.flows.test_graph:Settle): nothing flows out of `bell`: read the node before it"),
    "a journal of frames": ('[bell]', '[kept]\nuse = "journal"\nfrom = "look"\n\n[bell]', "kept (journal): `kept` keeps what is JSON, and `look` emits Detected: let a stage of yours make mappings of them"),
    "a source that reads": ('use = "tests.flows.test_graph:Camera"', 'use = "tests.flows.test_graph:Camera"\nfrom = "look"', "files (tests.flows.test_graph:Camera): `files` accepts Upload, but `look` emits Detected"),
}  # fmt: skip


class Everything(Sink):
    """Takes anything."""

    accepts = (Message, Event, Detected)

    def build(self) -> Any:
        return StdOutSink()


class Lazy(Stage):
    """Does nothing at all."""

    accepts = Frame
    emits = Detected


class Mute(Notifier):
    """Has manners and nothing to say."""


@pytest.mark.parametrize(("old", "new", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_words(old: str, new: str, says: str) -> None:
    assert old in TOML
    found = Graph.from_toml(TOML.replace(old, new)).check()
    assert any(re.match(rf"(line \d+: )?{re.escape(says)}", line) for line in found), found


def test_all_mistakes_come_at_once() -> None:
    wrong = (
        TOML.replace("threshold", "treshold").replace('from = "feed"', 'from = "fed"').replace("risk_level", "level")
    )
    with pytest.raises(GraphError) as error:
        Graph.from_toml(wrong).build()
    assert len(error.value.mistakes) == 3
    assert str(error.value).count("\n") == 2


def test_python_mistakes_are_the_same_mistakes() -> None:
    graph = Graph().add("files", Camera()).add("files", Camera()).add("more", Camera())
    graph.add("cam", Uploads()).add("odd", "look", after="files")  # type: ignore[arg-type]
    assert graph.check() == [
        "files (Camera): the name `files` is used twice",
        "odd (str): 'look' is not a component: give an instance of a Source, Stage, Sink, Consumer or Job",
        "only one node hands out frames, but there are 2: `files`, `more`",
        'cam (Uploads): nothing takes what it emits (Upload): add `from = "cam"` to `files`',
    ]
    assert Graph().check() == ["the graph has no nodes"]


def test_two_nodes_that_make_events_of_frames_would_decide_each_frame_twice() -> None:
    graph = Graph.from_toml(TOML).add("again", Settle(), after="look")
    assert graph.check() == ["only one node makes events of them, but there are 2: `settle`, `again`"]


def test_a_secret_is_not_shown() -> None:
    shown = Graph.from_toml(TOML.replace("[bell]", "[bell]\nkey = 12345\nchannel = 7")).check()
    assert "12345" not in "\n".join(shown)
    assert "line 16: bell (tests.flows.test_graph:Ring): `channel` = 7: should be a valid string" in shown


def test_settings_and_graph_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flow.toml").write_text(TOML.replace("threshold = 0.25", 'treshold = "${RETENTION_DAYS}"'))
    monkeypatch.setenv("HEARTHWATCH_FLOW", "flow.toml")
    monkeypatch.setenv("RETENTION_DAYS", "0")
    monkeypatch.setenv("BATCH_WINDOW_SECONDS", "-1")
    with pytest.raises(GraphError) as error:
        configured_graph()
    assert [line.partition(" ")[0] for line in error.value.mistakes] == [
        "BATCH_WINDOW_SECONDS",
        "RETENTION_DAYS",
        "flow.toml:8:",
    ]


# -- the built-in graph

STEPS = """
hearthwatch.0_sources
hearthwatch.files.read
hearthwatch.files.declared
hearthwatch.gpu_stats.read
hearthwatch.gpu_stats.declared
hearthwatch.detect.detect_chunks
hearthwatch.detect.detect_frames
hearthwatch.detect.detect_detected
hearthwatch.detect.declared
hearthwatch.detect.close
hearthwatch.batch.batch_chunks
hearthwatch.batch.batch_place
hearthwatch.batch.batch_events.flat_map_batch
hearthwatch.batch.declared
hearthwatch.batch.close
hearthwatch.thumbnails.take
hearthwatch.thumbnails.write
hearthwatch.analyze.woken
hearthwatch.analyze.analyze_key.map.flat_map_batch
hearthwatch.analyze.analyze_judge
hearthwatch.analyze.analyze_verdicts.flat_map_batch
hearthwatch.analyze.close
hearthwatch.incident.read
hearthwatch.incident.merge
hearthwatch.incident.wake
hearthwatch.sqlite.written
hearthwatch.sqlite.merge
hearthwatch.sqlite.take
hearthwatch.sqlite.key.map.flat_map_batch
hearthwatch.sqlite.write
hearthwatch.redis.read
hearthwatch.redis.merge
hearthwatch.redis.wake
hearthwatch.duckdb.wake
hearthwatch.retention.wake
""".split()


def test_the_step_ids_of_the_built_in_graph_never_change() -> None:
    """A recovery store knows state by them: a renamed step loses its state, silently."""
    flow = Graph.from_toml(DEFAULT).build()
    assert flow.flow_id == "hearthwatch"
    assert steps(flow) == STEPS


def test_the_drawn_graph_shows_the_batch_with_its_seconds() -> None:
    assert 'hearthwatch.batch["batch (90 s window, 30 s idle)"]' in to_mermaid(Graph.from_toml(DEFAULT).build())


def test_the_built_in_graph_lists_every_option() -> None:
    text = DEFAULT.read_text()
    for section, node in zip(text.split("\n[")[1:], Graph.from_toml(DEFAULT).nodes.values(), strict=True):
        named = {line.lstrip("# ").partition(" =")[0] for line in section.splitlines() if " = " in line}
        assert node.component is not None
        assert set(type(node.component).model_fields) <= named, node.name


def test_the_built_in_graph_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for node in Graph.from_toml(DEFAULT).nodes.values():
        assert node.component == type(node.component)()


# -- `python -m bytewax.run flow`

HOME = Path(__file__).parents[2]


def pipeline(
    folder: Path, flow: str = "", module: str = "bytewax.run", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the real thing in `folder`, without the consumer."""
    flow = flow.partition("[bell]")[0]
    if flow:
        (folder / "flow.toml").write_text(flow)
        environ["HEARTHWATCH_FLOW"] = "flow.toml"
    return subprocess.run(
        [sys.executable, "-m", module, "flow"], cwd=folder, text=True, capture_output=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1", **environ}, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_mistake_ends_the_pipeline_with_2_and_no_traceback(tmp_path: Path) -> None:
    done = pipeline(tmp_path, TOML.replace("threshold", "treshold"), BATCH_WINDOW_SECONDS="-1")
    assert done.returncode == 2
    window, option = done.stderr.splitlines()
    assert window.startswith("BATCH_WINDOW_SECONDS = -1")
    assert (
        option
        == "flow.toml:8: look (tests.flows.test_graph:Look): `treshold` is not an option of `tests.flows.test_graph:Look`. Did you mean `threshold`?"
    )


class Unlucky(Look):
    """Has a message for the user."""

    where: str = "open"
    """When to tell it."""

    def open(self) -> None:
        self.fail("open")

    def process(self, items: list[Frame]) -> list[Detected]:
        self.fail("process")
        return super().process(items)

    def fail_now(self, item: Any) -> None:
        self.fail("process")

    def fail(self, where: str) -> None:
        from hearthwatch.schemas.errors import UserError

        if where == self.where:
            raise UserError("the model is in the other coat: look there")


class One(Camera):
    """One frame."""

    def build(self) -> Any:
        return TestingSource([frame(1)])


@pytest.mark.slow
@pytest.mark.parametrize(("where", "code"), [("open", 2), ("process", 1)])
def test_a_message_for_the_user_is_all_that_is_shown(tmp_path: Path, where: str, code: int) -> None:
    flow = TOML.replace("tests.flows.test_graph:Look", "tests.flows.test_graph:Unlucky").replace(
        "threshold = 0.25", f"where = '{where}'"
    )
    done = pipeline(tmp_path, flow.replace("tests.flows.test_graph:Camera", "tests.flows.test_graph:One"))
    assert (done.returncode, done.stderr) == (code, "the model is in the other coat: look there\n")


class Coat(Look):
    """Has a message for the user in a step of its own, where only Bytewax can catch it."""

    def attach(self, step_id: str, up: Any) -> Any:
        import bytewax.operators as op

        return op.map(f"{step_id}_look", up, Unlucky(where="process").fail_now)


@pytest.mark.slow
def test_no_traceback_comes_from_a_step_of_ones_own(tmp_path: Path) -> None:
    flow = TOML.replace("tests.flows.test_graph:Look", "tests.flows.test_graph:Coat").replace(
        "tests.flows.test_graph:Camera", "tests.flows.test_graph:One"
    )
    done = pipeline(tmp_path, flow)
    assert done.returncode == 1
    assert done.stderr.endswith("\nthe model is in the other coat: look there\n")
    assert "Traceback" not in done.stderr


class Stuck(Look):
    """Is told to stop while it waits for something that never comes."""

    def process(self, items: list[Frame]) -> list[Detected]:
        hearthwatch.flows.lifecycle.STOP_SECONDS_MAX = 0.01
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            threading.Event().wait(1)


@pytest.mark.slow
def test_a_stage_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    flow = TOML.replace("tests.flows.test_graph:Look", "tests.flows.test_graph:Stuck").replace(
        "tests.flows.test_graph:Camera", "tests.flows.test_graph:One"
    )
    done = pipeline(tmp_path, flow)
    assert done.returncode == 0
    assert done.stderr.endswith("stopped in the middle of a step: what was in flight comes again at the next start\n")


@pytest.mark.slow
def test_importing_the_flow_opens_nothing(tmp_path: Path) -> None:
    script = "import flow, sys, threading; print('torch' in sys.modules, threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, text=True, capture_output=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(HOME), "HEARTHWATCH_DATA_DIR": str(tmp_path / "data")},
    )  # fmt: skip
    assert done.stdout == "False 1\n", done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_folder_called_like_a_room_hides_nothing(tmp_path: Path) -> None:
    for room in ("schemas", "sinks", "api"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise SystemExit('not ours')")
    done = pipeline(tmp_path, DETECTION_CONFIDENCE_THRESHOLD="2")
    assert done.returncode == 2
    assert done.stderr.startswith("DETECTION_CONFIDENCE_THRESHOLD = 2: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[look]\nx = " + "[" * 100_000, "the flow nests too deeply: a node's options are flat"),
        ("[look]\n" + ".".join("x" * 2000) + " = 1", "the flow nests too deeply: a node's options are flat"),
        ("[look]\nx = " + "9" * 5000, "the flow is not TOML: exceeds the limit"),
    ],
)
def test_a_flow_file_made_to_break_its_reader_is_a_mistake_like_any_other(text, says):
    (line,) = Graph.from_toml(text).check()
    assert line.startswith(says)
