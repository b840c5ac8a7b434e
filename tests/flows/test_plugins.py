"""The plug-in kit, run against our own parts and a throw-away package; and that package in a running graph."""

from __future__ import annotations

import json
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main
from pydantic import ConfigDict

from hearthwatch.demo.uploader import Yard
from hearthwatch.flows.graph import Graph
from hearthwatch.record import Record
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas import Context, Detected, Frame, Poller, Sink, Source, Stage, Tick, Upload
from hearthwatch.schemas.testing import (
    START,
    Picture,
    check_component,
    check_consumer,
    check_sink,
    check_source,
    check_stage,
    detected,
    event,
    message,
    samples,
)
from hearthwatch.sources.poller import PollerPartition
from hearthwatch.stages.batch import Batch

HOME = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _porch_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOME / "tests" / "flows" / "plugin_package")


# -- the kit says yes to good parts


def test_a_good_package_passes(tmp_path: Path) -> None:
    import porch

    assert check_source(porch.Doorcam(pictures=("a.jpg", "b.jpg"))) == [
        Upload("door", "a.jpg", None),
        Upload("door", "b.jpg", None),
    ]
    assert [len(item.detections) for item in check_stage(porch.Brightness())] == [0, 0, 0, 1, 1]
    assert all(not item.detections for item in check_stage(porch.Night(sure=0.95)))
    book = tmp_path / "book"
    check_sink(porch.Notebook(path=book), seen=book.read_text)
    check_consumer(porch.Chime(path=tmp_path / "chime"))


def test_our_own_parts_pass(tmp_path: Path) -> None:
    from hearthwatch.sinks.duckdb import DuckDB
    from hearthwatch.sinks.retention import Retention
    from hearthwatch.sinks.sqlite import Sqlite
    from hearthwatch.stages.analyze import Nemotron
    from hearthwatch.stages.detect import RtDetr

    for component in (
        Nemotron(),
        Sqlite(),
        DuckDB(),
        Retention(),
        Batch(),
        Yard(),
        RtDetr(),
        RtDetr(url="http://localhost:1"),
    ):
        check_component(component)


# -- and no to bad ones, in words


class Good(Stage):
    """Does nothing."""

    accepts = Detected
    emits = Detected

    def process(self, items: list[Detected]) -> list[Detected]:
        return list(items)


class Silent(Good):
    __doc__ = ""


class Undocumented(Good):
    """Has an option nobody knows."""

    mystery: int = 1


class Thawed(Good):
    """Can be changed."""

    model_config = ConfigDict(frozen=False)
    option: int = 1
    """An option."""


class Portless(Stage):
    """Does not say what it takes."""

    emits = Detected


class Loses(Good):
    """Loses items."""

    def process(self, items: list[Detected]) -> list[Detected]:
        return items[1:]


class Sorts(Good):
    """Changes their places."""

    def process(self, items: list[Detected]) -> list[Detected]:
        return sorted(items, key=lambda item: -item.frame.id)


class Empties(Good):
    """Changes the list it was given."""

    def process(self, items: list[Detected]) -> list[Detected]:
        out = list(items)
        items.clear()
        return out


class Remembers(Good):
    """Forgets what it saw before."""

    def process(self, items: list[Detected]) -> list[Detected]:
        return [items[0], *(replace(item, detections=()) for item in items[1:])] if items else []


class Stumbles(Good):
    """Expects at least one item."""

    def process(self, items: list[Detected]) -> list[Detected]:
        return items if items else [None]  # type: ignore[list-item]


class Returnless(Good):
    """Returns nothing."""

    def process(self, items: list[Detected]) -> list[Detected]:
        return None  # type: ignore[return-value]


class OnlyFinds(Good):
    """Drops the pictures in which nothing was found."""

    def process(self, items: list[Detected]) -> list[Detected]:
        return [item for item in items if item.detections]


class Lies(Good):
    """Emits something else."""

    def process(self, items: list[Detected]) -> list[Any]:
        return [item.frame for item in items]


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        (Silent(), "Silent has no docstring"),
        (Undocumented(), "Undocumented.mystery is not documented"),
        (Thawed(), "Thawed.option can be changed"),
        (Portless(), "Portless does not say what it `accepts`"),
        (Loses(), "Loses was given frames [1, 2, 3, 4, 5] and returned [2, 3, 4, 5]"),
        (Sorts(), "Sorts was given frames [1, 2, 3, 4, 5] and returned [5, 4, 3, 2, 1]"),
        (Empties(), "Empties.process changed the list"),
        (Remembers(), "Remembers answers differently when asked one by one"),
        (Stumbles(), "Stumbles.process([]) has to return an empty list"),
        (Returnless(), "Returnless.process([]) has to return an empty list, it returned None"),
        (OnlyFinds(), "OnlyFinds was given frames [1, 2, 3, 4, 5] and returned [1, 2, 3, 5]"),
        (Lies(), "Lies emits"),
        (Batch(), "Batch has its own `attach`"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_kit_tells_a_bad_stage(stage: Stage, says: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(says)):
        check_stage(stage)


class Repeats(Source):
    """Hands out the same picture after its snapshot."""

    emits = Upload

    def build(self) -> Any:
        source = TestingSource([Upload("door", "a.jpg", None)])
        build_part = source.build_part
        source.build_part = lambda step, name, state: build_part(step, name, None)  # type: ignore[method-assign]
        return source


class Babbles(Source):
    """Emits what it did not declare."""

    emits = Upload

    def build(self) -> Any:
        return TestingSource([Tick(START), "?"])


class NoSource(Source):
    """Builds something else."""

    emits = Upload

    def build(self) -> Any:
        return StdOutSink()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (Repeats(), "Repeats repeats items after its snapshot"),
        (Babbles(), "Babbles emits <class 'hearthwatch.schemas.items.Upload'>, but handed out ['?']"),
        (NoSource(), "NoSource.build() returned StdOutSink, not a Bytewax source"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_kit_tells_a_bad_source(source: Source, says: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(says)):
        check_source(source)


def test_the_kit_tells_a_sink_and_a_consumer_that_write_twice(tmp_path: Path) -> None:
    import porch

    class Forgetful(porch.Notebook):  # type: ignore[misc]
        """Does not look what is there already."""

        def build(self) -> Any:
            sink = super().build()
            build_part = sink.build_part

            def forgetting(*where: Any) -> Any:
                part = build_part(*where)
                part.known = set()
                return part

            sink.build_part = forgetting
            return sink

    book, bell = tmp_path / "book", tmp_path / "bell"
    with pytest.raises(AssertionError, match="Forgetful wrote items again"):
        check_sink(Forgetful(path=book), seen=book.read_text)
    with pytest.raises(AssertionError, match="Chime delivered messages again"):
        check_consumer(porch.Chime(path=bell), seen=bell.read_text)


def test_samples_are_what_a_component_accepts() -> None:
    assert samples(Good(), 2) == [detected(1), detected(2)]

    class Odd(Sink):
        accepts = Tick

    with pytest.raises(
        AssertionError,
        match="Odd accepts none of Frame, Detected, Event, Message, IncidentMessage, SystemMessage: pass `items`",
    ):
        samples(Odd())
    assert message(7).event == event(7)


# -- somebody else's package in a running graph


class Camera(Source):
    """Hands out what the ledger knows, with grey pictures."""

    accepts = Upload
    emits = Frame

    def build(self, context: Context) -> Any:
        entries = Ledger(Record(context.record_path)).todo(0, 100)
        greys = [0, 255, 255, 10]
        return TestingSource([replace(e.frame, opened=Picture(grey)) for e, grey in zip(entries, greys, strict=True)])


FLOW = """
[settings]
database_url = "sqlite:///record.db"
data_dir = "."

[files]
use = "tests.flows.test_plugins:Camera"

[detect]
use = "brightness"
from = "files"

[night]
use = "porch:Night"
from = "detect"

[notebook]
use = "notebook"
from = "night"
path = "book"

[batch]
use = "batch"
from = "night"

[chime]
use = "porch:Chime"
from = "batch"
path = "bell"
only = { type = "event.opened" }
"""


def test_an_own_detector_filter_sink_and_consumer_run_in_a_flow_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    second = 1_000_000
    pictures = [FoundFile("door", "Door", f"Door/{n}.jpg", n, 1, n * second, n * second) for n in range(1, 5)]
    Ledger(Record(tmp_path / "record.db")).discover(pictures, now=10 * second)
    run_main(Graph.from_toml(FLOW).build())
    lines = [json.loads(line) for line in (tmp_path / "book").read_text().splitlines()]
    assert [line["labels"] for line in lines] == [[], ["light"], ["light"], []]
    assert (tmp_path / "bell").read_text() == "1 event.opened door\n"
    assert Record(tmp_path / "record.db").counters()["settled"] == 4


# -- the guide


def test_the_guide_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of docs/plugins.md go into one module, as a reader would have it; then they are tried as it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = (HOME / "docs" / "plugins.md").read_text()
    *parts, trying = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(parts) >= 13
    for part in parts:
        lines = [line for line in part.splitlines() if line and not line.startswith(("import ", "from "))]
        assert len(lines) <= 20, part
    (tmp_path / "my_parts.py").write_text("\n".join(parts))
    (tmp_path / "try_them.py").write_text(trying)
    runpy.run_path("try_them.py")
    (flow,) = re.findall(r"```toml\n(# flow\.toml.*?)```", text, re.DOTALL)
    assert Graph.from_toml(flow).check() == []


class OutOfReach(Poller):
    """Fails for a day, then has one item, and no more."""

    emits = str
    asked: list[Any] = []  # noqa: RUF012  (pydantic copies it)

    def poll(self, position: Any) -> tuple[list[Any], Any]:
        self.asked.append(position)
        if len(self.asked) < 1100:
            raise ConnectionError("no route to host")
        if position:
            raise StopIteration
        return ["at last"], 1


def test_a_poller_is_asked_again_however_often_it_failed() -> None:
    part, out = PollerPartition("far", OutOfReach(seconds=0), None), list[Any]()
    with pytest.raises(StopIteration):
        while part._thread.is_alive() or not part._answers.empty():
            out += part.next_batch()
    part.close()
    assert out == ["at last"]


class Three(Poller):
    """Fails once, then has three rows, one at a time."""

    emits = dict
    asked: list[Any] = []  # noqa: RUF012  (pydantic copies it)

    def poll(self, position: Any) -> tuple[list[Any], Any]:
        self.asked.append(position)
        if len(self.asked) == 1:
            raise OSError("the network is down")
        if position == 3:
            raise StopIteration
        return [{"n": (position or 0) + 1}], (position or 0) + 1


def test_a_poller_is_asked_again_from_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    three = Three(seconds=0)
    part, out = PollerPartition("three", three, None), list[Any]()
    with pytest.raises(StopIteration):
        while True:
            out += part.next_batch()
            assert part.snapshot() == (out[-1]["n"] if out else None), "the position behind what was handed on"
    part.close()
    assert [row["n"] for row in out] == [1, 2, 3] and three.asked == [None, None, 1, 2, 3]
    assert "three: OSError: the network is down; it is asked again" in caplog.text


def test_the_guides_stage_with_state_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it keeps over restarts is Bytewax's: tests/flows/test_journal.py kills such a stage."""
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(import bytewax.*?)```", (HOME / "docs" / "plugins.md").read_text(), re.DOTALL)
    parts: dict[str, Any] = {"Stage": Stage}
    exec(block, parts)
    rows = [{"door": door} for door in ("front", "back", "front", "front")]
    flow, out = Dataflow("ring"), list[Any]()
    stream = parts["Totals"]().attach("totals", op.input("rows", flow, TestingSource(rows)))
    op.output("out", stream, TestingSink(out))
    run_main(flow)
    assert out == [{"door": d, "rang": n} for d, n in (("front", 1), ("back", 1), ("front", 2), ("front", 3))]


def test_the_guide_names_every_item_and_base() -> None:
    text = (HOME / "docs" / "plugins.md").read_text()
    for name in (
        "Upload",
        "Frame",
        "Detected",
        "Event",
        "Message",
        "Tick",
        "Reject",
        "Source",
        "Stage",
        "Sink",
        "Consumer",
    ):
        assert f"`{name}" in text, name
