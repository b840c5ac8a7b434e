"""Promises of the keep chain's nodes: they follow the clock on threads of their own, and what fails is tried again."""

import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from hearthwatch.record.gpu_samples import FrameCounter, GpuSample, write_samples
from hearthwatch.schemas import Tick
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.testing import check_sink, check_source
from hearthwatch.sinks.beside import Worker
from hearthwatch.sinks.duckdb import DuckDB
from hearthwatch.sinks.retention import Retention
from hearthwatch.sinks.sqlite import Sqlite
from hearthwatch.sources.clock import Clock
from hearthwatch.sources.gpu_stats import GpuStats, Reading, Sampler, open_card
from tests.support.data_dir import DAY, START, House, S, in_memory, lake_differs

WAIT = 20.0  # for what takes milliseconds, on a machine that may be very busy
TICKS = [Tick(from_microseconds(START + 31 * DAY + i * S)) for i in range(3)]


@pytest.fixture
def house(monkeypatch):
    with in_memory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        house = House(folder)
        yield house
        house.close()


def test_the_clock_ticks_at_once_and_then_at_its_interval():
    began = datetime.now(UTC)
    first, *more = check_source(Clock(interval_seconds=0.01))
    assert began <= first.now <= datetime.now(UTC)
    assert len(more) >= 5 and all(b.now >= a.now for a, b in pairwise(more))
    part = Clock(interval_seconds=3600).build().build("flow.clock", 0, 1)
    part.next_batch()
    assert timedelta(minutes=59) < part.next_awake() - datetime.now(UTC) <= timedelta(hours=1)


def test_the_lake_is_written_beside_the_flow_and_once_more_at_its_end(house):
    house.see("front_door", 0).close_events()
    check_sink(DuckDB(data_dir=house.data, record_path=house.path), TICKS, seen=lambda: lake_differs(house))
    assert house.rows("SELECT * FROM dirty_hours") == []
    assert (house.data / "analytics.duckdb").exists()


def test_retention_runs_at_the_first_tick_and_then_at_its_interval(house):
    node = Retention(record_path=house.path, data_dir=house.data, base_path=house.base)
    assert (node.label(), Retention(gigabytes=1.5).label()) == ("30 days", "30 days, 1.5 GB")
    part = node.build().build("flow.retention", 0, 1)
    for hour, due in ((0, True), (0.5, False), (1, True)):
        house.see("front_door", hour * 3600, boxes=())
        part.write_batch([Tick(from_microseconds(START + 31 * DAY + round(hour * 3600) * S))])
        assert until(lambda: house.frames() == []) if due else until(lambda: not part._news.is_set()) and house.frames()
    part.close()


def until(condition):
    ends = time.monotonic() + WAIT
    while not condition() and time.monotonic() < ends:
        time.sleep(0.005)
    return condition()


def test_what_fails_is_told_once_and_tried_again_at_the_next_tick(caplog):
    runs, done = [], threading.Semaphore(0)

    def work(at, stop):
        runs.append(at)
        done.release()
        if len(runs) < 3:
            raise UserError("the disk is full")

    worker = Worker("duckdb", lambda: work)
    for tick in TICKS:
        worker.write_batch([tick])
        assert done.acquire(timeout=WAIT)
    worker.close()
    assert runs == [tick.now for tick in TICKS]
    assert [record.message for record in caplog.records] == ["duckdb: the disk is full; trying again at every tick"]


def test_a_stop_does_not_wait_for_what_hangs():
    begins, hangs = threading.Event(), threading.Event()

    def work(at, stop):
        begins.set()
        hangs.wait(WAIT)

    worker = Worker("duckdb", lambda: work)
    worker.write_batch(TICKS[:1])
    assert begins.wait(WAIT)
    worker.close()
    assert worker._thread.is_alive(), "it is left alone: the process ends without it"
    hangs.set()
    worker._thread.join(WAIT)


def test_a_tick_that_comes_while_it_works_is_not_forgotten():
    at_work, goes_on, runs = threading.Event(), threading.Event(), []

    def work(at, stop):
        runs.append(at)
        at_work.set()
        goes_on.wait(WAIT)

    worker = Worker("duckdb", lambda: work)
    worker.write_batch(TICKS[:1])
    assert at_work.wait(WAIT)
    at_work.clear()
    worker.write_batch(TICKS[1:2])
    worker.write_batch(TICKS[2:3])
    goes_on.set()
    assert at_work.wait(WAIT)
    worker.close()
    assert runs == [TICKS[0].now, TICKS[2].now]


# -- samples


def test_the_pace_counts_pictures_that_were_looked_at(house):
    house.see("front_door", 0, 1)
    pace = FrameCounter(house.record)
    assert pace.count_new() == 0
    house.see("front_door", 2, 3, 4).spoil("front_door", 5)
    house.ledger.discover([], START)
    assert (pace.count_new(), pace.count_new()) == (3, 0)


def test_without_a_card_there_are_samples_while_something_happens(house):
    sampler = Sampler(house.record, lambda: None)
    start = sampler._last
    assert sampler.sample(1, start + 10) is None
    house.see("front_door", 0, 1, 2, 3, 4)
    assert sampler.sample(2, start + 20) == GpuSample(2, None, None, None, None, 0.5)
    assert sampler.sample(3, start + 30) == GpuSample(3, None, None, None, None, 0.0)
    assert sampler.sample(4, start + 40) is None


def test_with_a_card_there_always_are(house):
    sampler = Sampler(house.record, lambda: Reading(97, 3_000, 8_000, 61))
    assert sampler.sample(1, sampler._last + 10) == GpuSample(1, 97, 3_000, 8_000, 61, 0.0)


def test_a_machine_without_a_card_is_no_fault():
    assert open_card(99)() is None, "there is no hundredth card anywhere"


def test_samples_come_to_the_record_once(house):
    given = [GpuSample(START + i, None, None, None, None, float(i)) for i in range(3)]
    check_sink(
        Sqlite(record_path=house.path),
        given,
        seen=lambda: house.rows("SELECT recorded_at, inference_fps FROM gpu_stats"),
    )
    assert house.rows("SELECT count(*) FROM gpu_stats") == [(3,)]
    write_samples(house.record, given[:1])
    assert house.rows("SELECT count(*) FROM gpu_stats") == [(3,)]


def test_the_source_measures_on_a_thread_of_its_own(house):
    source = GpuStats(record_path=house.path, interval_seconds=0.01, device="cpu")
    part = source.build().build("flow.gpu_stats", 0, 1)
    ends = time.monotonic() + WAIT
    samples = []
    while not samples and time.monotonic() < ends:
        house.see("front_door", len(house.frames()))
        samples += part.next_batch()
    part.close()
    assert samples and samples[0].inference_fps > 0


def test_options_are_checked():
    for make in (lambda: Clock(interval_seconds=0), lambda: Retention(days=0), lambda: Retention(gigabytes=0)):
        with pytest.raises(ValueError, match="greater than"):
            make()
    assert Path(DuckDB().data_dir) == Path("data")
