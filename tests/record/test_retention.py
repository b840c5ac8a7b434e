"""Promises: what is too old or too much is forgotten, whole events at a time, and nothing else; a kill at any step leaves
a record that is whole and a run that can be finished; what is still uploaded is not taken in again."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import hearthwatch.record.retention.delete
import hearthwatch.record.retention.policy
import hearthwatch.record.retention.run
import hearthwatch.record.retention.sweep
from hearthwatch.record import RecordError
from hearthwatch.record.feed import Feed
from hearthwatch.record.feedback import list_answers, revoke, write_answer
from hearthwatch.record.gpu_samples import GpuSample, write_samples
from hearthwatch.record.ledger import FoundFile
from hearthwatch.record.lock import wait_for_lock
from hearthwatch.record.read.verify import rows
from tests.support.data_dir import DAY, START, House, S, every_kill, in_memory, lake_differs
from tests.support.invariants import check_conservation

ROOT = Path(__file__).parents[2]
LATER = START + 31 * DAY


@pytest.fixture
def tmp_path(monkeypatch):
    with in_memory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.close()


def month(house):
    """Old: two events, one of them high and unreviewed, an empty picture and a bad one. New: one event, one empty picture."""
    house.see("front_door", 0, 5).see("garden", 100, 105).see("front_door", 300, boxes=()).spoil("garden", 400)
    house.close_events()
    house.set([1], risk_level="low", risk_score=10).set([3], risk_level="high", risk_score=70)
    new = 40 * DAY // S
    house.see("front_door", new, new + 5, discovered=START + 40 * DAY).see(
        "garden", new + 50, boxes=(), discovered=START + 40 * DAY
    )
    return house.close_events(10**7).set([7], risk_level="low", risk_score=10)


def run(house, at=LATER, **rules):
    outcome = house.keeper(**rules).run(at)
    check_conservation(house.record)
    return outcome


def test_what_is_older_is_forgotten_and_the_rest_stays(house):
    outcome = run(month(house))
    assert house.frames() == [3, 4, 7, 8, 9]
    assert (outcome.deleted.events, outcome.deleted.frames, outcome.deleted.thumbnails) == (1, 4, 2)
    assert house.rows("SELECT id FROM events") == [(3,), (7,)]
    assert house.rows("SELECT DISTINCT frame_id FROM detections") == [(3,), (4,), (7,), (8,)]
    assert house.rows("SELECT DISTINCT event_id FROM event_history") == [(3,), (7,)]
    assert [f.split("/")[-1] for f in house.files("data/thumbnails/**/*.jpg")] == [
        f"{i}_thumb.jpg" for i in (3, 4, 7, 8)
    ]


def test_the_day_counts_from_discovery(house):
    house.see("front_door", 0, discovered=START + 5 * DAY).close_events().set([1], risk_level="low")
    run(house, START + 34 * DAY)
    assert house.frames() == [1], "an old picture that was taken in late"
    run(house, START + 36 * DAY)
    assert house.frames() == []


@pytest.mark.parametrize(
    ("columns", "goes"),
    [
        ({"risk_level": "critical"}, False),
        ({"risk_level": "high"}, False),
        ({"risk_level": "high", "reviewed": 1}, True),
        ({"risk_level": "medium"}, True),
        ({"risk_level": "low", "status": "open"}, False),
        ({"risk_level": "low", "analysis_status": "pending"}, True),
    ],
)
def test_an_event_goes_only_if_nobody_has_to_look_at_it(house, columns, goes):
    house.see("front_door", 0, 5).close_events().set([1], **columns)
    run(house)
    assert (house.frames() == []) == goes
    run(house, unreviewed=True)
    assert (house.frames() == []) == (columns.get("status") != "open")


def test_a_picture_that_waits_is_not_forgotten(house):
    house.ledger.discover([FoundFile("garden", "garden", "garden/1.jpg", 1, 1, START, START)], START)
    run(house)
    assert house.rows("SELECT state, pruned FROM frames") == [("discovered", 0)]


def test_an_event_that_lasts_over_the_border_stays_whole(house):
    house.see("front_door", 0).see("front_door", 5, discovered=START + 20 * DAY).close_events().set(
        [1], risk_level="low"
    )
    run(house)
    assert house.frames() == [1, 2]


def test_what_is_still_uploaded_is_not_taken_in_again(house):
    month(house)
    keys = house.rows("SELECT path, mtime_ns, size FROM frames WHERE id <= 6")
    run(house)
    assert house.ledger.find_known(keys) == set(keys)
    assert house.rows("SELECT id, pruned FROM frames WHERE pruned") == [(i, 2) for i in (1, 2, 5, 6)]
    assert len(house.files("uploads/**/*.jpg")) == 9, "uploads are never touched"
    (house.base / house.rows("SELECT path FROM frames WHERE id = 2")[0][0]).unlink()
    run(house)
    assert house.rows("SELECT id FROM frames WHERE pruned") == [(1,), (5,), (6,)], (
        "its upload is gone, so its row is not needed"
    )


def test_a_disk_that_is_not_mounted_is_not_an_upload_that_is_gone(house):
    month(house)
    house.base.rename(house.folder / "elsewhere")
    house.base.mkdir()
    run(house)
    assert house.rows("SELECT count(*) FROM frames") == [(9,)]


def test_uploads_go_too_if_told_to(house):
    month(house)
    outcome = run(house, originals=True)
    assert outcome.deleted.uploads == 4
    assert house.rows("SELECT id FROM frames") == [(i,) for i in (3, 4, 7, 8, 9)]
    assert len(house.files("uploads/**/*.jpg")) == 5
    assert house.record.counters() == {"discovered": 0, "settled": 5, "quarantined": 0, "detections": 8, "events": 2}


def test_an_upload_that_was_replaced_is_another_picture(house):
    house.see("front_door", 0).close_events().set([1], risk_level="low")
    (upload,) = house.base.glob("*/*")
    upload.write_bytes(b"another picture")
    run(house, originals=True)
    assert upload.read_bytes() == b"another picture"
    assert house.rows("SELECT count(*) FROM frames") == [(0,)]


def test_an_upload_that_a_retry_was_made_from_stays(house):
    house.spoil("front_door", 0)
    again = house.ledger.retry(1, START + 40 * DAY)
    run(house, originals=True)
    assert house.rows("SELECT id, pruned FROM frames") == [(1, 2), (again, 0)]
    assert len(house.files("uploads/**/*.jpg")) == 1


def test_an_upload_that_cannot_be_deleted_is_told_and_kept_in_the_ledger(house, monkeypatch):
    month(house)
    real = Path.unlink

    def refuse(path, *args, **options):
        if "uploads" in path.parts:
            raise PermissionError(13, "Permission denied")
        real(path, *args, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    outcome = run(house, originals=True)
    assert "Permission denied" in outcome.problems()[0]
    assert house.rows("SELECT id FROM frames WHERE pruned = 2") == [(i,) for i in (1, 2, 5, 6)]


def test_the_arrival_clock_never_goes_back(house):
    """Also if the newest row went: what is stamped earlier than a tick could end up in a closed event."""
    house.see("front_door", 0).close_events(50).set([1], risk_level="low")
    run(house, originals=True)
    assert house.rows("SELECT count(*) FROM frames") == [(0,)]
    house.open()
    house.see("garden", -500)
    assert house.rows("SELECT arrived_at >= ? FROM frames", START) == [(1,)]


def test_the_feed_ends_where_it_ended(house):
    """A relay that finds an older feed than it knows starts anew; and no message is left of what is forgotten."""
    month(house)
    last = Feed(house.record).last()
    run(house, LATER + 100 * DAY, unreviewed=True)
    assert house.rows("SELECT * FROM feed") == [] and Feed(house.record).last() == last > 0
    house.see("garden", 200 * 86400)
    assert house.rows("SELECT seq FROM feed") == [(last + 1,)]
    assert list(rows(house.record)) == []


def test_samples_go_with_time(house):
    write_samples(house.record, [GpuSample(START, 1, 1, 1, 1, 1), GpuSample(LATER, 1, 1, 1, 1, 1)])
    run(house)
    assert house.rows("SELECT recorded_at FROM gpu_stats") == [(LATER,)]


@pytest.mark.slow
def test_a_data_dir_that_is_too_large_loses_the_oldest(house):
    house.see("front_door", *range(0, 60_000, 200)).close_events().set(range(1000), risk_level="low")
    keeper = house.export().keeper(bytes_max=1)
    full = keeper.size()
    limit = round(full * 0.8)
    outcome = run(house, START, bytes_max=limit)
    assert keeper.size() <= limit
    kept = house.frames()
    assert 0 < len(kept) < 300
    assert kept == list(range(kept[0], 301)), "the oldest go first"
    assert (outcome.over, lake_differs(house)) == (0, [])


def test_a_limit_that_cannot_be_kept_is_told(house):
    outcome = run(month(house), bytes_max=1000)
    assert house.frames() == [3, 4]
    assert "1 high or critical events wait for review" in outcome.problems()[0]


def test_a_run_that_does_not_come_to_the_end_says_so_and_blames_nobody(house, monkeypatch):
    house.see("front_door", *range(0, 60_000, 200)).close_events().set(range(1000), risk_level="low")
    monkeypatch.setattr(hearthwatch.record.retention.run, "ROUNDS_MAX", 1)
    monkeypatch.setattr(
        hearthwatch.record.retention.run.RetentionRun, "bytes_each", lambda keeper: 1e9
    )  # as when pictures come meanwhile
    (trouble,) = run(house, START, bytes_max=1000).problems()
    assert 0 < len(house.frames()) < 300
    assert trouble.endswith("over its limit: more came in the meantime than was deleted; the next run continues")


def test_a_dry_run_says_what_and_why_and_does_nothing(house):
    month(house).export()
    before = house.files(), house.rows("SELECT * FROM frames"), house.rows("SELECT * FROM counters")
    old, large = house.keeper(bytes_max=1000).plan(LATER)
    assert (old.events, old.frames, old.reason) == (1, 4, "discovered more than 30 days ago")
    assert (large.events, large.frames) == (1, 3)
    assert large.reason == "the oldest of the rest, to come below 1e-06 GB"
    assert before == (house.files(), house.rows("SELECT * FROM frames"), house.rows("SELECT * FROM counters"))


def prune(house, *args, **environment):
    environment |= {"HEARTHWATCH_DATA_DIR": str(house.data), "FOSCAM_BASE_PATH": str(house.base)}
    command = [sys.executable, "-m", "hearthwatch.cli", "prune", *args]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.slow
def test_hearthwatch_prune_brings_the_lake_along(house):
    past = (time.time_ns() // 1000 - START) // S - 90 * 86_400
    house.see("front_door", past, discovered=START + past * S).close_events(past + 1000).set(
        [1], risk_level="low"
    ).export()
    told = prune(house, "--dry-run")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("1 event, 1 picture, about ")
    assert "discovered more than 30 days ago\nuploads would stay\n" in told.stdout
    assert house.frames() == [1]
    done = prune(house, HEARTHWATCH_RETENTION_ORIGINALS="true")
    assert (done.returncode, done.stdout) == (0, "1 event, 1 picture, 1 thumbnail and 1 upload deleted\n")
    assert house.rows("SELECT count(*) FROM frames") == [(0,)]
    assert lake_differs(house) == [] and house.rows("SELECT * FROM dirty_hours") == []


def test_an_answer_outlives_its_event_while_it_counts_for_any_that_is_left(house):
    month(house)  # of the front door: event 1, old, and 7, forty days later
    answered = [(1, "fine", 1), (1, "right", 2), (3, "fine", 3)]
    for event, answer, day in answered:
        write_answer(house.record, event, answer, START + day * DAY)
    house.set([3], reviewed=0)  # high: it is kept

    def left(day):
        run(house, START + day * DAY)
        house.export()
        assert lake_differs(house) == []
        return house.rows("SELECT event_id, answer FROM feedback ORDER BY id")

    assert left(29) == [(1, "fine"), (1, "right"), (3, "fine")], "their events are there"
    assert left(31) == [(1, "right"), (3, "fine")], "the first was replaced before any event that is left"
    for row in list_answers(house.record, START + 50 * DAY):
        revoke(house.record, row["id"], START + 50 * DAY)
    assert left(60) == [(1, "right"), (3, "fine")], "event 7 was judged by one of them, event 3 is there"
    assert left(75) == [(3, "fine")]
    house.set([3], reviewed=1)
    assert left(76) == []


def test_an_answer_whose_event_is_deleted_counts_until_it_expires(house):
    month(house)
    write_answer(house.record, 1, "fine", START + DAY)
    for day, count in ((75, 1), (90, 1), (91, 0)):
        run(house, START + day * DAY)
        assert house.rows("SELECT count(*) FROM feedback") == [(count,)], day


@pytest.mark.slow
@pytest.mark.parametrize("originals", [False, True])
def test_a_run_killed_at_any_step_is_finished_by_the_next(tmp_path, monkeypatch, originals):
    """At each commit and file operation: nothing half forgotten, nothing gone that should stay, the same end."""
    month(House(tmp_path / "template")).export().close()
    whole = House(shutil.copytree(tmp_path / "template", tmp_path / "whole"))
    run(whole, originals=originals)
    states = "SELECT id, state, event_id, pruned, thumbnail_path FROM frames"
    expected, files = whole.rows(states), whole.files("[du]*/[tcfg]*/**/*.jpg")
    whole.close()

    def prepare(at):
        return House(shutil.copytree(tmp_path / "template", tmp_path / "house"))

    def check(house, at):
        check_conservation(house.record)
        assert {3, 4, 7, 8, 9} <= set(house.frames()), at
        assert set(files) <= set(house.files("[du]*/[tcfg]*/**/*.jpg")), at
        run(house, originals=originals)
        house.export()
        assert (house.rows(states), house.files("[du]*/[tcfg]*/**/*.jpg")) == (expected, files), at
        assert lake_differs(house) == [], at
        shutil.rmtree(house.folder)

    with monkeypatch.context() as patch:
        patch.setattr(hearthwatch.record.retention.delete, "FRAMES_AT_ONCE", 2)
        patch.setattr(hearthwatch.record.retention.policy, "ROWS_AT_ONCE", 2)
        patch.setattr(hearthwatch.record.retention.delete, "PAUSE_SHARE", 0)
        assert every_kill(patch, prepare, lambda h: h.keeper(originals=originals).run(LATER), check) > 8


def test_thumbnails_that_belong_to_nothing_go_and_missing_ones_are_drawn(house, monkeypatch):
    monkeypatch.setattr(hearthwatch.record.retention.sweep, "YOUNG_SECONDS", -60.0)
    house.see("front_door", 0, 5).close_events()
    day = house.data / "thumbnails/2026-11-22"
    (day / "99_thumb.jpg").write_bytes(b"of nothing")
    (day / ".1_thumb.jpg.77.77").write_bytes(b"a write that was killed")
    (house.data / "thumbnails/2020-01-01").mkdir()
    (day / "2_thumb.jpg").unlink()
    outcome = run(house, START)
    assert (outcome.orphans, outcome.drawn) == (2, 1)
    assert house.files("data/thumbnails/**/*") == [f"data/thumbnails/2026-11-22/{i}_thumb.jpg" for i in (1, 2)]
    assert not (house.data / "thumbnails/2020-01-01").exists()


def test_a_thumbnail_whose_frame_is_not_decided_yet_stays(house):
    house.see("front_door", 0)
    house.ledger.discover([FoundFile("garden", "garden", "garden/1.jpg", 1, 1, START, START)], START)
    young = house.data / "thumbnails/2026-11-22/2_thumb.jpg"
    young.write_bytes(b"drawn before its frame is decided")
    assert run(house, START).orphans == 0
    assert young.exists()


def test_one_at_a_time(house):
    with (
        wait_for_lock("keep", house.path, house.data),
        pytest.raises(RecordError, match=str(os.getpid())),
        wait_for_lock("keep", house.path, house.data, 0.05),
    ):
        pass
