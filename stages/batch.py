"""Group each camera's detections into events, judged by rules at once, and commit them to the record.

Window and idle time-out are defined by `cut` in `record/batching.py`. The only stage that decides frames: state,
detections, place in an event, feed rows, in one transaction per chunk that came down the stream. Exactly once in effect:
a frame that comes again is skipped. One partition, because all chains meet in one record. With `-r` the snapshot is the
last feed row passed on, so sinks behind it see each revision at least once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from hearthwatch.record import WORKING_SET_KIB, Record, now
from hearthwatch.record.batching import Batching, Cut
from hearthwatch.record.feed import Feed
from hearthwatch.record.resume_point import find_resume_point
from hearthwatch.record.suppression import Stillness
from hearthwatch.record.timings import write_heartbeat
from hearthwatch.record.units import SECOND
from hearthwatch.schemas import Detected, Event, Message, Stage, StageWorker, Tick
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.schemas.settings import from_settings
from hearthwatch.stages.own_rules import OwnFunction
from hearthwatch.stages.rules import judge_by_rules

if TYPE_CHECKING:
    from bytewax.dataflow import Stream

HEARTBEAT_SECONDS = 2.0  # the page reports the chain as stale after 15 s without one
RESUME_CHUNK = 500  # feed rows read at once after a resume
STEPS = {"event.opened": "open", "event.raised": "raise", "event.closed": "close"}


class Batch(Stage):
    """Cut each camera's frames with detections into events; open at the first detection, close by window or idleness."""

    accepts = Detected
    emits = Event
    durable = True

    window_seconds: Annotated[float, Field(gt=0)] = from_settings("batch_window_seconds")
    """The longest span of one event, in seconds of capture time."""
    idle_timeout_seconds: Annotated[float, Field(gt=0)] = from_settings("batch_idle_timeout_seconds")
    """A camera that shows nothing for this long, in seconds of capture time, has ended its event."""
    lateness_seconds: Annotated[float, Field(ge=0)] = 5.0
    """How long after its deadline an event waits for pictures that come out of order, in seconds of arrival time."""
    still_objects: Literal["all"] | tuple[str, ...] = "all"
    """Which kinds neither open nor prolong an event while they stand still; empty: none."""
    still_frames: Annotated[int, Field(ge=1)] = 3
    """Seen at the same place (IoU 0.75) in at least this many earlier frames of the camera, …"""
    still_seconds: Annotated[float, Field(ge=0)] = 60
    """… the first of them at least this many seconds of capture time ago."""

    rules: tuple[OwnFunction, ...] = ()
    """Functions `(Facts, Surroundings) -> terms` of yours, as `module:function`, that add to the score."""
    built_in_rules: bool = True
    """Whether our rules judge, too; false: only yours do."""

    def label(self) -> str:
        return f"{self.window_seconds:g} s window, {self.idle_timeout_seconds:g} s idle"

    def build(self, context: Context) -> BatchWorker:
        return BatchWorker(self, context)

    def stillness(self) -> Stillness:
        """Convert the options to the record's unit."""
        kinds = None if self.still_objects == "all" else self.still_objects
        return Stillness(kinds, self.still_frames, round(self.still_seconds * SECOND))

    def cut(self) -> Cut:
        """Convert the options to the record's unit."""
        return Cut(
            *(round(s * SECOND) for s in (self.window_seconds, self.idle_timeout_seconds, self.lateness_seconds))
        )


class BatchWorker(StageWorker):
    """The Bytewax steps of one batch node."""

    def __init__(self, options: Batch, context: Context) -> None:
        self.writer, self.context = partial(BatchWriter, options, context), context
        self.records: list[Record] = []
        self._local: BatchWriter | None = None

    def attach(self, step_id: str, up: Stream[Any]) -> Stream[Any]:
        import bytewax.operators as op

        keyed = op.flat_map_batch(f"{step_id}_chunks", up, lambda items: [("record", items)])
        placed = op.stateful_batch(f"{step_id}_place", keyed, self._logic())
        return op.map(f"{step_id}_events", placed, lambda pair: pair[1])

    def attach_local(self, step_id: str, up: Stream[Any], pulse: Stream[Any]) -> Stream[Any]:
        """Do the same on the worker that reads the cell."""
        import bytewax.operators as op

        return op.flat_map_batch(f"{step_id}_place", up, self._write)

    def close(self) -> None:
        self._local = None
        while self.records:
            self.records.pop().close()

    def _write(self, items: list[Any]) -> list[Event]:
        """Write these, where there are several cells; the cell's source remembers how far sinks behind it have come."""
        positions = self.context.positions
        if self._local is None:
            self._local = self.writer(positions.get("batch"))
            self.records.append(self._local.record)
        events = self._local.write(items)
        positions["batch"] = self._local.seq
        return events

    def _logic(self) -> Callable[[int | None], Any]:
        from bytewax.operators import StatefulBatchLogic

        writer, records = self.writer, self.records

        class Logic(StatefulBatchLogic[list[Any], Event, int]):
            def __init__(self, resumed: int | None) -> None:
                self.writer = writer(resumed)
                records.append(self.writer.record)

            def on_batch(self, values: list[list[Any]]) -> tuple[list[Event], bool]:
                return self.writer.write([item for chunk in values for item in chunk]), False

            def snapshot(self) -> int:
                return self.writer.seq

        return Logic


class BatchWriter:
    """Writes what comes down the stream to the record; knows no Bytewax."""

    def __init__(self, options: Batch, context: Context, resumed: int | None) -> None:
        self.timings, self.detector = context.timings, context.detector
        self.recent = None if context.keep_pictures == "none" else context.recent
        self.record = Record(context.record_path, WORKING_SET_KIB)
        rules, still = judge_by_rules(context), options.stillness()
        self.batching = Batching(self.record, rules, options.cut(), analysis=context.analysis, stillness=still, now=now)
        self.feed = Feed(self.record)
        resumed = find_resume_point(self.record, "batch", resumed, self.feed.last, context.has_recovery_store)
        self.seq = self.feed.last() if resumed is None else resumed
        self.is_behind = resumed is not None
        self.heartbeat_due, self.clock = 0.0, 0

    def write(self, items: list[Detected | Tick]) -> list[Event]:
        """Write these; return the revisions that sinks behind this stage have not seen, oldest first."""
        missed = self._read_missed() if self.is_behind else []
        if self.recent:
            for item in items:
                if isinstance(item, Detected) and item.detections and (data := getattr(item.frame.opened, "data", b"")):
                    self.recent.add(item.frame.id, data)
        began = time.perf_counter()
        events = self.batching.write(items)
        if events:
            self.seq = self.feed.last()
        self._add_timings(items, events, time.perf_counter() - began)
        if items:
            last = items[-1]
            self.clock = to_microseconds(last.now if isinstance(last, Tick) else last.frame.arrived_at)
        if time.monotonic() >= self.heartbeat_due:
            counters = self.record.counters() | {"detector": self.detector.summary(), "clock": self.clock}
            write_heartbeat(self.record, "see", self.timings, counters)
            self.heartbeat_due = time.monotonic() + HEARTBEAT_SECONDS
        return missed + events

    def _read_missed(self) -> list[Event]:
        """Read what was written before the process died but after the snapshot that it resumed from."""
        out: list[Event] = []
        while messages := self.feed.after(self.seq, RESUME_CHUNK):
            events = (message.event for message in messages if isinstance(message, Message))
            out += [event for event in events if event.type in (*STEPS, "event.merged")]
            self.seq = messages[-1].seq
        self.is_behind = False
        return out

    def _add_timings(self, items: list[Detected | Tick], events: list[Event], seconds: float) -> None:
        """Add to the timings of the heartbeat; nothing for a tick that changed nothing."""
        frames = [item for item in items if isinstance(item, Detected) and item.frame.recorded is None]
        if frames or events:
            self.timings.add("decide", [seconds])
        self.timings.add("detect", [frame.detect_ms / 1e3 for frame in frames if frame.detect_ms is not None])
        at = now()
        for event in events:
            if step := STEPS.get(event.type):
                arrived = self.record.rows("SELECT arrived_at FROM frames WHERE id = ?", event.id)
                self.timings.add(step, [max(0, at - t) / 1e6 for (t,) in arrived])
