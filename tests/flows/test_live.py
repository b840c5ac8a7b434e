"""Promise: what is uploaded is decided, whatever starts, stops and dies meanwhile. The real flow, as a process."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.support.invariants import check
from tests.support.pipeline import Nursery, Pipeline, name

pytestmark = pytest.mark.slow

T = 1_700_000_000


@pytest.fixture
def pipeline(tmp_path):
    """Makes pipelines below `tmp_path`; none outlives its test."""
    made = []

    def make(folder="", **options):
        made.append(Pipeline(tmp_path / folder, **options))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


LANES = {"detector": "tests.support.lane_detector:LaneDetector", "options": "lanes = 3\nseconds = 0.004"}
"""Three detectors on threads apart, with other batches each."""


def old(pipeline, count, cameras=4, start=0, tag=""):
    """Pictures from long ago, a second apart, cameras in turn."""
    for i in range(start, start + count):
        pipeline.upload(f"cam{i % cameras}", name(T + i, f"{i}{tag}"), mtime=T + i)
    return pipeline


def test_two_thousand_pictures_at_once_are_all_settled(pipeline):
    p = pipeline().start()
    now = time.time()
    for i in range(2000):
        p.upload(f"camera {i % 8}", name(now, str(i)), how=("move", "write")[i % 2])
    p.until(lambda: p.states() == {"settled": 2000}).stop()
    check(p.record)
    assert p.record.one("SELECT count(*), count(DISTINCT path), count(DISTINCT camera_id) FROM frames") == (
        2000,
        2000,
        8,
    )


def test_what_came_while_nothing_ran_is_taken_in_by_order_of_arrival(pipeline):
    p = old(pipeline(), 30).run()
    old(p, 30, start=30).start().until(lambda: p.states() == {"settled": 60}).stop()
    arrivals = p.rows("SELECT mtime_ns FROM frames ORDER BY id")
    assert arrivals == sorted(arrivals)
    check(p.record)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("resume", [False, True])
def test_a_stop_is_clean_and_quick_and_nothing_is_lost(pipeline, resume, number):
    p = old(pipeline(options="slow_seconds = 0.02"), 100, tag="slow").start(resume=resume)
    p.until(lambda: p.states().get("settled", 0) > 3)
    assert p.signal(number).wait() == 0, p.said()
    assert p.states()["settled"] < 100, "this was no stop under load"
    p.run(resume=resume)
    assert p.states() == {"settled": 100}
    check(p.record)


def test_a_second_pipeline_is_refused_in_plain_words(pipeline):
    first, second = pipeline(), pipeline()
    old(first, 1).start().until_quiet(1)
    assert second.start().wait() == 2
    assert f"(pid {first.pid})" in second.said() and "Traceback" not in second.said()
    first.stop()


def test_a_recovery_store_of_another_record_is_refused_in_plain_words(pipeline):
    p = old(pipeline(), 5).run(resume=True)
    shutil.rmtree(p.data)
    assert p.start(resume=True).wait() == 2
    assert str(p.path) in p.said() and "Traceback" not in p.said() and "panicked" not in p.said()


@pytest.mark.parametrize("store", ["empty folder", "missing folder"])
def test_a_recovery_store_that_nobody_made_is_explained(pipeline, store):
    p = pipeline()
    if store == "empty folder":
        p.store.mkdir()
    assert p.start(resume=True, make_store=False).wait() == 2
    assert "python -m bytewax.recovery DIR 1" in p.said() and "Traceback" not in p.said()


@pytest.mark.parametrize("detector", [{}, LANES], ids=["", "lanes"])
def test_after_a_resume_an_own_sink_has_had_everything_at_least_once(pipeline, nursery, tmp_path, detector):
    """The process ends right after commits: what was committed there has not reached the sinks yet."""
    seen, events = tmp_path / "seen", tmp_path / "events"
    sinks = f'[seen]\nuse = "tests.support.own_sink:Lines"\nfrom = "detect"\npath = "{seen}"\n'
    sinks += f'[events]\nuse = "tests.support.own_sink:Lines"\nfrom = "batch"\npath = "{events}"\n'
    p = old(pipeline(more=sinks, files="batch_max = 3", nursery=nursery, **detector), 200)
    for commit in (8, 9, 12, 17, 20):
        assert p.start(resume=True, snapshot_seconds=0, DIE_AT=f"after:{commit}").wait() == 9, p.said()
    p.run(resume=True)
    assert p.states() == {"settled": 200}
    assert set(seen.read_text().split()) == {Path(path).name for (path,) in p.rows("SELECT path FROM frames")}
    told = {
        f"{event}.{revision}" for event, revision in p.rows("SELECT event_id, revision FROM feed WHERE kind = 'event'")
    }
    assert set(events.read_text().split()) == told
    check(p.record)


@pytest.mark.parametrize("commit", [5, 6, 7, 8])
def test_a_death_before_the_first_snapshot_loses_nothing_for_an_own_sink(pipeline, nursery, tmp_path, commit):
    """Without a snapshot a resumed run looks like a first one, and what was committed had not reached the sinks."""
    seen, events = tmp_path / "seen", tmp_path / "events"
    sinks = f'[seen]\nuse = "tests.support.own_sink:Lines"\nfrom = "detect"\npath = "{seen}"\n'
    sinks += f'[events]\nuse = "tests.support.own_sink:Lines"\nfrom = "batch"\npath = "{events}"\n'
    p = old(pipeline(more=sinks, files="batch_max = 3", nursery=nursery), 40)
    for _ in range(2):
        assert p.start(resume=True, DIE_AT=f"after:{commit}").wait() == 9, p.said()
    p.run(resume=True)
    assert set(seen.read_text().split()) == {Path(path).name for (path,) in p.rows("SELECT path FROM frames")}
    revisions = {
        f"{event}.{revision}" for event, revision in p.rows("SELECT event_id, revision FROM feed WHERE kind = 'event'")
    }
    assert set(events.read_text().split()) == revisions
    p.run(resume=True)
    assert p.rows("SELECT * FROM meta WHERE key LIKE 'resume.%'") == [], "a start with a snapshot removes the note"


@pytest.mark.parametrize("detector", [{}, LANES], ids=["", "lanes"])
def test_a_picture_that_kills_the_process_is_found_and_quarantined(pipeline, nursery, detector):
    p = old(pipeline(nursery=nursery, **detector), 10)
    p.upload("cam0", name(T + 4.5, "abort"), mtime=T + 4.5)
    deaths = 0
    while deaths < 15:
        try:
            p.start().until_quiet()
            break
        except AssertionError:
            assert p.wait() == -signal.SIGABRT, p.said()
            deaths += 1
    p.stop()
    assert deaths > 1, "once may be anything"
    assert p.states() == {"settled": 10, "quarantined": 1}
    ((path, reason),) = p.rows("SELECT path, error FROM frames WHERE state = 'quarantined'")
    assert "abort" in path and "the process ended" in reason
    check(p.record)


def test_a_stop_while_the_model_is_loaded_is_clean_too(pipeline, tmp_path):
    gate = tmp_path / "gate"
    p = old(pipeline(options=f'gate = "{gate}"'), 3).start().until(lambda: gate.with_suffix(".reached").exists())
    p.signal(signal.SIGTERM)
    gate.touch()
    assert p.wait() == 0, p.said()
    assert "settled" not in p.states(), "it went on"
    p.run()
    assert p.states() == {"settled": 3}


def test_who_was_only_near_when_the_model_failed_to_load_is_innocent(pipeline, nursery, tmp_path):
    gate = tmp_path / "gate"
    p = old(pipeline(options=f'gate = "{gate}"', nursery=nursery), 3)
    waits = gate.with_suffix(".reached")
    for _ in range(8):
        p.start().until(waits.exists).kill()
        waits.unlink()
    gate.touch()
    p.run()
    assert p.states() == {"settled": 3}


@pytest.mark.skipif("HEARTHWATCH_TEST_PHOTOS" not in os.environ, reason="HEARTHWATCH_TEST_PHOTOS names no folder")
def test_five_photographs_are_settled_once_each_with_the_right_camera(pipeline):
    """Three camera folders; one comes while nothing runs, one by rename, one is half written for a while."""
    folder = Path(os.environ["HEARTHWATCH_TEST_PHOTOS"])
    photos = [file.read_bytes() for file in sorted(folder.rglob("*.jp*g"))[:5]]
    assert len(photos) == 5, f"{folder} holds fewer than five photographs"
    p = pipeline(HEARTHWATCH_CAPTURE_TIME="auto")
    p.upload("Front Door", "a.jpg", photos[0], how="write")
    p.start().until(lambda: p.states() == {"settled": 1})
    p.upload("Garage", "b.jpg", photos[1], how="move").upload("garden-gate", "c.jpeg", photos[2], how="write")
    half = p.base / "Garage" / "d.jpg"
    with half.open("wb") as file:
        file.write(photos[3][: len(photos[3]) // 2])
        file.flush()
        p.upload("Front Door", "e.JPG", photos[4], how="write").until(lambda: p.states() == {"settled": 4})
        file.write(photos[3][len(photos[3]) // 2 :])
    p.until(lambda: p.states() == {"settled": 5}).stop()
    assert p.rows("SELECT path, camera_id FROM frames ORDER BY path") == [
        ("Front Door/a.jpg", "front_door"), ("Front Door/e.JPG", "front_door"), ("Garage/b.jpg", "garage"),
        ("Garage/d.jpg", "garage"), ("garden-gate/c.jpeg", "garden_gate"),
    ]  # fmt: skip
    check(p.record)
