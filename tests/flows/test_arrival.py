"""Promise: in a graph that `check` accepts, each item that a node emits arrives, or a message names the node that it came from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from bytewax.testing import TestingSink, TestingSource, run_main
from PIL import Image

from hearthwatch.flows.graph import Graph
from hearthwatch.flows.guard import StageError
from hearthwatch.flows.validate import find_warnings
from hearthwatch.schemas import (
    Consumer,
    Context,
    DeadLetter,
    Detected,
    Event,
    Frame,
    Message,
    Sink,
    Source,
    Stage,
    SystemMessage,
    Upload,
)
from hearthwatch.schemas.testing import detected, event
from tests.support.pipeline import Pipeline


class Found(Source):
    """Emits uploads and other things."""

    emits = Upload

    items: tuple[Any, ...] = ()
    """What to emit."""
    paths: tuple[str, ...] = ()
    """Uploads to emit."""

    def build(self, context: Context) -> Any:
        return TestingSource([*self.items, *(Upload("own", path, None) for path in self.paths)])


class Careless(Stage):
    """Passes uploads on, and two things that it does not declare with each."""

    accepts = Upload
    emits = Upload

    def process(self, items: list[Any]) -> list[Any]:
        return [out for item in items for out in (item.path, item, detected(1))]


class Keep(Sink):
    """Keeps what comes."""

    accepts = (Upload, DeadLetter)
    into: list[Any]
    """Where."""

    def build(self, context: Context) -> Any:
        return TestingSink(self.into)


def build(kind: type, **attributes: Any) -> Any:
    """A component of this kind, with these class attributes, that does nothing."""
    hints = {name: kind.__annotations__.get(name, "ClassVar[Any]") for name in attributes}
    methods = {
        "process": lambda self, items: items,
        "deliver": lambda self, messages: None,
        "build": lambda self, context: TestingSource([]),
    }
    method = {Stage: "process", Consumer: "deliver"}.get(kind, "build")
    made = type(
        "Odd",
        (kind,),
        {"__doc__": "Odd.", "__annotations__": hints, method: methods[method], "__module__": __name__, **attributes},
    )
    return made()


def sink(accepts: Any) -> Any:
    return build(Sink, accepts=accepts)


@pytest.mark.slow
def test_uploads_arrive_and_what_is_none_is_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.jpg" for n in range(3)]
    for n, path in enumerate(paths):
        Image.new("RGB", (32, 24), (n, n, n)).save(path)
    listed = ", ".join(f'"{path}"' for path in paths)
    more = (
        f'[cam]\nuse = "{__name__}:Found"\npaths = [{listed}]\n[careless]\nuse = "{__name__}:Careless"\nfrom = "cam"\n'
    )
    pipeline = Pipeline(tmp_path / "p", files='from = "careless"', more=more)
    pipeline.start().until(lambda: pipeline.states() == {"settled": 3}).stop()
    said = pipeline.errors.read_text()
    for kind in ("str", "Detected"):
        assert said.count(f"`careless` emitted {kind} but declares `emits = Upload`") == 1, said
    assert "ERROR" in said


def test_an_item_of_an_undeclared_type_is_a_dead_letter_and_the_others_arrive(caplog: pytest.LogCaptureFixture) -> None:
    keep = Keep(into=[])
    items = (Upload("a", "1.jpg", None), event(1), Upload("a", "2.jpg", None), event(2))
    run_main(Graph().add("cam", Found(items=items)).add("keep", keep, after="cam").build())
    assert [item.path for item in keep.into if isinstance(item, Upload)] == ["1.jpg", "2.jpg"]
    assert [item for item in keep.into if isinstance(item, DeadLetter)] == [
        DeadLetter("cam", "emitted Event but declares `emits = Upload`")
    ] * 2
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["`cam` emitted Event but declares `emits = Upload`: no node gets it (1 so far)"]


def test_what_a_stage_should_not_have_emitted_is_on_its_errors_port() -> None:
    bad = Keep(into=[])
    graph = Graph().add("cam", Found(items=(Upload("a", "1.jpg", None),))).add("careless", Careless(), after="cam")
    run_main(graph.add("keep", Keep(into=[]), after="careless").add("bad", bad, after="careless.errors").build())
    assert [letter.stage for letter in bad.into] == ["careless"] * 2


class Lost(Stage):
    """Turns frames into something else."""

    accepts = Frame
    emits = Detected

    def attach(self, step_id: str, up: Any) -> Any:
        import bytewax.operators as op

        return op.map(f"{step_id}_lost", up, lambda item: "lost")


class Frames(Source):
    """Stands for `files`."""

    accepts = Upload
    emits = Frame

    def build(self, context: Context) -> Any:
        from hearthwatch.schemas.testing import frame

        return TestingSource([frame(1)])


def test_a_frame_is_never_left_behind(tmp_path: Path) -> None:
    graph = Graph().add("files", Frames()).add("lost", Lost(), after="files")
    with pytest.raises((StageError, RuntimeError)) as caught:
        run_main(graph.add("batch", build(Stage, accepts=Detected, emits=Event), after="lost").build())
    causes = [caught.value, caught.value.__cause__, getattr(caught.value.__cause__, "__cause__", None)]
    assert any("`lost` emitted str but declares `emits = Detected`" in str(cause) for cause in causes)


class MyFrame(Frame):
    """A frame by another name."""


WRONG = [
    (lambda g: g.add("cam", build(Source, emits=Frame)), "cam (Odd): Odd emits Frame, but only the ledger makes frames"),
    (lambda g: g.add("cam", build(Source, emits=MyFrame)), "cam (Odd): Odd emits MyFrame, but only the ledger makes frames"),
    (lambda g: g.add("cam", build(Source, emits=Detected)), "cam (Odd): Odd emits Detected, but only the ledger makes frames"),
    (lambda g: g.add("cam", Found()).add("make", build(Stage, accepts=Upload, emits=Frame), after="cam"), "make (Odd): Odd emits Frame, but only the ledger"),
    (lambda g: g.add("cam", Found()).add("make", build(Stage, accepts=Upload, emits=Detected), after="cam"), "make (Odd): Odd emits Detected, but only"),
    (lambda g: g.add("cam", Found()), "cam (Found): nothing takes what it emits (Upload): add `from = \"cam\"` to `files`"),
    (lambda g: g.add("cam", Found()).add("pass", Careless(), after="cam"), "pass (Careless): nothing takes what it emits (Upload)"),
    (lambda g: g.add("cam", build(Source, emits=Event)), "cam (Odd): nothing takes what it emits (Event): add `from = \"cam\"` to a node"),
    (lambda g: g.add("cam", build(Source, emits=(Upload, Event))), "it has to be a class"),
    (lambda g: g.add("cam", Found()).add("odd", build(Stage, accepts=Upload, emits="Upload"), after="cam"), "it has to be a class"),
    (lambda g: g.add("cam", Found()).add("odd", sink("Upload"), after="cam"), "in `accepts`: each has to be a class"),
    (lambda g: g.add("cam", build(Source, emits=Event)).add("sqlite", store(), after="cam"), "`sqlite` stores what comes of events that `batch` made, and `cam`"),
    (lambda g: g.add("cam", Found()).add("own", build(Consumer, accepts=Event), after="cam"), "own (Odd): Odd accepts Event, but a consumer gets messages"),
]  # fmt: skip


def store() -> Any:
    from hearthwatch.sinks.sqlite import Sqlite

    return Sqlite()


@pytest.mark.parametrize(("wrong", "says"), WRONG, ids=[says[:40] for _, says in WRONG])
def test_check_names_the_node_whose_items_would_be_lost(wrong: Any, says: str) -> None:
    assert any(says in line for line in wrong(Graph()).check()), wrong(Graph()).check()


def test_items_that_may_be_lost_on_purpose_are_a_warning_of_check() -> None:
    def warnings(more: str) -> list[str]:
        return find_warnings(Graph.from_toml(f'extends = "default"\n{more}').nodes)

    (unread,) = warnings(f'[careful]\nuse = "{__name__}:Lost"\nfrom = "files"\n')
    assert "careful" in unread and "no node reads what it emits (Detected)" in unread
    (unknown,) = warnings(f'[files]\nuse = "{__name__}:Frames"\n')
    assert "files" in unknown and "are never settled: emit Upload" in unknown
    assert warnings("") == []
    assert Graph().add("own", build(Consumer, accepts=(Message, SystemMessage))).check() == []
