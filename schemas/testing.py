"""Check that a component keeps the promises that the graph relies on: plain assertions, no test framework needed.

`check_source(Doorcam(...))`, `check_stage(Night())`, `check_sink(Notebook(path=…), seen=path.read_text)`,
`check_consumer(Chime(path=…))`. They use sample items; pass `items` to a stage that needs real pictures.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hearthwatch.schemas.components import (
    Component,
    Consumer,
    Job,
    Mirror,
    Poller,
    Sink,
    Source,
    Stage,
    StageWorker,
    build_worker,
)
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import (
    PER_FRAME,
    DeadLetter,
    Detected,
    Detection,
    Event,
    Frame,
    Incident,
    Reject,
    Tick,
    Verdict,
)
from hearthwatch.schemas.messages import AnyMessage, IncidentMessage, Message, SystemMessage

if TYPE_CHECKING:
    from PIL.Image import Image

START = datetime(2026, 11, 22, 8, 15, tzinfo=UTC)
BATCHES_MAX = 20  # of a source that never ends

Seen = Callable[[], object]


@dataclass(frozen=True)
class Picture:
    """A decoded grey picture, as a source hands it out; `grey` 0 is black."""

    grey: int = 128
    width: int = 64
    height: int = 48
    content_hash: str | None = None
    error: DeadLetter | None = None

    def picture(self) -> Image:
        from PIL import Image

        return Image.new("RGB", (self.width, self.height), (self.grey,) * 3)


def frame(id: int = 1, camera_id: str = "front_door", **more: Any) -> Frame:
    """Make a frame with a picture, captured and arrived `id` seconds after `START`."""
    at = START + timedelta(seconds=id)
    more.setdefault("opened", Picture(grey=id * 40 % 256))
    return Frame(id, f"{id:032x}", camera_id, f"Front Door/{id}.jpg", at, at, **more)


def detected(id: int = 1, *labels: str, **more: Any) -> Detected:
    """Make a frame with detections of these labels; `person` if none are given."""
    found = tuple(Detection(label, 0.9, (10 * n, 10, 20, 30)) for n, label in enumerate(labels or ("person",)))
    return Detected(frame(id), 64, 48, found, **more)


def event(id: int = 1, risk_score: int = 62, **more: Any) -> Event:
    """Make a closed event of one person at the front door."""
    at = START + timedelta(seconds=id)
    values: dict[str, Any] = {
        "camera_id": "front_door", "type": "event.closed", "revision": 2, "started_at": at, "ended_at": at, "status": "closed",
        "frame_count": 1, "objects": {"person": 1}, "verdict": Verdict(risk_score, "1 person", "", (id * PER_FRAME,)),
        "detection_ids": (id * PER_FRAME,), "camera_name": "front door",
    }  # fmt: skip
    return Event(id, f"batch-{id}", **(values | more))


def message(seq: int = 1, **more: Any) -> Message:
    """Make the feed's message about such an event."""
    return Message(seq, "event.closed", 0.4, event(seq, **more))


def incident_message(seq: int = 1, **more: Any) -> IncidentMessage:
    """Make the feed's message that such an event opened an incident."""
    at, camera = START + timedelta(seconds=seq), ("front_door",)
    made = Incident(
        seq, "incident.opened", 1, "open", at, at, None, 62, "1 person", camera, ("front door",), (seq,), 1, 1, {"person": 1}, seq,
        None, 0.4,
    )  # fmt: skip
    return IncidentMessage(seq, "incident.opened", replace(made, **more))


def system_message(seq: int = 1) -> SystemMessage:
    """Make the feed's message that a camera is silent, or, for an even number, that it is not any more."""
    at, words = START + timedelta(seconds=seq), "porch has sent no picture for an hour"
    return SystemMessage(seq, "camera_silent", "on" if seq % 2 else "off", "error", "porch", "porch", words, START, at)


SAMPLES: dict[type, Callable[[int], Any]] = {
    Frame: frame, Detected: detected, Event: event, Message: message, IncidentMessage: incident_message,
    SystemMessage: system_message,
}  # fmt: skip


def samples(component: Component, count: int = 5) -> list[Any]:
    """Make items that this component accepts."""
    accepts = component.accepts if isinstance(component.accepts, tuple) else (component.accepts,)
    makers = [make for kind, make in SAMPLES.items() if issubclass(kind, accepts)]
    assert makers, f"{_name(component)} accepts none of {', '.join(kind.__name__ for kind in SAMPLES)}: pass `items`"
    kinds = len(makers) if isinstance(component, Consumer) else 1  # a consumer gets all that it accepts, mixed
    return [makers[number % kinds](number) for number in range(1, count + 1)]


def check_component(component: Component) -> None:
    """Check that it is frozen, every option is documented and typed, ports are declared, label and docstring exist."""
    kind, name = type(component), _name(component)
    kinds = "Source, Stage, Sink, Consumer or Job"
    assert isinstance(component, Source | Stage | Sink | Consumer | Job), f"{name} is not a {kinds}"
    assert kind.__doc__, f"{name} has no docstring: what is it?"
    for option, field in kind.model_fields.items():
        assert field.description, f"{name}.{option} is not documented: put a string below it"
        try:
            setattr(component, option, getattr(component, option))
        except ValidationError:
            continue
        raise AssertionError(f"{name}.{option} can be changed: a component is frozen, keep `model_config` as it is")
    assert isinstance(component, Source) or component.accepts, f"{name} does not say what it `accepts`"
    assert not isinstance(component, Stage) or component.emits, f"{name} does not say what it `emits`"
    assert component.label(), f"{name}.label() is empty"


@contextmanager
def temporary_context() -> Iterator[Context]:
    """Make a context whose record and folders are in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield Context(Path(folder, "hearthwatch.db"), Path(folder), Path(folder, "uploads"))


def check_source(component: Source, batches_max: int = BATCHES_MAX, context: Context | None = None) -> list[Any]:
    """Check that it emits what it declares, its snapshot can be stored and resuming repeats nothing; return the items."""
    from bytewax.inputs import DynamicSource, FixedPartitionedSource

    check_component(component)
    if context is None:
        with temporary_context() as context:
            return check_source(component, batches_max, context)
    built = build_worker(component, context)
    if isinstance(built, Poller):
        items, position = built.poll(None)
        _check_emitted(component, items)
        pickle.dumps(position)
        return list(items)
    if isinstance(built, DynamicSource):
        return _emitted(component, built.build("flow.source", 0, 1), batches_max)
    assert isinstance(built, FixedPartitionedSource), (
        f"{_name(component)}.build() returned {type(built).__name__}, not a Bytewax source"
    )
    parts = built.list_parts()
    assert parts and len(set(parts)) == len(parts), f"{_name(component)} has no partitions, or two of one name: {parts}"
    items = []
    for name in parts:
        part = built.build_part("flow.source", name, None)
        first = _emitted(component, part, batches_max, close=False)
        state = pickle.loads(pickle.dumps(part.snapshot()))
        part.close()
        items += first
        if state is not None and first:
            again = _emitted(component, built.build_part("flow.source", name, state), 1)
            assert not any(item in first for item in again if not isinstance(item, Tick)), (
                f"{_name(component)} repeats items after its snapshot: the snapshot has to cover all that was handed out"
            )
    return items


def check_stage(component: Stage, items: Sequence[Any] | None = None, context: Context | None = None) -> list[Any]:
    """Check that it changes no input and keeps no state, and where frames flow their count and order; return the output."""
    check_component(component)
    name = _name(component)
    if items is None:  # in one of the pictures nothing is found
        items = [
            replace(item, detections=()) if isinstance(item, Detected) and item.frame.id == 4 else item
            for item in samples(component)
        ]
    given = list(items)
    if context is None:
        with temporary_context() as context:
            return check_stage(component, given, context)
    worker: StageWorker = build_worker(component, context)
    assert type(worker).attach is StageWorker.attach, f"{name} has its own `attach`: run it in a graph"
    worker.open()
    try:
        nothing = worker.process([])
        assert nothing == [], f"{name}.process([]) has to return an empty list, it returned {nothing!r}"
        handed = list(given)
        out = worker.process(handed)
        assert handed == given, f"{name}.process changed the list it was given"
        assert isinstance(out, list), f"{name}.process returned {type(out).__name__}, not a list"
        wrong = [item for item in out if not isinstance(item, component.emits or ())]
        assert not wrong, f"{name} emits {component.emits}, but returned {wrong[:1]}"
        if component.emits in (Frame, Detected):
            ids = [[_frame(item).id for item in each] for each in (given, out)]
            assert ids[0] == ids[1], (
                f"{name} was given frames {ids[0]} and returned {ids[1]}: none may vanish or change places"
            )
            alone = [_alone(worker, item) for item in given]
            assert [_found(item) for item in alone] == [_found(item) for item in out], (
                f"{name} answers differently when asked one by one: it keeps state"
            )
        return out
    finally:
        worker.close()


def check_sink(
    component: Sink, items: Sequence[Any] | None = None, seen: Seen | None = None, context: Context | None = None
) -> None:
    """Check that it writes items once although they come again after a kill; `seen` reads what it has written."""
    from bytewax.outputs import DynamicSink, FixedPartitionedSink

    check_component(component)
    given, before = list(samples(component) if items is None else items), None
    if context is None:
        with temporary_context() as context:
            return check_sink(component, given, seen, context)
    for attempt in range(2):
        built = build_worker(component, context)
        if isinstance(built, FixedPartitionedSink):
            part: Any = built.build_part("flow.sink", built.list_parts()[0], None)
            pickle.dumps(part.snapshot())
        else:
            assert isinstance(built, DynamicSink), (
                f"{_name(component)}.build() returned {type(built).__name__}, not a Bytewax sink"
            )
            part = built.build("flow.sink", 0, 1)
        part.write_batch(given[:1])
        part.write_batch(given[1:])
        part.close()
        if seen and attempt:
            after = seen()
            assert after == before, (
                f"{_name(component)} wrote items again that came again: before {before!r}, after {after!r}"
            )
        before = seen() if seen else None
    return None


def check_consumer(
    component: Consumer,
    messages: Sequence[AnyMessage] | None = None,
    seen: Seen | None = None,
    context: Context | None = None,
) -> None:
    """Check that it delivers, and accepts messages that come again; `seen`, if given, must not show them twice."""
    check_component(component)
    given = list(samples(component) if messages is None else messages)
    if context is None:
        with temporary_context() as context:
            return check_consumer(component, given, seen, context)
    worker = build_worker(component, context)
    worker.open()
    try:
        mirrors = isinstance(worker, Mirror)
        worker.catch_up() if mirrors else worker.deliver(tuple(given))
        before = seen() if seen else None
        worker.catch_up() if mirrors else worker.deliver(tuple(given[-2:]))
        after = seen() if seen else None
        assert after == before, (
            f"{_name(component)} delivered messages again that came again: dedupe by (event.id, event.revision)"
        )
    finally:
        worker.close()


def _name(component: Component) -> str:
    return type(component).__name__


def _frame(item: Any) -> Frame:
    return item if isinstance(item, Frame) else item.frame


def _alone(stage: StageWorker, item: Any) -> Any:
    try:
        return stage.process([item])[0]
    except Reject as error:
        return error


def _found(item: Any) -> Any:
    """Return what must not depend on the other items of a call (the time it took may)."""
    return (item.frame.id, item.detections, item.error) if isinstance(item, Detected) else item


def _check_emitted(source: Source, items: Sequence[Any]) -> None:
    wrong = [item for item in items if not isinstance(item, (source.emits or (), Tick))]
    assert not wrong, f"{_name(source)} emits {source.emits}, but handed out {wrong[:1]}"


def _emitted(source: Source, part: Any, batches_max: int, close: bool = True) -> list[Any]:
    items: list[Any] = []
    try:
        for _ in range(batches_max):
            batch = list(part.next_batch())
            _check_emitted(source, batch)
            items += batch
            due = part.next_awake()
            time.sleep(min(0.05, max(0.0, (due - datetime.now(UTC)).total_seconds())) if due else 0)
    except StopIteration:
        pass
    if close:
        part.close()
    return items
