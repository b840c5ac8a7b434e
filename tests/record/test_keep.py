"""Promises of the jobs: they run at their interval on threads of their own, and what fails is tried again."""

import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

import hearthwatch.flows.services
from hearthwatch.flows.services import JobThread
from hearthwatch.record.gpu_samples import FrameCounter, GpuSample, write_samples
from hearthwatch.schemas import Job, JobWorker
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.settings import Settings
from hearthwatch.schemas.testing import check_component, check_sink, check_source
from hearthwatch.sinks.duckdb import DuckDB
from hearthwatch.sinks.retention import Retention
from hearthwatch.sinks.sqlite import Sqlite
from hearthwatch.sources.clock import Clock
from hearthwatch.sources.gpu_stats import GpuStats, Reading, Sampler, open_card
from tests.support.data_dir import DAY, START, House, in_memory, lake_differs

WAIT = 20.0  # for what takes milliseconds, on a machine that may be very busy
NOW = from_microseconds(START + 31 * DAY)


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
    part = Clock(interval_seconds=3600).build(None).build("flow.clock", 0, 1)
    part.next_batch()
    assert timedelta(minutes=59) < part.next_awake() - datetime.now(UTC) <= timedelta(hours=1)


class Work(Job):
    """A job that does what the test wants."""

    work: Callable[..., None]
    """Called as a worker's `run`."""
    last: Callable[..., None] = lambda now, stop: None
    """Called as a worker's `finish`."""
    pause: float = 3600
    """Seconds between two runs."""

    def pause_seconds(self):
        return self.pause

    def build(self, context):
        worker = JobWorker()
        worker.run, worker.finish = self.work, self.last
        return worker


def started(job, house):
    thread = JobThread("duckdb", job, house.context)
    thread.start()
    return thread


def stop(thread):
    thread.stop(0.0)
    thread.join(0.0)


def until(condition):
    ends = time.monotonic() + WAIT
    while not condition() and time.monotonic() < ends:
        time.sleep(0.005)
    return condition()


def test_the_lake_is_written_at_the_start_and_once_more_at_a_clean_end(house, monkeypatch):
    monkeypatch.setattr(hearthwatch.flows.services, "JOBS_STOP_SECONDS_MAX", WAIT)
    check_component(DuckDB())
    for hour in range(2):
        house.see("front_door", 3600 * hour).close_events()
        thread = started(DuckDB(interval_seconds=3600), house)
        assert until(lambda: house.rows("SELECT * FROM dirty_hours") == []) and lake_differs(house) == []
        house.see("front_door", 3600 * hour + 1800).close_events()
        stop(thread)
        assert house.rows("SELECT * FROM dirty_hours") == [] and lake_differs(house) == []
        assert not thread._thread.is_alive()
    assert (house.data / "analytics.duckdb").exists()


def test_each_run_of_retention_deletes_what_is_old_by_then(house):
    node = Retention()
    check_component(node)
    assert (node.label(), Retention(gigabytes=1.5).label()) == ("30 days", "30 days, 1.5 GB")
    assert (node.pause_seconds(), Retention(interval_minutes=0.5).pause_seconds()) == (3600, 30)
    worker = node.build(house.context)
    for hour in (0, 1):
        house.see("front_door", hour * 3600, boxes=())
        worker.run(NOW - timedelta(hours=25), lambda: False)
        assert len(house.frames()) == 1
        worker.run(NOW + timedelta(hours=hour - 2), lambda: False)
        assert house.frames() == []


def test_a_job_runs_at_its_start_and_then_at_its_interval(house):
    runs = []
    began = datetime.now(UTC)
    thread = started(Work(work=lambda now, stop: runs.append(now), pause=0.1), house)
    assert until(lambda: len(runs) >= 4)
    stop(thread)
    assert began <= runs[0] and all(b - a >= timedelta(seconds=0.1) for a, b in pairwise(runs))
    runs.clear()
    thread = started(Work(work=lambda now, stop: runs.append(now)), house)
    assert until(lambda: runs)
    time.sleep(0.3)
    stop(thread)
    assert len(runs) == 1


def test_what_fails_is_logged_once_and_runs_again_before_its_interval(house, caplog, monkeypatch):
    monkeypatch.setattr(hearthwatch.flows.services, "RETRY_SECONDS", 0.01)
    runs, done = [], threading.Semaphore(0)

    def work(now, stop):
        runs.append(now)
        done.release()
        if len(runs) < 3:
            raise UserError("the disk is full")

    thread = started(Work(work=work), house)
    for _ in range(3):
        assert done.acquire(timeout=WAIT)
    stop(thread)
    assert len(runs) == 3
    assert [record.message for record in caplog.records] == ["duckdb: the disk is full; trying again until it works"]


def test_a_worker_that_could_not_be_made_is_made_again(house, caplog, monkeypatch):
    monkeypatch.setattr(hearthwatch.flows.services, "RETRY_SECONDS", 0.01)
    made, runs = [], []

    class Late(Work):
        """Made at the second attempt."""

        def build(self, context):
            made.append(context)
            if len(made) == 1:
                raise UserError("the record is locked")
            return super().build(context)

    thread = started(Late(work=lambda now, stop: runs.append(now)), house)
    assert until(lambda: runs)
    stop(thread)
    assert made == [house.context] * 2
    assert caplog.text.count("the record is locked") == 1


def test_a_stop_does_not_wait_for_what_hangs(house):
    begins, hangs = threading.Event(), threading.Event()

    def work(now, stop):
        begins.set()
        hangs.wait(WAIT)

    thread = started(Work(work=work), house)
    assert begins.wait(WAIT)
    stop(thread)
    assert thread._thread.is_alive(), "it is left alone: the process ends without it"
    hangs.set()
    thread._thread.join(WAIT)


def test_a_run_in_progress_is_asked_to_end_and_then_finishes(house):
    begins, ends = threading.Event(), []

    def work(now, stop):
        begins.set()
        ends.append(until(stop))

    thread = started(Work(work=work, last=lambda now, stop: ends.append(stop())), house)
    assert begins.wait(WAIT)
    stop(thread)
    thread._thread.join(WAIT)
    assert ends == [True, False], "the run was asked to stop, its end had time left"


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
        Sqlite(),
        given,
        seen=lambda: house.rows("SELECT recorded_at, inference_fps FROM gpu_stats"),
        context=house.context,
    )
    assert house.rows("SELECT count(*) FROM gpu_stats") == [(3,)]
    write_samples(house.record, given[:1])
    assert house.rows("SELECT count(*) FROM gpu_stats") == [(3,)]


def test_the_source_measures_on_a_thread_of_its_own(house):
    source = GpuStats(interval_seconds=0.01, device="cpu")
    part = source.build(house.context).build("flow.gpu_stats", 0, 1)
    ends = time.monotonic() + WAIT
    samples = []
    while not samples and time.monotonic() < ends:
        house.see("front_door", len(house.frames()))
        samples += part.next_batch()
    part.close()
    assert samples and samples[0].inference_fps > 0


def test_options_are_checked():
    for make in (
        lambda: Clock(interval_seconds=0),
        lambda: DuckDB(interval_seconds=0),
        lambda: Retention(days=0),
        lambda: Retention(gigabytes=0),
    ):
        with pytest.raises(ValueError, match="greater than"):
            make()
    assert Context.from_settings(Settings()).data_dir == Path("data")
