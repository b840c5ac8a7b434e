"""Promise: the sources of a graph go on at their own pace, none waits for another one, and each resumes where it was."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from bytewax.inputs import DynamicSource, FixedPartitionedSource, StatefulSourcePartition, StatelessSourcePartition
from bytewax.testing import run_main

from hearthwatch.flows.graph import Graph
from hearthwatch.flows.lifecycle import Lifecycle
from hearthwatch.flows.multiplex import ONLY, Multiplexed
from hearthwatch.schemas import Sink, Source, Tick
from hearthwatch.schemas.errors import UserError

AT = datetime(2026, 11, 22, tzinfo=UTC)


class Count(StatefulSourcePartition):
    """Numbers from where it was up to `end`."""

    def __init__(self, end, last=0):
        self.last, self.end, self.closed = last, end, False

    def next_batch(self):
        if self.last == self.end:
            raise StopIteration
        self.last += 1
        return [self.last]

    def snapshot(self):
        return self.last

    def close(self):
        self.closed = True


class Counts(FixedPartitionedSource):
    """Partitions by name, each up to its number."""

    def __init__(self, **ends):
        self.ends, self.built = ends, []

    def list_parts(self):
        return list(self.ends)

    def build_part(self, step_id, for_part, resume_state):
        self.built.append(Count(self.ends[for_part], resume_state or 0))
        return self.built[-1]


class Once(DynamicSource, StatelessSourcePartition):
    """One item, then nothing for a hundred years."""

    given = False

    def build(self, step_id, worker_index, worker_count):
        return self

    def next_batch(self):
        batch, self.given = [] if self.given else ["once"], True
        return batch

    def next_awake(self):
        return AT + timedelta(days=36500) if self.given else None


def together(lifecycle=None, states=None, wake=None, **sources):
    all_of_them = Multiplexed(lifecycle or Lifecycle(), wake)
    for node, source in sources.items():
        all_of_them.add(node, source, follows=isinstance(source, DynamicSource))
    return all_of_them.build_part("0_sources", ONLY, states)


def read(part, times):
    return [item for _ in range(times) for item in part.next_batch()]


def test_items_say_whose_they_are_and_come_in_each_sources_order():
    items = read(together(files=Counts(ledger=3), clock=Once()), 3)
    assert items == [("files", 1), ("clock", "once"), ("files", 2), ("files", 3)]


def test_one_snapshot_holds_all_partitions_those_that_ended_too_and_all_resume():
    first = together(files=Counts(a=1, b=5), other=Counts(a=4), clock=Once())
    read(first, 3)
    assert first.snapshot() == {("files", "a"): 1, ("files", "b"): 3, ("other", "a"): 3, ("clock", ""): None}
    again = together(states=first.snapshot(), files=Counts(a=1, b=5), added=Counts(a=1))
    assert read(again, 2) == [("files", 4), ("added", 1), ("files", 5)]


def test_it_ends_with_the_last_one_and_closes_each():
    files = Counts(a=1, b=2)
    part = together(files=files, clock=Once())
    assert read(part, 2) == [("files", 1), ("files", 1), ("clock", "once"), ("files", 2)]
    assert [count.closed for count in files.built] == [True, False]
    with pytest.raises(StopIteration):
        while True:  # until the clock is asked again, which follows the others
            assert part.next_batch() == []
    assert all(count.closed for count in files.built)


def test_a_wake_polls_those_that_wait_for_it_and_no_other():
    wake, woken, other = threading.Event(), Once(), Once()
    woken.is_woken = True
    part = together(wake=wake, woken=woken, other=other)
    assert read(part, 3) == [("woken", "once"), ("other", "once")]
    woken.given = other.given = False
    assert read(part, 2) == [], "neither is due for a hundred years"
    wake.set()
    assert read(part, 2) == [("woken", "once")] and not wake.is_set()


def test_what_is_no_source_is_told():
    with pytest.raises(UserError, match="`build\\(\\)` returned list, which is not a Bytewax source"):
        together(files=[])


class Quick(Source):
    emits = Tick
    ticks: int = 300

    def build(self):
        ticks = self.ticks

        class Ticks(Counts):
            def build_part(self, *where):
                part = super().build_part(*where)
                count = part.next_batch
                part.next_batch = lambda: [Tick(AT + timedelta(seconds=n)) for n in count()]
                return part

        return Ticks(only=ticks)


class Rare(Source):
    emits = Tick
    follows = True

    def build(self):
        class Later(Once):
            def next_batch(self):
                return [Tick(AT) for _ in super().next_batch()]

        return Later()


class Kept(Sink):
    accepts = Tick
    into: list

    def build(self):
        from bytewax.testing import TestingSink

        return TestingSink(self.into)


@pytest.mark.timeout(20)
def test_no_source_waits_for_another_ones_epoch():
    """With an epoch for each question and one source that is asked five times a second, the other one took a minute."""
    quick, rare = [], []
    graph = Graph().add("quick", Quick()).add("rare", Rare())
    graph.add("keep", Kept(into=quick), after="quick").add("keep_too", Kept(into=rare), after="rare")
    flow = graph.build()
    run_main(flow, epoch_interval=timedelta(0))
    kept = {node.name: node.component.into for node in graph.nodes.values() if isinstance(node.component, Kept)}
    assert len(kept["keep"]) == 300 and len(kept["keep_too"]) == 1
