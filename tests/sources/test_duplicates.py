"""Promise: a picture is its content. Moved, copied or uploaded again it is settled as a duplicate; each restart decides alike.

By sequences of what people and machines do to a tree, against the definition of CONTRACT §10, written independently; and through a
real pipeline.
"""

import itertools
import os
import re
import shutil
import tempfile
from collections import deque
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hearthwatch.gpu.decode import open_picture
from hearthwatch.record import Record, cameras
from hearthwatch.record.batching import Batching
from hearthwatch.record.copies import find_file, find_original
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.read import verify
from hearthwatch.record.retention.delete import Deleter
from hearthwatch.record.retention.policy import RetentionPolicy
from hearthwatch.schemas import DeadLetter, Detected, Detection, Frame, Tick
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.sources.duplicates import DuplicateFinder
from hearthwatch.stages.rules import RulesJudge
from tests.support.invariants import check_record
from tests.support.memory_record import MemoryRecord
from tests.support.pipeline import Ended, Nursery, Pipeline, picture

OLD = 1_700_000_000
PERSON = (Detection("person", 0.9, (1, 2, 3, 4)),)


class Model:
    """A tree, its ledger, and a source and a batching that may die at any moment; with what each row has to become."""

    def __init__(self, base: Path) -> None:
        self.base, self.record, self.clock = base, MemoryRecord(), OLD
        self.ledger, self.fails = Ledger(self.record), False
        self.rows: dict[int, tuple[str, str | None, str]] = {}
        """Each decided frame: camera, content, and `settled`, `quarantined` or `duplicate of N`."""
        self.restart()

    def restart(self) -> None:
        self.finder, self.batching = DuplicateFinder(self.record, self.base), Batching(self.record, RulesJudge)
        self.fetched, self.ready, self.emitted = 0, deque(), deque()

    # -- the tree

    def files(self) -> list[Path]:
        return sorted(path for path in self.base.rglob("*.jpg"))

    def upload(self, camera: str, name: str, content: str) -> None:
        self.clock += 1
        path = self.base / camera / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(content))
        self.discover(path, fresh=True)

    def put(self, number: int, camera: str, name: str, how: str) -> None:
        """Move or copy one of the files, or delete it."""
        if files := self.files():
            path = files[number % len(files)]
            target = self.base / camera / "archive" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if how == "delete":
                path.unlink()
            elif path != target:
                shutil.move(path, target) if how == "move" else shutil.copy2(path, target)
                self.discover(target)

    def discover(self, path: Path, fresh: bool = False) -> None:
        if fresh:
            os.utime(path, (self.clock, self.clock))
        found, relative = path.stat(), path.relative_to(self.base)
        camera, at = relative.parts[0], found.st_mtime_ns // 1000
        self.ledger.discover(
            [FoundFile(camera, camera, str(relative), found.st_mtime_ns, found.st_size, at, at)], self.clock * 10**6
        )

    # -- the source and the batching

    def emit(self) -> None:
        for entry in self.ledger.todo(self.fetched, 3):
            self.ready.append((entry, open_picture(self.base / entry.frame.path, entry.size)))
            self.fetched = entry.frame.id
        for entry, opened in self.finder.take(self.ready, 3):
            content = opened.data[6:7].decode() if opened.data else None
            expected = "settled" if content else "quarantined"
            if content and entry.attempt == 1:
                expected = self.repeats(entry.frame.camera_id, content) or expected
            assert (opened.error and opened.error.reason) == expected or not expected.startswith("duplicate")
            assert not (opened.error and opened.error.stage == "duplicate") or expected.startswith("duplicate")
            assert content not in [c for _, c, e in self.emitted if e == "settled"], "its original is not decided"
            f = entry.frame
            frame = Frame(f.id, f.uid, f.camera_id, f.path, f.captured_at, f.arrived_at, opened=opened)
            self.emitted.append((frame, content, expected))

    def repeats(self, camera: str, content: str) -> str | None:
        """The definition."""
        same = {id: row for id, row in self.rows.items() if row[1] == content and row[2] != "quarantined"}
        mine = [id for id, row in same.items() if row[0] == camera]
        paths = dict(self.record.rows("SELECT id, path || ' ' || mtime_ns FROM frames"))
        there = {f"{path.relative_to(self.base)} {path.stat().st_mtime_ns}" for path in self.files()}
        moved = [] if any(paths[id] in there for id in same) else list(same)
        newest = max(mine or moved, default=None)
        if newest is None:
            return None
        return same[newest][2] if same[newest][2] != "settled" else f"duplicate of {newest}"

    def decide(self) -> None:
        if self.emitted:
            frame, content, expected = self.emitted.popleft()
            error = frame.opened.error or (DeadLetter("detect", "it fails") if self.fails else None)
            self.batching.write([Detected(frame, 8, 8, () if error else PERSON, error)])
            result = "quarantined" if self.fails and expected == "settled" else expected
            self.rows[frame.id] = frame.camera_id, content, result

    def retry(self, number: int) -> None:
        if bad := self.record.rows("SELECT id FROM frames WHERE state = 'quarantined' ORDER BY id"):
            self.ledger.retry(bad[number % len(bad)][0], self.clock * 10**6)

    def finish(self) -> None:
        self.fails = False
        while self.record.counters()["discovered"]:
            self.emit()
            self.decide()
        sql = "SELECT id, iif(error_stage = 'duplicate', error, state) FROM frames ORDER BY id"
        assert self.record.rows(sql) == [(id, row[2]) for id, row in sorted(self.rows.items())]
        check_record(self.record)
        assert list(verify.rows(self.record)) == []


CAMERAS, NAMES = st.sampled_from("AB"), st.sampled_from(["1.jpg", "2.jpg"])
STEPS = st.one_of(
    st.tuples(st.just("upload"), CAMERAS, NAMES, st.sampled_from("xyz")),
    st.tuples(st.just("put"), st.integers(0, 9), CAMERAS, NAMES, st.sampled_from(["move", "copy", "delete"])),
    st.tuples(st.just("retry"), st.integers(0, 9)),
    *(st.tuples(st.just(name)) for name in ("emit", "emit", "decide", "decide", "restart", "toggle")),
)


FIRST = ("upload", "A", "1.jpg", "x"), ("emit",), ("decide",)


@settings(max_examples=80)
@given(st.lists(STEPS, max_size=40))
@example([("toggle",), *FIRST, ("toggle",), ("upload", "A", "2.jpg", "x"), ("emit",), ("decide",), ("retry", 0)])
def test_any_sequence_of_uploads_moves_copies_failures_and_restarts_is_as_defined(steps):
    with tempfile.TemporaryDirectory() as folder:
        model = Model(Path(folder))
        for step, *arguments in steps:
            if step == "toggle":
                model.fails = not model.fails
            else:
                getattr(model, step)(*arguments)
        model.finish()


def test_retention_that_deletes_the_first_row_leaves_a_copy_that_knows_the_picture(tmp_path):
    model = Model(tmp_path)
    model.upload("A", "1.jpg", "x")
    model.finish()
    model.put(0, "A", "1.jpg", "move")
    model.finish()
    model.batching.write([Tick(from_microseconds((OLD + 10**6) * 10**6))])
    deleter = Deleter(model.record, tmp_path / "data", model.base, RetentionPolicy())
    deleter.delete(2)
    assert model.record.rows("SELECT id, error FROM frames") == [(2, "duplicate of 1")]
    found = find_original(model.record, model.base, "A", open_picture(model.files()[0]).content_hash)
    assert (found.id, find_file(model.record, model.base, 2).path) == (2, "A/archive/1.jpg")
    deleter.delete(3)
    assert model.record.rows("SELECT id, pruned FROM frames") == [(2, 2)], "its upload is there"
    model.put(0, "B", "2.jpg", "move")
    model.rows = {2: ("A", "x", "settled")}
    model.emit()
    assert [frame.opened.error.reason for frame, _, _ in model.emitted] == ["duplicate of 2"]


# -- through a real pipeline


@pytest.fixture
def pipeline(tmp_path):
    pipeline = Pipeline(tmp_path, files="sweep_seconds = 0.2\nsettle_seconds = 0.3", options="boxes = 1")
    yield pipeline
    pipeline.kill()


def outcomes(pipeline):
    """Path → what became of each row of it, by id."""
    out = {}
    for path, state, error, event in pipeline.rows("SELECT path, state, error, event_id FROM frames ORDER BY id"):
        out.setdefault(path, []).append(error or ("event" if event else state))
    return out


def decided(pipeline, count):
    return pipeline.until(lambda: pipeline.states() == {"settled": count})


@pytest.mark.slow
def test_moved_renamed_copied_and_uploaded_again_it_is_the_same_picture(pipeline):
    base = pipeline.base
    for n in range(6):
        pipeline.upload("front", f"{n}.jpg", picture(f"{n}"), mtime=OLD + n)
    decided(pipeline.start(), 6)
    pipeline.until(lambda: pipeline.rows("SELECT count(*) FROM events WHERE status = 'open'") == [(0,)])
    review = Record(pipeline.path)
    review.transact(lambda: review.execute("UPDATE events SET reviewed = 1"))
    review.close()
    events = pipeline.rows("SELECT id, reviewed, revision, frame_count FROM events")
    again = [f"duplicate of {n}" for n in range(1, 7)]

    archive = base / "front/archive/2026-11-27"
    archive.mkdir(parents=True)
    for n in range(6):
        (base / f"front/{n}.jpg").rename(archive / f"{n}.jpg")
    decided(pipeline, 12)
    (line,) = [line for line in pipeline.said().splitlines() if "the same picture" in line]  # and not six
    first = re.search(
        r"(\d).jpg is the same picture as (\d) of Tuesday 14 November 2023, 22:13 \(front/(\d).jpg\)", line
    )
    assert first and first[1] == first[3] == str(int(first[2]) - 1)
    pipeline.stop()
    (base / "front").rename(base / "entrance")  # while nothing runs: another camera's name
    decided(pipeline.start(), 18)
    shutil.copytree(base / "entrance/archive", pipeline.folder / "copy")
    (pipeline.folder / "copy").rename(base / "entrance/copy")
    decided(pipeline, 24)
    pipeline.upload("entrance", "0.jpg", picture("0"), mtime=OLD + 10**6)  # uploaded again after a reboot
    decided(pipeline, 25).stop()

    found = outcomes(pipeline)
    assert [found.pop(f"front/{n}.jpg") for n in range(6)] == [["event"]] * 6
    for folder in ("front/archive/2026-11-27", "entrance/archive/2026-11-27", "entrance/copy/2026-11-27"):
        assert [found.pop(f"{folder}/{n}.jpg") for n in range(6)] == [[error] for error in again]
    assert found == {"entrance/0.jpg": ["duplicate of 1"]}
    assert pipeline.rows("SELECT id, reviewed, revision, frame_count FROM events") == events
    assert pipeline.rows("SELECT count(*) FROM detections") == [(6,)]


@pytest.mark.slow
def test_the_same_bytes_of_two_cameras_are_two_pictures_while_both_files_are_there(pipeline):
    for camera in ("front", "back"):
        pipeline.upload(camera, "a.jpg", picture("video loss"), mtime=OLD)
    decided(pipeline.start(), 2)
    (pipeline.base / "front/a.jpg").unlink()
    pipeline.upload("drive", "b.jpg", picture("video loss"), mtime=OLD)
    decided(pipeline, 3)
    (pipeline.base / "back/a.jpg").unlink()
    (pipeline.base / "drive/b.jpg").unlink()
    pipeline.upload("porch", "c.jpg", picture("video loss"), mtime=OLD)
    decided(pipeline, 4).stop()
    assert outcomes(pipeline) == {
        "front/a.jpg": ["event"], "back/a.jpg": ["event"], "drive/b.jpg": ["event"], "porch/c.jpg": ["duplicate of 3"],
    }  # fmt: skip


@pytest.mark.slow
def test_a_renamed_folder_that_was_merged_delivers_to_the_camera_that_it_was(pipeline):
    pipeline.upload("front", "a.jpg", mtime=OLD)
    decided(pipeline.start(), 1)
    (pipeline.base / "front").rename(pipeline.base / "New Gate")
    decided(pipeline, 2)
    record = Record(pipeline.path)
    assert cameras.merge_camera(record, "new_gate", "front")
    pipeline.upload("New Gate", "b.jpg", mtime=OLD + 5)
    decided(pipeline, 3).stop()
    decided(pipeline.upload("New Gate", "c.jpg", mtime=OLD + 9).start(), 4).stop()
    assert record.rows("SELECT DISTINCT camera_id FROM frames") == [("front",)]
    assert record.rows("SELECT id, folder_path FROM cameras") == [("front", "front")]
    assert outcomes(pipeline) == {
        "front/a.jpg": ["event"], "New Gate/a.jpg": ["duplicate of 1"], "New Gate/b.jpg": ["event"], "New Gate/c.jpg": ["event"],
    }  # fmt: skip
    assert list(verify.rows(record)) == []
    record.close()


@pytest.mark.slow
def test_a_copy_in_flight_takes_the_place_of_an_original_that_failed(pipeline):
    same = picture("the same")
    pipeline.upload("front", "1-raise.jpg", same, mtime=OLD)
    for n in range(2, 5):
        pipeline.upload("front", f"{n}.jpg", same, mtime=OLD + n)
    pipeline.start().until(lambda: pipeline.states() == {"quarantined": 1, "settled": 3}).stop()
    found = outcomes(pipeline)
    assert found.pop("front/1-raise.jpg")[0].endswith("no detector likes this one")
    assert found == {"front/2.jpg": ["event"], **{f"front/{n}.jpg": ["duplicate of 2"] for n in (3, 4)}}


@pytest.mark.slow
def test_death_at_any_commit_among_copies_decides_alike(tmp_path):
    """Copies of a picture whose detection fails, and of one whose detection does not."""
    expected = {"front/1.jpg": ["event"], "front/2.jpg": ["event"]}
    expected |= {f"front/{n}.jpg": [f"duplicate of {2 + (n % 2 == 0)}"] for n in range(3, 8)}
    with Nursery() as nursery:
        for died in itertools.count(1):
            p = Pipeline(tmp_path / str(died), options="boxes = 1", files="batch_max = 3", nursery=nursery)
            for n in range(8):
                p.upload("front", f"{n}{'-raise' * (n == 0)}.jpg", picture("ab"[n % 2]), mtime=OLD + n)
            try:
                code = p.start(DIE_AT=f"after:{died}").until_quiet().signal(15).wait()
            except Ended:
                code = p.wait()
            if code:
                assert code == 9, p.said()
                p.start().until_quiet().stop()
            found = outcomes(p)
            assert found.pop("front/0-raise.jpg")[0].endswith("no detector likes this one")
            assert found == expected, f"died at commit {died}"
            if not code:
                assert died > 8
                return
