"""Promises of kept originals: an event's evidence outlives its uploads, another picture is never shown as it, a kill leaves
nothing half kept, and retention takes the originals with their event."""

import io
import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hearthwatch.cli.why import pictures as lines_of_pictures
from hearthwatch.gpu.decode import open_picture
from hearthwatch.record.pictures import content_of, keep_event, kept_path, originals, read_original
from hearthwatch.record.read.lineage import read_lineage
from hearthwatch.record.read.verify import pictures as verify_pictures
from hearthwatch.schemas import Detected, Detection
from hearthwatch.schemas.context import RECENT_BYTES_MAX, RecentPictures
from hearthwatch.schemas.items import PER_FRAME
from hearthwatch.sinks.kept_pictures import PictureKeeper
from tests.support.data_dir import DAY, START, House, S, every_kill, in_memory
from tests.support.pipeline import Pipeline, picture

BOX = (Detection("person", 0.9, (1, 2, 30, 20)),)


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


def jpeg(shade):
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, 90, 120)).save(out, "JPEG", comment=f"shade {shade}")
    return out.getvalue()


def see(house, *shades, camera="door", name="{}.jpg"):
    """Pictures as the pipeline sees them: content and all. Without `{}` in its name one is written over the other."""
    from hearthwatch.record.ledger import FoundFile

    for shade in shades:
        path, at = f"{camera}/{name.format(shade)}", START + shade * S
        file = house.base / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(jpeg(shade))
        os.utime(file, ns=(at * 1000, at * 1000))
        house.ledger.discover([FoundFile(camera, camera, path, at * 1000, file.stat().st_size, at, at)], at)
        frame = replace(house.ledger.todo(0, 1)[0].frame, opened=open_picture(file))
        house.context.recent.add(frame.id, frame.opened.data)
        house.batching.write([Detected(frame, 64, 48, BOX, None, model="m")])
    return house


def keep(house, which="evidence", recent=lambda frame: None, event=1):
    keep_event(house.record, house.base, house.data, event, which, recent)


def kept(house):
    """Frame -> bytes of each kept original, and whatever else lies there by name."""
    files = [p for p in (house.data / "pictures").rglob("*") if p.is_file()]
    return {int(p.stem) if p.stem.isdigit() else p.name: p.read_bytes() for p in files}


def test_the_evidence_outlives_its_uploads_and_is_what_was_uploaded(house):
    see(house, 0, 5, 10, 15, 20).close_events()
    house.set([1], evidence=json.dumps([3 * PER_FRAME, 4 * PER_FRAME, 5 * PER_FRAME]))
    keep(house)
    shutil.rmtree(house.base)
    assert kept(house) == {3: jpeg(10), 4: jpeg(15), 5: jpeg(20)}
    assert read_original(house.record, house.base, house.data, 4) == jpeg(15)
    assert read_original(house.record, house.base, house.data, 1) is None
    assert list(verify_pictures(house.record, house.data)) == []


def test_a_camera_that_writes_one_name_again_and_again_keeps_each_picture(house):
    """Its file is another picture by the time that the verdict is known; memory has the one that was processed."""
    see(house, 0, 5, 10, name="snapshot.jpg").close_events()
    keep(house)
    assert kept(house) == {3: jpeg(10)}, "what is on the disk is the last one only, and is not taken for the others"
    keep(house, recent=house.context.recent.get)
    assert kept(house) == {1: jpeg(0), 2: jpeg(5), 3: jpeg(10)}
    (house.base / "door/snapshot.jpg").write_bytes(jpeg(99))
    assert [read_original(house.record, house.base, house.data, i) for i in (1, 2, 3)] == [jpeg(0), jpeg(5), jpeg(10)]


def test_what_is_not_cited_goes_once_the_verdict_is_final(house):
    see(house, 0, 5, 10, 15)
    keep(house, "all")
    house.set([1], evidence="[512]")
    keep(house)
    assert set(kept(house)) == {1, 2, 3, 4}, "the event is open: any of them may be cited again"
    house.close_events().set([1], evidence="[512]", analysis_status="disabled")
    keep(house)
    assert set(kept(house)) == {1}
    keep(house, "all")
    assert set(kept(house)) == {1, 2, 3, 4}


def test_a_picture_from_outside_the_tree_is_found_and_kept(house):
    outside = house.folder / "archive" / "old.jpg"
    outside.parent.mkdir()
    see(house, 7).close_events()
    shutil.move(house.base / "door/7.jpg", outside)
    house.record.execute("UPDATE frames SET path = ?", str(outside))
    assert read_original(house.record, house.base, house.data, 1) == jpeg(7)
    keep(house)
    outside.unlink()
    assert read_original(house.record, house.base, house.data, 1) == jpeg(7)


def test_pictures_in_memory_are_bounded():
    recent = RecentPictures()
    for frame in range(40):
        recent.add(frame, bytes(RECENT_BYTES_MAX // 10))
    recent.add(39, b"again")
    assert [frame for frame in range(40) if recent.get(frame) is not None] == [*range(30, 40)]
    assert recent.get(39) == b"again"


STATES = st.sampled_from(["whole", "another", "torn", "gone"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=st.tuples(STATES, STATES, STATES), hashed=st.booleans())
def test_the_first_whole_file_is_the_original_and_no_other_file_ever_is(tmp_path, states, hashed):
    """As uploaded, then where the same bytes came again, then as kept."""
    with in_memory() as folder:
        house = see(House(folder), 3)
        see(house, 4).close_events()
        row = house.record.one("SELECT size, content_hash FROM frames WHERE id = 1")
        house.record.execute("UPDATE frames SET size = ?, content_hash = ? WHERE id = 2", *row)
        if not hashed:
            house.record.execute("UPDATE frames SET content_hash = NULL")
        files = [
            house.base / "door/3.jpg",
            house.base / "door/4.jpg",
            house.data / kept_path(1, START + 3 * S, "3.jpg"),
        ]
        files[2].parent.mkdir(parents=True, exist_ok=True)
        for file, state in zip(files, states, strict=True):
            file.write_bytes({"whole": jpeg(3), "another": jpeg(8), "torn": jpeg(3)[:-9], "gone": b""}[state])
            at = START + (3 if state == "whole" else 9) * S
            os.utime(file, ns=(at * 1000, at * 1000))
            if state == "gone":
                file.unlink()
        found = [o.path for o in originals(house.record, house.base, house.data, 1) if o.read() is not None]
        candidates = files if hashed else [files[0], files[2]]  # without a hash another row is not known to be the same
        right = [f for f, state in zip(files, states, strict=True) if state == "whole" and f in candidates]
        if hashed:
            assert found == right
            assert read_original(house.record, house.base, house.data, 1) == (jpeg(3) if right else None)
        else:  # of a record that knew no hashes: time and size are all there is
            assert [f for f in found if f == files[0]] == [f for f in right if f == files[0]]
        house.close()


def test_a_kill_anywhere_leaves_whole_originals_and_the_next_start_has_all(tmp_path, monkeypatch):
    see(House(tmp_path / "template"), 0, 5, 10).close_events().close()

    def prepare(at):
        return House(shutil.copytree(tmp_path / "template", tmp_path / "house"))

    def check(house, at):
        names = [n for n in kept(house) if isinstance(n, int)]
        assert all(content_of(kept(house)[n]) == content_of(jpeg(5 * (n - 1))) for n in names), at
        keep(house)
        assert set(kept(house)) == {1, 2, 3}, at
        for part in (house.data / "pictures").rglob(".*"):
            os.utime(part, (1, 1))
        assert house.keeper().run(START).orphans == 0, at
        shutil.rmtree(house.folder)

    assert every_kill(monkeypatch, prepare, keep, check) >= 6


def test_retention_takes_them_with_their_event_and_counts_them(house):
    see(house, 0, 5).close_events().set([1], risk_level="low", risk_score=10, analysis_status="disabled")
    keep(house)
    size = sum(map(len, kept(house).values()))
    (plan, *_) = house.keeper().plan(START + 31 * DAY)
    assert plan.bytes >= size
    stray = house.data / "pictures/2026-11-22" / "77.jpg"
    stray.write_bytes(b"x")
    assert [line.partition(" belongs")[0] for line in verify_pictures(house.record, house.data)] == [str(stray)]
    outcome = house.keeper().run(START + 31 * DAY)
    assert (outcome.deleted.pictures, outcome.orphans, kept(house)) == (2, 1, {})
    assert "2 kept originals deleted" in str(outcome)


def test_verify_finds_a_torn_original_and_why_says_where_one_is_kept(house):
    see(house, 0, 5).close_events()
    keep(house)
    there = house.data / kept_path(2, START + 5 * S, "5.jpg")
    story = read_lineage(house.record, 1)
    assert f"    its original is kept: {there}, 1 kB" in list(lines_of_pictures(story, None, {}, {2: there}))
    there.write_bytes(there.read_bytes()[:-1] + b"x")
    assert list(verify_pictures(house.record, house.data)) == [
        f"{there} is not the picture that was uploaded: delete it"
    ]


def test_what_was_kept_of_a_record_that_was_put_back_goes_at_the_start(house):
    see(house, 1)
    keep(house)
    mine = next((house.data / "pictures").rglob("*.jpg"))
    left = mine.with_name("41.jpg")
    left.write_bytes(jpeg(9))
    assert any("41.jpg belongs to no event" in line for line in verify_pictures(house.record, house.data))
    keeper = PictureKeeper(house.context)
    keeper.open()
    keeper.close()
    assert mine.exists() and not left.exists() and not list(verify_pictures(house.record, house.data))


def test_the_keeper_does_what_the_setting_says_for_each_event_of_its_messages(house):
    from hearthwatch.record.feed import Feed

    see(house, 0, 5, 10, 15).close_events().set([1], evidence="[512, 1024]")
    for which, count in (("evidence", 2), ("all", 4)):
        keeper = PictureKeeper(replace(house.context, keep_pictures=which))
        keeper.open()
        keeper.deliver([m for m in Feed(house.record).after(0, 99) if hasattr(m, "event")])
        keeper.close()
        assert len(kept(house)) == count


@pytest.mark.slow
@pytest.mark.parametrize("which", ["evidence", "none"])
def test_a_pipeline_keeps_what_a_camera_overwrites_at_once(tmp_path, which):
    """One name for all pictures, each replaced as soon as it was taken in, and at the end deleted."""
    p = Pipeline(tmp_path, options="boxes = 1", HEARTHWATCH_KEEP_PICTURES=which).start()
    try:
        for n in range(4):
            p.upload("front", "snapshot.jpg", picture(f"state {n}"))
            p.until(lambda n=n: p.states() == {"settled": n + 1})
        (p.base / "front/snapshot.jpg").unlink()
        sql = "SELECT DISTINCT value / 512 FROM events, json_each(evidence)"
        cited = {frame for (frame,) in p.rows(sql)}
        files = p.data / "pictures"
        p.until(lambda: which == "none" or {int(f.stem) for f in files.rglob("[!.]*.jpg")} >= cited).stop()
        contents = dict(p.rows("SELECT id, content_hash FROM frames"))
        found = {int(f.stem): content_of(f.read_bytes()) for f in files.rglob("*.jpg")}
        assert found == ({} if which == "none" else {frame: contents[frame] for frame in cited}) and cited
    finally:
        p.kill()
