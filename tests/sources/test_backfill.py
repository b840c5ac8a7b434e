"""Promises: old pictures give the events of a live run; a backfill can be killed and goes on; live pictures go first."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hearthwatch.record import Record, RecordError, acquire_lock
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas import Context
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.schemas.path_rules import CameraPattern, PathRules
from hearthwatch.sources.backfill import (
    AHEAD_MAX,
    AHEAD_MIN,
    InboxFeeder,
    OldPicture,
    PictureSearch,
    find_unknown,
    old_capture_time,
)
from hearthwatch.sources.files import Files
from tests.support.backfills import OPTIONS, RULES, Archive, check_backfilled, command, events, finish, live, watch
from tests.support.invariants import check
from tests.support.pipeline import Pipeline, name, picture

pytestmark = pytest.mark.slow

# -- the command, with a real pipeline


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Pipeline]:
    """One whose detector takes its time with pictures that have `slow` in their path."""
    pipeline = Pipeline(tmp_path, batch=OPTIONS, options="slow_seconds = 0.03")
    yield pipeline
    pipeline.kill()


def test_old_pictures_killed_half_way_give_the_events_of_a_live_run(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, batch=OPTIONS)
    old = Archive(tmp_path / "old", 210)
    process = command(pipeline, str(old.folder))
    watch(pipeline, process).until(lambda: pipeline.states().get("settled", 0) > 30)
    process.kill()
    process.communicate()
    assert pipeline.states().get("settled", 0) < old.count
    until_free(pipeline)
    said = finish(command(pipeline, str(old.folder)))
    assert f"{old.count} pictures in" in said and " 0 of them known" not in said
    check_backfilled(pipeline, old)
    assert f"{old.count} of them known already" in finish(command(pipeline, str(old.folder)))


def until_free(pipeline: Pipeline) -> None:
    """The pipeline of a backfill that was killed ends by itself, as if it had been told to."""
    until = time.monotonic() + 20
    while True:
        try:
            return acquire_lock("see", pipeline.path, pipeline.data).release()
        except RecordError:
            assert time.monotonic() < until, "the pipeline outlives the backfill that started it"
            time.sleep(0.02)


def test_beside_a_live_pipeline_it_only_enqueues_and_live_pictures_go_first(slow: Pipeline, tmp_path: Path) -> None:
    pipeline, old = slow, Archive(tmp_path / "slow", 150)
    pipeline.upload("porch", name(1_759_000_000)).start().until(lambda: pipeline.states() == {"settled": 1})
    process = command(pipeline, str(old.folder))
    pipeline.until(lambda: pipeline.states().get("settled", 0) > 5)
    pipeline.upload("porch", name(1_760_000_000))  # into a folder that is watched already
    said = finish(process)
    assert "a pipeline is running" in said
    _, (live_id,) = pipeline.rows("SELECT id FROM frames WHERE camera_id = 'porch' ORDER BY id")
    assert live_id < 140, "it waited behind all others"
    pipeline.until_quiet(152).stop()
    assert pipeline.states() == {"settled": 152}
    record = pipeline.record
    check(record, RULES)
    reference = live(record, tmp_path / "live.db")
    assert events(record) == events(reference)


def test_a_slow_detector_has_one_batch_of_old_pictures_in_front_of_a_live_one(tmp_path: Path) -> None:
    """A batch is what is looked at in half a second: at 0.2 s a picture, two of them at most."""
    pipeline, old = Pipeline(tmp_path, batch=OPTIONS, options="slow_seconds = 0.2"), Archive(tmp_path / "slow", 24)
    pipeline.upload("porch", name(1_759_000_000)).start().until(lambda: pipeline.states() == {"settled": 1})
    process, in_front = command(pipeline, str(old.folder)), set[int]()

    def looked() -> bool:
        undecided = "SELECT count(*) FROM frames WHERE state = 'discovered' AND camera_id <> 'porch'"
        in_front.add(pipeline.rows(undecided)[0][0])
        return process.poll() is not None

    pipeline.until(looked)
    finish(process)
    pipeline.stop()
    assert pipeline.states() == {"settled": 25}
    assert in_front <= {0, 1, 2} and in_front & {1, 2}


def test_ctrl_c_ends_it_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, batch=OPTIONS, options="slow_seconds = 0.05")
    old = Archive(tmp_path / "slow", 90)
    process = command(pipeline, str(old.folder))
    watch(pipeline, process).until(lambda: pipeline.states().get("settled", 0) > 5)
    process.send_signal(signal.SIGINT)
    assert "the same command continues from here" in finish(process, 1)
    until_free(pipeline)
    assert 5 < pipeline.states()["settled"] < old.count


@pytest.mark.parametrize("wrong", ["nowhere", "homeless", "model"])
def test_mistakes_are_told_in_a_sentence(tmp_path: Path, wrong: str) -> None:
    pipeline, old = Pipeline(tmp_path), tmp_path / "old"
    if wrong != "nowhere":
        (old / "cam").mkdir(parents=True)
        ((old if wrong == "homeless" else old / "cam") / "20250601-123015.jpg").write_bytes(picture())
    environment = {"HEARTHWATCH_FLOW": "", "HEARTHWATCH_DETECTOR_MODEL": "./none"} if wrong == "model" else {}
    words = {"nowhere": "old is not a folder", "homeless": "--camera NAME", "model": "`./none` is not a folder"}
    said = finish(command(pipeline, str(old), **environment), 2)
    assert words[wrong] in said and "Traceback" not in said


# -- whose pictures, taken when


def place(folder: Path, *paths: str | bytes) -> None:
    for path in paths:
        file = os.path.join(os.fsencode(folder), os.fsencode(path))
        os.makedirs(os.path.dirname(file), exist_ok=True)
        Path(os.fsdecode(file)).write_bytes(picture())


def search(folder: Path, base: Path, camera: str | None = None) -> PictureSearch:
    return PictureSearch(folder, Files(capture_time="auto"), Context(base / "r.db", base, base, UTC), camera)


def test_the_first_folder_is_the_camera_unless_it_is_said(tmp_path: Path) -> None:
    place(
        tmp_path / "old",
        "Gate/a.jpg",
        "Gate/2025/b.PNG",
        "loose.jpg",
        "Gate/.hidden.jpg",
        "Gate/no.txt",
        b"Caf\xe9/c\\d.jpg",
    )
    (tmp_path / "old/Gate/link.jpg").symlink_to("a.jpg")
    found = search(tmp_path / "old", tmp_path / "base")
    cameras = {old.key[0].rpartition("/")[2]: old.camera for old in found}
    assert cameras == {"a.jpg": "Gate", "b.PNG": "Gate", r"c\\d.jpg": r"Caf\xe9"}
    assert [os.path.basename(path) for path in found.without_camera] == [b"loose.jpg"]
    assert {old.camera for old in search(tmp_path / "old", tmp_path / "base", "Attic")} == {"Attic"}


def test_below_the_upload_tree_a_picture_is_its_own_cameras(tmp_path: Path) -> None:
    place(tmp_path, "Gate/2025/a.jpg")
    (old,) = search(tmp_path / "Gate", tmp_path)
    assert (old.camera, old.key[0]) == ("Gate", "Gate/2025/a.jpg")


def test_the_key_is_the_one_that_the_ledger_gets(tmp_path: Path) -> None:
    from hearthwatch.sources.intake import CaptureClock, Intake

    place(tmp_path, "base/In/a.jpg", b"old/Out/\xff b\\.jpg")
    record = Record(tmp_path / "r.db")
    ledger = Ledger(record)
    base = tmp_path / "base"
    found = [*search(tmp_path / "old", base), *search(base, base)]
    InboxFeeder(record, find_unknown(ledger, found)).step()
    Intake(os.fsencode(base), ledger, CaptureClock("name")).take_inbox()
    assert find_unknown(ledger, found) == [] and len(found) == 2
    assert record.rows("SELECT count(*), sum(state = 'discovered') FROM frames") == [(2, 2)]


def test_what_is_ignored_in_the_tree_is_ignored_in_old_pictures_and_cameras_follow_the_pattern(tmp_path: Path) -> None:
    place(
        tmp_path / "old",
        "home/CAM1_1.jpg",
        "home/@eaDir/CAM1_1.jpg/thumb_1.jpg",
        "home/skip/CAM2_1.jpg",
        "home/CAM2_1.jpg",
    )
    rules = PathRules(("skip",), CameraPattern("{1}_{n1}"))
    context = Context(tmp_path / "r.db", tmp_path, tmp_path / "base", UTC, paths=rules)
    found = PictureSearch(tmp_path / "old", Files(capture_time="auto"), context, None)
    assert sorted(old.camera for old in found) == ["home_CAM1", "home_CAM2"]
    assert found.ignored == 2


@pytest.mark.slow
def test_pictures_that_tell_no_time_are_named_and_left_until_it_is_said_when_they_were_taken(tmp_path: Path) -> None:
    pipeline, old = Pipeline(tmp_path), tmp_path / "old"
    place(old, "gate/2025/06/01/123015.jpg", "gate/1.jpg")
    assert "2 pictures have no time in EXIF or name, such as" in finish(command(pipeline, str(old)), 1)
    assert taken(pipeline) == {}
    said = finish(command(pipeline, str(old), "--time-format", "%Y/%m/%d/%H%M%S"), 1)
    assert f"1 picture has no time in EXIF or name, such as {old}/gate/1.jpg: not taken in" in said
    assert taken(pipeline) == {"123015.jpg": to_microseconds(AT)}
    finish(command(pipeline, str(old), "--accept-copy-times"))
    assert len(taken(pipeline)) == 2
    assert "--time-format: `%Y` needs a year" in finish(command(pipeline, str(old), "--time-format", "%Y"), 2)


def taken(pipeline: Pipeline) -> dict[str, int]:
    rows = Record(pipeline.path).rows("SELECT path, captured_at FROM frames")
    return {path.rpartition("/")[2]: at for path, at in rows}


AT = datetime(2025, 6, 1, 12, 30, 15, tzinfo=UTC)
COPIED = 1_760_000_000 * 10**9


@pytest.mark.parametrize(
    ("path", "mode", "expected"),
    [
        (
            "20250601_123015.jpg",
            "auto",
            to_microseconds(AT),
        ),  # copied months later: `auto` for uploads would not believe it
        ("20990601_123015.jpg", "auto", COPIED // 1000),  # taken after its file was written: no
        ("snap.jpg", "auto", COPIED // 1000),
        ("20250601_123015.jpg", "mtime", COPIED // 1000),
        ("20990601_123015.jpg", "name", to_microseconds(AT.replace(year=2099))),  # as the setting says
    ],
)
def test_names_are_believed_however_old(path: str, mode: Any, expected: int) -> None:
    assert old_capture_time(path, COPIED, b"", mode, ZoneInfo("UTC")).at == expected


# -- never many at a time


def old_pictures(count: int) -> list[OldPicture]:
    return [OldPicture(n, (f"/old/gate/{n}.jpg", 1, 1), f"/old/gate/{n}.jpg", "gate") for n in range(count)]


def decide(record: Record, count: int) -> None:
    """A pipeline's work: take the inbox in, decide the first few."""
    ledger = Ledger(record)
    inbox = ledger.inbox(9999)
    found = [FoundFile("gate", "gate", upload.path, 1, 1, 1, 1) for _, upload in inbox]
    ledger.discover(found, 1, [id for id, _ in inbox])
    ids = [(entry.frame.id,) for entry in ledger.todo(0, count)]

    def settle() -> None:
        record.count(settled=record.many("UPDATE frames SET state = 'settled' WHERE id = ?", ids), discovered=-len(ids))

    record.transact(settle)


def test_there_is_never_more_under_way_than_the_pipeline_decides_in_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, clock = Record(tmp_path / "r.db"), [0.0]
    monkeypatch.setattr("hearthwatch.sources.backfill.time.monotonic", lambda: clock[0])
    feeder, most = InboxFeeder(record, old_pictures(1500)), 0
    while not feeder.is_finished:
        feeder.step()
        (waiting,) = record.one("SELECT count(*) FROM inbox")
        under_way = waiting + record.counters()["discovered"]
        assert under_way <= feeder.undecided_max <= AHEAD_MAX
        most = max(most, under_way)
        clock[0] += 0.1
        decide(record, 20)  # 200 a second
    assert AHEAD_MIN * 10 < most <= 200
    assert record.counters()["settled"] == 1500


def test_a_backlog_of_live_pictures_goes_first(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.db")
    Ledger(record).discover([FoundFile("porch", "porch", f"porch/{n}.jpg", 1, 1, 1, 1) for n in range(50)], 1)
    feeder = InboxFeeder(record, old_pictures(10))
    feeder.step()
    assert record.one("SELECT count(*) FROM inbox") == (0,)
    decide(record, 50)
    feeder.step()
    assert record.one("SELECT count(*) FROM inbox") == (AHEAD_MIN,)


def test_what_changes_before_it_is_taken_in_is_not_waited_for(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.db")
    feeder = InboxFeeder(record, old_pictures(2))
    feeder.step()
    record.execute("UPDATE inbox SET path = '/old/gate/other.jpg' WHERE id = 1")
    decide(record, 9)
    feeder.step()
    assert feeder.is_finished and feeder.vanished == 1
