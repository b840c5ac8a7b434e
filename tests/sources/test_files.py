"""The files source in a real pipeline: what CONTRACT §3 says of every kind of upload, and what a stop or a crash leaves.

The null detector looks at no pixels, so these tests are about files, the ledger and the order of things.
"""

import os
import shutil
import signal
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from hearthwatch.gpu.decode import VANISHED
from hearthwatch.record import Record, RecordError
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas import Context, Frame
from hearthwatch.schemas.settings import load
from hearthwatch.sources import files
from hearthwatch.sources.files import Files
from hearthwatch.sources.inflight import IN_FLIGHT_MAX, BatchSizeController, FramesInFlight
from hearthwatch.sources.prefetch import Prefetcher
from hearthwatch.sources.tree import File
from tests.support.pipeline import Ended, Pipeline, name, picture

QUICK = "sweep_seconds = 0.2\nsettle_seconds = 0.3\nstill_seconds = 0.6"
OLD = 1_700_000_000


@pytest.fixture
def pipeline(tmp_path):
    pipeline = Pipeline(tmp_path, files=QUICK)
    yield pipeline
    pipeline.kill()


def decided(pipeline) -> dict[str, tuple]:
    """path -> (camera, state, reason) of every frame; all attempts and contents of a path in order of id."""
    out: dict[str, tuple] = {}
    for path, *rest in pipeline.rows("SELECT path, camera_id, state, error FROM frames ORDER BY id"):
        out[path] = (*out.get(path, ()), tuple(rest))
    return out


def settled(camera, reason=None):
    return (camera, "settled", reason)


# -- uploads


@pytest.mark.slow
def test_every_kind_of_upload_ends_as_the_contract_says(pipeline):
    base = pipeline.base
    pipeline.upload("Front Door", "while-nothing-ran.jpg", mtime=OLD)
    pipeline.start().until(lambda: pipeline.states() == {"settled": 1})

    pipeline.upload("Front Door", "renamed.jpg", how="move")
    pipeline.upload("Front Door", "written.jpg", how="write")
    slow = (base / "Front Door" / "slow.JPEG").open("wb")
    slow.write(picture("slow")[:100])
    slow.flush()
    pipeline.upload("New Camera", "2026/11/22/first.jpg", how="write")
    pipeline.upload("New Camera", "empty.jpg", b"", how="write")
    pipeline.upload("New Camera", "truncated.jpg", picture("t" * 300)[:200], how="write")
    pipeline.upload("New Camera", "text.jpg", b"hello", how="write")
    pipeline.upload("New Camera", "notes.txt", b"hello", how="write")
    os.mkfifo(base / "New Camera" / "fifo.jpg")
    (pipeline.folder / "secret.jpg").write_bytes(picture("secret"))
    (base / "New Camera" / "link.jpg").symlink_to(pipeline.folder / "secret.jpg")
    odd = os.fsencode(base) + b"/New Camera/caf\xe9\n.jpg"
    Path(os.fsdecode(odd)).write_bytes(picture("odd"))
    pipeline.upload("", "stray.jpg", picture("stray"))
    pipeline.upload("front_door", "other-folder.jpg", picture("other"))
    pipeline.until(lambda: len(decided(pipeline)) == 10)
    slow.write(picture("slow")[100:])
    slow.close()
    pipeline.until(lambda: sum(pipeline.states().values()) == 11 and "discovered" not in pipeline.states())
    pipeline.upload("Front Door", "renamed.jpg", picture("new content"))
    pipeline.until(lambda: pipeline.states() == {"settled": 7, "quarantined": 5}).stop()

    found = decided(pipeline)
    reasons = {path: rows[0][2] for path, rows in found.items() if rows[0][1] == "quarantined"}
    assert {path: rows for path, rows in found.items() if path not in reasons} == {
        "Front Door/while-nothing-ran.jpg": (settled("front_door"),),
        "Front Door/renamed.jpg": (settled("front_door"), settled("front_door")),
        "Front Door/written.jpg": (settled("front_door"),),
        "Front Door/slow.JPEG": (settled("front_door"),),
        "New Camera/2026/11/22/first.jpg": (settled("new_camera"),),
        r"New Camera/caf\xe9\x0a.jpg": (settled("new_camera"),),
    }
    assert reasons.pop("front_door/other-folder.jpg").startswith("`front_door` has the same camera id as `Front Door`")
    assert reasons.pop("stray.jpg") == "not in a camera folder"
    assert reasons.pop("New Camera/empty.jpg") == "empty file"
    assert reasons.pop("New Camera/text.jpg").startswith("not a picture")
    assert reasons.pop("New Camera/truncated.jpg")
    assert not reasons
    assert "Traceback" not in pipeline.said()


@pytest.mark.slow
def test_identical_pictures_are_looked_at_once_per_camera_whatever_the_restarts(pipeline):
    same = picture("the same")
    for n in range(10):
        pipeline.upload("front", f"{n}.jpg", same, mtime=OLD + n)
        pipeline.upload("back", f"{n}.jpg", same, mtime=OLD + n)
    pipeline.upload("front", "much later.jpg", same, mtime=OLD + 1_000_000)
    for _ in range(2):
        pipeline.start().until(lambda: pipeline.states().get("settled")).kill()
    pipeline.start().until(lambda: pipeline.states() == {"settled": 21}).stop()
    ids = {path: i for i, path in pipeline.rows("SELECT id, path FROM frames")}
    expected = {f"{camera}/{n}.jpg": f"{camera}/0.jpg" for camera in ("front", "back") for n in range(1, 10)}
    expected["front/much later.jpg"] = "front/0.jpg"
    errors = dict(pipeline.rows("SELECT path, error FROM frames WHERE error IS NOT NULL"))
    assert errors == {path: f"duplicate of {ids[first]}" for path, first in expected.items()}
    repeated = "SELECT count(*) FROM detections d JOIN frames f ON f.id = d.frame_id WHERE f.error IS NOT NULL"
    assert pipeline.rows(repeated) == [(0,)]


@pytest.mark.slow
def test_a_retry_of_a_quarantined_picture_is_a_new_frame_and_no_duplicate(pipeline):
    pipeline.upload("front", "later-whole.jpg", b"", mtime=OLD).start()
    pipeline.until(lambda: pipeline.states() == {"quarantined": 1})
    with_retry = Record(pipeline.path)
    Ledger(with_retry).retry(1, time.time_ns() // 1000)
    with_retry.close()
    pipeline.until(lambda: pipeline.states() == {"quarantined": 2}).stop()
    assert pipeline.rows("SELECT attempt FROM frames ORDER BY id") == [(1,), (2,)]


@pytest.mark.slow
def test_a_picture_that_vanishes_before_its_turn_is_quarantined(pipeline):
    pipeline.upload("front", "a.jpg", mtime=OLD).upload("front", "b.jpg", mtime=OLD + 1)
    ledger = Record(pipeline.path)
    Ledger(ledger).discover([FoundFile("front", "front", "front/gone.jpg", 1, 1, 1, 1)], 2)
    ledger.close()
    pipeline.start().until(lambda: pipeline.states() == {"settled": 2, "quarantined": 1}).stop()
    assert decided(pipeline)["front/gone.jpg"][0][2].startswith("vanished")


# -- order, ticks, ends


@pytest.mark.slow
def test_a_snapshot_that_is_overwritten_while_the_detector_is_slow_is_seen_each_time(tmp_path):
    """Cameras that always write the same name: bytes are read when they arrive, long before their turn."""
    gate = tmp_path / "gate"
    p = Pipeline(tmp_path, options=f'gate = "{gate}"').start()
    try:
        p.until(gate.with_suffix(".reached").exists)
        for n in range(24):
            p.upload("front", "snapshot.jpg", picture(f"state {n}"))
            p.until(lambda n=n: p.states() == {"discovered": n + 1})
        gate.touch()
        p.until(lambda: p.states() == {"settled": 24}).stop()
        assert p.rows("SELECT count(DISTINCT content_hash), count(error) FROM frames") == [(24, 0)]
    finally:
        p.kill()


@pytest.mark.parametrize("first", ["replaced", "deleted"])
def test_an_upload_that_a_newer_one_replaced_before_it_was_read_is_no_error(tmp_path, first):
    """Taken in while nothing reads: at the next start it is not there any more, but a newer one is."""
    p = Pipeline(tmp_path)
    ledger = Ledger(Record(_made(p.path)))
    (p.base / "front").mkdir()
    ledger.discover([FoundFile("front", "front", "front/snapshot.jpg", 7, 11, 10**9, 10**9)], 10**9)
    p.upload("front", "snapshot.jpg", picture("newer"))
    if first == "deleted":
        ledger.discover([found_file(p, "snapshot.jpg")], 2 * 10**9)
        (p.base / "front/snapshot.jpg").unlink()
    ledger.record.close()
    p.start().until(lambda: p.states() in ({"settled": 2}, {"settled": 1, "quarantined": 1})).stop()
    ((state, stage, reason), second) = p.rows("SELECT state, error_stage, error FROM frames ORDER BY id")
    assert (state, stage) == ("settled", "superseded") and "superseded by a newer upload" in reason
    assert second == (("settled", None, None) if first == "replaced" else ("quarantined", "decode", VANISHED))


def _made(path):
    path.parent.mkdir(parents=True)
    return path


def found_file(p, name):
    seen = (p.base / "front" / name).stat()
    return FoundFile("front", "front", f"front/{name}", seen.st_mtime_ns, seen.st_size, 2 * 10**9, 2 * 10**9)


def test_frames_come_in_order_of_arrival_and_events_close_by_ticks(pipeline, tmp_path):
    for n in (4, 2, 3, 1):
        pipeline.upload(f"cam{n}", name(OLD + n), mtime=OLD + n)
    pipeline.run()
    assert pipeline.rows("SELECT camera_id FROM frames ORDER BY id") == [(f"cam{n}",) for n in (1, 2, 3, 4)]
    assert set(pipeline.rows("SELECT status FROM events")) <= {("closed",)}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "resume"), [(signal.SIGTERM, True), (signal.SIGINT, False)], ids=["TERM -r", "INT"])
def test_a_stop_ends_soon_with_exit_code_0_and_leaves_the_rest_for_the_next_start(tmp_path, request, number, resume):
    pipeline = Pipeline(tmp_path, files=QUICK, options="slow_seconds = 0.1")
    request.addfinalizer(pipeline.kill)
    for n in range(100):
        pipeline.upload("front", f"slow{n}.jpg", mtime=OLD + n)
    pipeline.start(resume).until(lambda: pipeline.states().get("settled", 0) > 2)
    began = time.monotonic()
    code = pipeline.signal(number).wait()
    assert code == 0, pipeline.said()
    assert time.monotonic() - began < 5
    assert pipeline.states()["settled"] < 100, "it went on"
    shutil.rmtree(pipeline.base / "front")  # what is left vanishes: decided at once
    pipeline.upload("another camera", "last.jpg", mtime=OLD)
    last = "SELECT count(*) FROM frames WHERE state = 'settled' AND path LIKE '%last.jpg'"
    pipeline.start(resume).until(lambda: pipeline.rows(last) == [(1,)]).stop()
    assert "discovered" not in pipeline.states()


@pytest.mark.slow
def test_a_snapshot_of_another_record_is_refused_in_words(pipeline):
    pipeline.upload("front", "a.jpg", mtime=OLD).start(resume=True)
    pipeline.until(lambda: pipeline.states() == {"settled": 1}).stop()
    pipeline.path.unlink()
    for part in ("-wal", "-shm"):
        pipeline.path.with_name(pipeline.path.name + part).unlink(missing_ok=True)
    assert pipeline.start(resume=True).wait() == 2
    assert "the recovery store belongs to record" in pipeline.said()
    assert "run without `-r`" in pipeline.said()
    assert "Traceback" not in pipeline.said()


@pytest.mark.slow
def test_a_second_pipeline_is_refused_and_told_who_is_there(pipeline):
    pipeline.upload("front", "a.jpg", mtime=OLD).start().until(lambda: pipeline.states() == {"settled": 1})
    with pytest.raises(RecordError, match=f"pid {pipeline.pid}"):
        Files().build(Context(pipeline.path, pipeline.data, pipeline.base)).build_part("s", "p", None)
    pipeline.stop()


@pytest.mark.slow
def test_a_picture_that_ends_the_process_is_found_and_quarantined(tmp_path):
    pipeline = Pipeline(tmp_path, files=QUICK)
    for n in range(12):
        pipeline.upload("front", f"{n:02}{'-abort' if n == 7 else ''}.jpg", mtime=OLD + n)
    whole = {"settled": 11, "quarantined": 1}
    for crashes in range(9):  # two to come close, one to single it out, five to be sure
        pipeline.start()
        try:
            pipeline.until(lambda: pipeline.states() == whole).stop()
            break
        except Ended:
            assert pipeline.wait() == -signal.SIGABRT, f"start {crashes}: {pipeline.said()}"
    assert pipeline.states() == whole
    assert decided(pipeline)["front/07-abort.jpg"] == (
        ("front", "quarantined", "the process ended 5 times with this picture in flight"),
    )


# -- the pieces


def ledger_of(tmp_path, count):
    ledger = Ledger(Record(tmp_path / "r.db"))
    ledger.discover([FoundFile("c", "c", f"c/{n}.jpg", n, 1, n, n) for n in range(1, count + 1)], count + 1)
    return ledger


def decide(ledger, *ids):
    ledger.record.many("UPDATE frames SET state = 'settled' WHERE id = ?", [(i,) for i in ids])


def test_hands_are_full_at_once_unless_a_start_was_lost(tmp_path):
    ledger = ledger_of(tmp_path, 40)
    in_flight, entries = FramesInFlight(ledger), ledger.todo(0, 40)
    assert in_flight.room(0) == 1
    in_flight.note_start(entries[0])
    assert in_flight.room(1) == IN_FLIGHT_MAX - 1
    ledger.record.close()


def test_after_a_lost_start_hands_fill_step_by_step(tmp_path, caplog):
    ledger = ledger_of(tmp_path, 40)
    ledger.count_start(1)
    in_flight, sizes, at = FramesInFlight(ledger), [], 0
    while at < 40:
        sizes.append(room := in_flight.room(0))
        handful = ledger.todo(at, room)
        in_flight.note_start(handful[0])
        assert in_flight.room(len(handful)) == 0
        in_flight.add(entry.frame.id for entry in handful)
        assert in_flight.room(0) == 0, "nothing more before they are decided"
        decide(ledger, *(entry.frame.id for entry in handful))
        at = handful[-1].frame.id
    assert sizes == [1, 2, 4, 8, 16, 32]
    starts = dict(ledger.record.rows("SELECT id, starts FROM frames WHERE starts > 0"))
    assert starts == {1: 2, 2: 1, 4: 1, 8: 1, 16: 1, 32: 1}
    ledger.record.close()


def test_hands_hold_no_more_than_their_bound(tmp_path):
    ledger = ledger_of(tmp_path, 2)
    in_flight = FramesInFlight(ledger)
    in_flight.room(0)
    in_flight.note_start(ledger.todo(0, 1)[0])
    in_flight.add(range(1, IN_FLIGHT_MAX + 1))
    assert in_flight.room(0) == 0
    decide(ledger, 1)
    assert in_flight.room(0) == 1
    ledger.record.close()


def test_a_batch_is_as_large_as_the_graph_is_fast():
    batch_size, sizes = BatchSizeController(64), []
    for _ in range(8):
        sizes.append(batch_size.limit)
        batch_size.add(batch_size.limit)
        batch_size.note(0, 0)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 64]
    batch_size.add(128)
    batch_size._since -= 6.4  # a tenth of a second each
    batch_size.note(64, 0)
    assert batch_size.limit in (4, 5)
    batch_size.note(64, 3)  # none was decided; three at a time, and the next one ready
    assert batch_size.portion == 4


@pytest.mark.slow
def test_no_tick_passes_a_picture_that_is_still_decoded(tmp_path, monkeypatch):
    """A tick says up to when everything is there; events close by it."""
    base, data = tmp_path / "uploads", tmp_path / "data"
    (base / "c").mkdir(parents=True)
    Image.effect_noise((4000, 3000), 99).save(base / "c" / "large.jpg")  # some 0.1 s
    monkeypatch.setattr(files, "TICK_SECONDS", 0)
    options = Files(capture_time="mtime", settle_seconds=0.1)
    part = options.build(Context(data / "r.db", data, base)).build_part("files", "files", None)
    items, until = [], time.monotonic() + 60
    with closing(part):
        while not any(isinstance(item, Frame) for item in items):
            assert time.monotonic() < until, "the picture never came"
            items += part.next_batch()
    *ticks, frame, _ = items
    assert ticks and all(tick.now <= frame.arrived_at or "c" in tick.behind for tick in ticks)


def test_settings_say_what_a_camera_is_what_is_no_upload_and_when_a_picture_was_taken(tmp_path):
    base = tmp_path / "uploads"
    for path in ("home/front/27.11.26/201030.jpg", "home/front/lapse/1.jpg"):
        (base / path).parent.mkdir(parents=True)
        (base / path).write_bytes(picture(path))
    given = {
        "FOSCAM_BASE_PATH": str(base), "HEARTHWATCH_DATA_DIR": str(tmp_path / "data"), "HEARTHWATCH_TIMEZONE": "UTC",
        "HEARTHWATCH_CAMERA": "{1}/{2}", "HEARTHWATCH_IGNORE": "lapse", "HEARTHWATCH_TIME_FORMAT": "home front=%d.%m.%y/%H%M%S",
    }  # fmt: skip
    options = Files(capture_time="name", settle_seconds=0.1)
    part = options.build(Context.from_settings(load(None, given))).build_part("files", "files", None)
    items, until = [], time.monotonic() + 60
    with closing(part):
        while not items:
            assert time.monotonic() < until, "the picture never came"
            items += [item for item in part.next_batch() if isinstance(item, Frame)]
    assert [(frame.camera_id, frame.path) for frame in items] == [("home_front", "home/front/27.11.26/201030.jpg")]
    assert items[0].captured_at == datetime(2026, 11, 27, 20, 10, 30, tzinfo=UTC)


def decoded(prefetcher):
    """What is there in front, or nothing after the next picture is decoded."""
    if not (out := prefetcher.take(7)):
        assert prefetcher.wake.wait(10)
        prefetcher.wake.clear()
    return out


def test_pictures_come_out_in_the_order_they_went_in(tmp_path):
    ledger = ledger_of(tmp_path, 30)
    (tmp_path / "c").mkdir()
    for n in range(1, 31):
        (tmp_path / "c" / f"{n}.jpg").write_bytes(picture(str(n) * (1 if n % 2 else 20_000)))
    prefetcher, out = Prefetcher(os.fsencode(tmp_path), 4), []
    for entry in ledger.todo(0, 30):
        prefetcher.put(entry, decode=entry.frame.id != 5)
    while prefetcher:
        out += decoded(prefetcher)
    prefetcher.close()
    assert [entry.frame.id for entry, _ in out] == list(range(1, 31))
    assert [opened is None for _, opened in out] == [i == 5 for i in range(1, 31)]
    ledger.record.close()


def test_what_is_reported_while_nothing_waits_is_decoded_before_it_has_its_row(tmp_path):
    ledger = ledger_of(tmp_path, 3)
    (tmp_path / "c").mkdir()
    for n in (1, 2, 3):
        (tmp_path / "c" / f"{n}.jpg").write_bytes(picture(str(n)))
    first, second, third = (entry._replace(size=len(picture(str(n)))) for n, entry in enumerate(ledger.todo(0, 3), 1))
    file = {e.frame.id: File(e.mtime_ns, os.fsencode(e.frame.path), e.size) for e in (first, second, third)}
    with closing(Prefetcher(os.fsencode(tmp_path), 1)) as prefetcher:
        prefetcher.decode_early([file[1], file[2]])  # more than there are threads: in their turn
        prefetcher.decode_early([file[1]])
        with prefetcher._early[file[1]].busy:  # until it is decoded
            assert not prefetcher.wake.is_set(), "there is no row to take yet"
        prefetcher.decode_early([file[2]])  # one is early already
        (tmp_path / "c/1.jpg").unlink()
        (tmp_path / "c/2.jpg").unlink()
        prefetcher.put(first)
        ((entry, opened),) = prefetcher.take(7)
        assert entry == first and opened.error is None and opened.width
        prefetcher.put(second)
        while prefetcher:
            for _, opened in decoded(prefetcher):
                assert opened.error.reason == VANISHED
        prefetcher.decode_early([file[3]])
        prefetcher.forget_early()  # its row was there before
        (tmp_path / "c/3.jpg").unlink()
        prefetcher.put(third)
        while prefetcher:
            for _, opened in decoded(prefetcher):
                assert opened.error.reason == VANISHED
    ledger.record.close()


@pytest.mark.parametrize("unmounted", [False, True])
def test_pictures_of_a_tree_that_is_away_did_not_vanish_and_wait_for_it(tmp_path, monkeypatch, unmounted):
    monkeypatch.setattr("hearthwatch.sources.prefetch.MISSING_SECONDS", 0.01)
    ledger, base, away = ledger_of(tmp_path, 3), tmp_path / "base", tmp_path / "away"
    (away / "c").mkdir(parents=True)
    for n in (1, 3):
        (away / "c" / f"{n}.jpg").write_bytes(picture(str(n)))
    if unmounted:
        base.mkdir()  # what is left of a network mount: an empty folder
    prefetcher, out = Prefetcher(os.fsencode(base), 1), []
    for entry in ledger.todo(0, 3):
        prefetcher.put(entry._replace(size=None))
    assert prefetcher.take(7) == [] and not prefetcher.wake.wait(0.05)
    if unmounted:
        base.rmdir()
    away.rename(base)
    while prefetcher:
        out += decoded(prefetcher)
    prefetcher.close()
    ledger.record.close()
    assert [opened.error and opened.error.reason for _, opened in out] == [None, "vanished before it was read", None]
