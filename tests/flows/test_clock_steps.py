"""Promise: a server clock that is set back or forward stops nothing; order, closes and alerts follow elapsed time."""

import os
import subprocess
import sys

import pytest

from tests.support.clock_shift import ShiftedClock
from tests.support.pipeline import ROOT, Pipeline, rules_and_options

HOURS = 7200
SECONDS = 1_000_000


@pytest.fixture
def clock(tmp_path):
    return ShiftedClock(tmp_path)


@pytest.fixture
def pipeline(tmp_path, clock):
    batch = rules_and_options(window=2, idle=1, lateness=0.2)[1]
    pipeline = Pipeline(
        tmp_path, batch=batch, options="boxes = 1", HEARTHWATCH_CAPTURE_TIME="mtime", **clock.environment
    )
    yield pipeline
    pipeline.kill()


def events(pipeline):
    return pipeline.rows("SELECT camera_id, status FROM events ORDER BY id")


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(HOURS, 0), (0, HOURS)], ids=["back", "forward"])
def test_a_clock_that_is_set_while_it_runs_stops_nothing(pipeline, clock, before, after):
    clock.set(before)
    pipeline.start().until(lambda: pipeline.rows("SELECT 1 FROM heartbeat"))
    pipeline.upload("front", "a.jpg", how="write").until(lambda: events(pipeline))  # open, unless this test was slow
    clock.set(after)
    pipeline.upload("back", "b.jpg", how="write")
    pipeline.until(lambda: events(pipeline) == [("front", "closed"), ("back", "closed")])
    ((first,), (second,)) = pipeline.rows("SELECT arrived_at FROM frames ORDER BY id")
    assert 0 <= second - first < 60 * SECONDS
    assert f"set {'back' if before else 'forward'} by 7200 s" in pipeline.said()
    pipeline.kill().start()  # what was stamped by the other clock is no trap for the next start
    pipeline.upload("front", "c.jpg", how="write").until(lambda: events(pipeline)[2:] == [("front", "closed")])
    ((third,),) = pipeline.rows("SELECT arrived_at FROM frames WHERE id = 3")
    assert 0 <= third - second < 60 * SECONDS


@pytest.mark.slow
def test_a_clock_that_was_set_back_between_two_starts_stops_nothing(pipeline, clock):
    clock.set(HOURS)
    pipeline.upload("front", "a.jpg").start().until(lambda: len(events(pipeline)) == 1).kill()
    clock.set(0)
    pipeline.start().upload("back", "b.jpg", how="write")
    pipeline.until(lambda: events(pipeline) == [("front", "closed"), ("back", "closed")])


@pytest.mark.slow
def test_cells_do_not_wait_for_each_other_until_a_clock_that_was_set_back_is_as_late_again(pipeline, clock):
    pipeline.start(HEARTHWATCH_CELLS="2", BYTEWAX_WORKERS_PER_PROCESS="2")
    pipeline.until(lambda: pipeline.rows("SELECT 1 FROM heartbeat"))
    clock.set(-HOURS)
    assert pipeline.wait() == 1 and "set back by 7200 s, and cells would wait" in pipeline.said(), pipeline.said()
    pipeline.upload("front", "a.jpg").start().until(lambda: events(pipeline) == [("front", "closed")])


SET_BACK_MEANWHILE = """
import mmap, os
from datetime import UTC, datetime, timedelta
from hearthwatch.flows.lifecycle import Lifecycle, SourcePartition

class Source:
    def next_batch(self):
        return []

    def next_awake(self):
        due = datetime.now(UTC) + timedelta(seconds=0.01)
        with open(os.environ["CLOCK_SHIFT_FILE"], "r+b") as file, mmap.mmap(file.fileno(), 8) as page:
            page[:] = (-7200).to_bytes(8, "little", signed=True)
        return due

print(SourcePartition(Source(), Lifecycle(), follows=False).due)
"""


def test_a_source_that_says_when_to_poll_it_while_the_clock_is_set_back_is_polled_at_once(clock):
    environment = {**os.environ, **clock.environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", SET_BACK_MEANWHILE], env=environment, capture_output=True, text=True)
    assert done.stdout == "None\n", done.stderr
