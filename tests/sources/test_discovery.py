"""What lies in the upload tree gets its row in the ledger: exactly once, complete, in order of arrival, missed or told.

Every test runs the real thread on a real tree and record; `told` waits for rows, so nothing depends on how fast it is.
Where a file must not be taken yet, another one that comes after it tells that discovery has been there.
"""

import itertools
import json
import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hearthwatch.record import Record
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.paths import unescape
from hearthwatch.schemas import Upload
from hearthwatch.schemas.path_rules import CameraPattern, PathRules
from hearthwatch.sources import discovery, tree
from hearthwatch.sources.discovery import Discovery, Intervals
from hearthwatch.sources.intake import CaptureClock, is_complete
from hearthwatch.sources.tree import Tree
from hearthwatch.sources.watch import Hint
from tests.support.pipeline import picture

SLOW = 30.0
QUICK = Intervals(sweep_seconds=0.1, settle_seconds=0.2, still_seconds=0.5)
TOLD = Intervals(sweep_seconds=3600, settle_seconds=0.2, still_seconds=0.5)  # after the first sweep, by inotify alone
MTIME = CaptureClock("mtime")
OLD = 1_700_000_000


def until(condition, what=""):
    deadline = time.monotonic() + SLOW
    while not condition():
        assert time.monotonic() < deadline, f"not within {SLOW} s {what}"
        time.sleep(0.005)


class House:
    """An upload tree and the record of what was found in it."""

    def __init__(self, folder: Path):
        self.base = folder / "uploads"
        self.base.mkdir()
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.record = Record(folder / "hearthwatch.db")
        self.ledger = Ledger(self.record)

    def put(self, path, data=None, mtime=None) -> Path:
        file = self.base / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb", buffering=0) as open_file:
            open_file.write(picture(path) if data is None else data)
            if mtime is not None:
                os.utime(open_file.fileno(), (mtime, mtime))
        return file

    @contextmanager
    def looking(self, pace=QUICK, notify=True, clock=MTIME, paths=None):
        """Discovery runs inside; what lay there is in the ledger when the block begins."""
        theirs = Ledger(Record(self.record.path), self.ledger.clock)
        thread = Discovery(os.fsencode(self.base), theirs, pace, clock, notify, paths)
        thread.portion = 500  # no source sets it here
        thread.start()
        try:
            until(lambda: (thread.caught_up_at(1) and not thread.waiting) or thread.failure)
            yield thread
        finally:
            thread.stop()
        assert thread.failure is None
        assert not thread.is_alive()

    def paths(self) -> list[str]:
        return [path for (path,) in self.record.rows("SELECT path FROM frames ORDER BY id")]

    def told(self, *paths):
        """Wait until exactly these are in the ledger."""
        until(lambda: len(self.paths()) >= len(paths), f"only {self.paths()}")
        assert sorted(self.paths()) == sorted(paths)

    def notes(self) -> dict:
        return json.loads((self.record.one("SELECT value FROM meta WHERE key = 'discovery'") or ("{}",))[0])

    def quarantined(self) -> dict[str, str]:
        return dict(self.record.rows("SELECT path, error FROM frames WHERE state = 'quarantined'"))


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.record.close()


def test_only_what_inotify_reports_is_decoded_before_its_row_is_written(house):
    """A picture that ends the process while it is decoded is found by a sweep next time, and then it has a row to count its starts."""
    house.put("a/old.jpg", mtime=OLD)
    early = []
    with house.looking(TOLD) as thread:
        thread.decode_early = early.extend
        house.put("a/new.jpg")
        house.told("a/old.jpg", "a/new.jpg")
        assert [file.path for file in early] == [b"a/new.jpg"]
    house.put("a/later.jpg")
    with house.looking(notify=False) as thread:
        thread.decode_early = early.extend
        house.told("a/old.jpg", "a/new.jpg", "a/later.jpg")
        house.put("a/last.jpg")
        house.told("a/old.jpg", "a/new.jpg", "a/later.jpg", "a/last.jpg")
    assert [file.path for file in early] == [b"a/new.jpg"]


def test_what_came_while_nothing_ran_is_taken_in_order_of_arrival(house):
    house.put("a/third.jpg", mtime=OLD + 3)
    house.put("b/first.jpg", mtime=OLD + 1)
    house.put("a/second.jpg", mtime=OLD + 2)
    house.put("a/also_second.jpg", mtime=OLD + 2)
    with house.looking():
        pass
    assert house.paths() == ["b/first.jpg", "a/also_second.jpg", "a/second.jpg", "a/third.jpg"]
    rows = house.record.rows("SELECT behind, arrived_at = discovered_at FROM frames ORDER BY id")
    assert rows == [(2, 1)] * 4, "a backlog arrives when it is taken in"


def test_a_backlog_larger_than_memory_is_taken_in_parts_that_keep_the_order(house, monkeypatch):
    monkeypatch.setattr(discovery, "BACKLOG_MAX", 3)
    for n in range(20):
        house.put(f"cam{n % 7}/{n}.jpg", mtime=OLD + 40 - n)
    with house.looking():
        pass
    assert house.paths() == [f"cam{n % 7}/{n}.jpg" for n in reversed(range(20))]


def test_nothing_is_taken_twice_by_later_starts(house):
    house.put("front/a.jpg", mtime=OLD)
    for _ in range(3):
        with house.looking():
            house.told("front/a.jpg")


def test_a_file_is_taken_when_it_is_closed(house):
    (house.base / "front").mkdir()
    with house.looking(TOLD):
        house.put("front/a.jpg")
        house.told("front/a.jpg")


def test_a_file_is_taken_when_it_is_moved_in_whatever_its_end(house):
    (house.base / "front").mkdir()
    with house.looking(TOLD._replace(settle_seconds=3600)):
        for way in (house.outside / "x", house.base / "front" / ".upload", house.base / "front" / "a.jpg.part"):
            way.write_bytes(b"no picture")
            way.rename(house.base / "front" / f"{way.name.strip('.')[0]}.jpg")
        house.told("front/x.jpg", "front/u.jpg", "front/a.jpg")


def test_a_slow_upload_is_taken_once_and_whole(house):
    (house.base / "front").mkdir()
    data = picture("slow")
    with house.looking(QUICK._replace(settle_seconds=3600, still_seconds=3600)):
        with open(house.base / "front" / "slow.jpg", "wb") as file:
            for n, byte in enumerate(data):
                file.write(bytes([byte]))
                file.flush()
                if n % 50 == 0:
                    house.put(f"front/{n}.jpg")
                    until(lambda n=n: f"front/{n}.jpg" in house.paths())
        until(lambda: "front/slow.jpg" in house.paths())
    assert house.record.rows("SELECT size FROM frames WHERE path = 'front/slow.jpg'") == [(len(data),)]


def test_a_half_written_file_that_is_finished_in_a_second_go_is_taken_once(house):
    (house.base / "front").mkdir()
    data = picture("resumed")
    with house.looking(TOLD._replace(settle_seconds=3600)):
        half = house.put("front/resumed.jpg", data[: len(data) // 2])
        house.put("front/other.jpg")
        until(lambda: "front/other.jpg" in house.paths())
        with half.open("ab") as file:
            file.write(data[len(data) // 2 :])
        house.told("front/other.jpg", "front/resumed.jpg")
    assert house.record.rows("SELECT size FROM frames WHERE path = 'front/resumed.jpg'") == [(len(data),)]


def test_a_closed_file_that_goes_on_growing_is_not_taken_before_its_end(house):
    """Step by step on this thread: what comes between two looks is decided here and not by the scheduler."""
    thread = Discovery(os.fsencode(house.base), house.ledger, Intervals(3600, 0, 3600), MTIME, notify=False)
    growing = house.put("front/growing.jpg", picture()[:50])
    hint = Hint(os.fsencode(growing.parent), b"growing.jpg", is_folder=False, moved=False)
    thread._take_hints([hint])
    with growing.open("ab") as file:
        for _ in range(3):
            file.write(b"more")
            file.flush()
            thread._take_waiting()
            assert house.paths() == []
        file.write(b"\xff\xd9")
    thread._take_hints([hint])
    assert house.paths() == ["front/growing.jpg"]


def test_a_closed_file_that_stays_broken_is_taken_all_the_same(house):
    (house.base / "front").mkdir()
    with house.looking(TOLD._replace(still_seconds=3600)):
        house.put("front/empty.jpg", b"")
        house.put("front/truncated.jpg", picture()[:-2])
        house.put("front/text.jpg", b"hello")
        house.told("front/empty.jpg", "front/truncated.jpg", "front/text.jpg")


def test_without_notifications_sweeps_find_everything(house):
    with house.looking(notify=False):
        house.put("front/2026/11/22/deep.jpg")
        house.put("back/broken.jpg", b"hello")
        house.told("front/2026/11/22/deep.jpg", "back/broken.jpg")
        time_of = dict(house.record.rows("SELECT path, discovered_at - mtime_ns / 1000 FROM frames"))
    assert time_of["back/broken.jpg"] >= QUICK.still_seconds * 1e6  # it had no end to be seen


@pytest.mark.slow
def test_a_swept_file_that_grows_waits_until_it_stands_still(house):
    growing = house.put("front/growing.jpg", b"\xff\xd8")
    with house.looking(QUICK._replace(still_seconds=3600), notify=False):
        for n in range(5):
            with growing.open("ab") as file:
                file.write(b"x" * 10)
            house.put(f"front/{n}.jpg")
            until(lambda n=n: f"front/{n}.jpg" in house.paths())
            assert "front/growing.jpg" not in house.paths()
        with growing.open("ab") as file:
            file.write(b"\xff\xd9")
        until(lambda: "front/growing.jpg" in house.paths())


def test_a_file_from_the_future_is_taken(house):
    house.put("front/future.jpg", mtime=time.time() + 86400)
    with house.looking(notify=False):
        house.told("front/future.jpg")
    ((arrived,),) = house.record.rows("SELECT arrived_at FROM frames")
    assert arrived <= time.time() * 1e6


def test_a_camera_clock_that_cannot_be_right_is_counted(house):
    house.put("front/20010101-000000.jpg", mtime=OLD)
    with house.looking(clock=CaptureClock("auto")):
        until(lambda: house.notes().get("doubted_clocks") == 1)
    assert house.record.rows("SELECT captured_at FROM frames") == [(OLD * 1_000_000,)]


def test_the_same_path_with_new_content_is_a_new_frame(house):
    with house.looking():
        house.put("front/a.jpg", picture("one"), mtime=OLD)
        house.told("front/a.jpg")
        house.put("front/a.jpg", picture("two"), mtime=OLD + 1)
        house.told("front/a.jpg", "front/a.jpg")


def test_a_new_file_in_a_folder_that_was_quiet_for_years_is_swept(house, monkeypatch):
    monkeypatch.setattr(tree, "LISTING_SHARE", 1e9)
    monkeypatch.setattr(tree, "QUIET_SECONDS_MAX", 1e9)
    folder = house.put("front/a.jpg", mtime=OLD).parent
    os.utime(folder, (OLD, OLD))
    with house.looking(notify=False):
        house.put("front/b.jpg", mtime=OLD + 1)
        house.told("front/a.jpg", "front/b.jpg")


@pytest.mark.parametrize("share", [tree.LISTING_SHARE, 1000], ids=["a small tree", "a large tree"])
def test_a_rewrite_in_place_is_swept_although_its_folder_does_not_change(house, share, monkeypatch):
    monkeypatch.setattr(tree, "LISTING_SHARE", share)
    house.put("front/a.jpg", mtime=OLD)
    with house.looking(notify=False):
        house.put("front/a.jpg", picture("two"), mtime=OLD + 1)
        house.told("front/a.jpg", "front/a.jpg")


def test_a_folder_made_while_it_runs_is_watched_and_what_came_first_is_swept(house):
    with house.looking(TOLD):
        for n in range(20):
            house.put(f"cam{n}/2026/{n}.jpg")
        house.told(*(f"cam{n}/2026/{n}.jpg" for n in range(20)))
        house.put("cam3/2026/later.jpg")
        until(lambda: "cam3/2026/later.jpg" in house.paths())


def test_a_folder_that_is_moved_in_or_renamed_is_taken_with_what_is_in_it(house):
    (house.outside / "card").mkdir()
    (house.outside / "card" / "a.jpg").write_bytes(picture())
    with house.looking(TOLD):
        (house.outside / "card").rename(house.base / "front")
        house.told("front/a.jpg")
        (house.base / "front").rename(house.base / "back")
        house.told("front/a.jpg", "back/a.jpg")
        house.put("back/b.jpg")
        house.told("front/a.jpg", "back/a.jpg", "back/b.jpg")


def test_lost_notifications_are_made_up_for_by_a_sweep(house, monkeypatch):
    monkeypatch.setattr(discovery, "HINTS_MAX", 0)  # every hint is one too many
    (house.base / "front").mkdir()
    with house.looking(TOLD):
        house.put("front/a.jpg")
        house.told("front/a.jpg")


def test_only_pictures_are_taken(house):
    for path in ("notes.txt", "a.gif", ".hidden.jpg", ".trash/b.jpg", "sub/.d/c.jpg", "jpg"):
        house.put(f"front/{path}")
    (house.base / "front" / "folder.jpg").mkdir()
    for path in ("A.JPG", "b.JpEg", "sub/c.png", "folder.jpg/d.jpg", "a..b.jpg"):
        house.put(f"front/{path}", mtime=OLD)
    with house.looking():
        house.put("front/notes2.txt")
        house.put("front/.hidden2.jpg")
        house.put("front/last.jpg")
        house.told(
            *(f"front/{p}" for p in ("A.JPG", "b.JpEg", "sub/c.png", "folder.jpg/d.jpg", "a..b.jpg", "last.jpg"))
        )


def test_what_is_no_regular_file_inside_is_ignored_and_counted(house):
    real = house.put("front/real.jpg", mtime=OLD)
    (house.outside / "secret.jpg").write_bytes(picture())
    front = house.base / "front"
    (front / "out.jpg").symlink_to(house.outside / "secret.jpg")
    (front / "broken.jpg").symlink_to("nowhere.jpg")
    (front / "loop.jpg").symlink_to("loop.jpg")
    (front / "folder").symlink_to(house.outside)
    (house.base / "back").symlink_to(front)
    (front / "inside.jpg").symlink_to(real)
    os.mkfifo(front / "fifo.jpg")
    with house.looking():
        house.told("front/real.jpg", "front/inside.jpg")
        until(lambda: house.notes().get("ignored") == 4)


def test_notes_of_an_earlier_run_are_taken_back(house):
    stray = house.base / "front" / "out.jpg"
    stray.parent.mkdir()
    stray.symlink_to("/etc/passwd")
    with house.looking():
        until(lambda: house.notes().get("ignored") == 1)
    stray.unlink()
    with house.looking():
        until(lambda: house.notes()["ignored"] == 0)


def test_odd_names_are_taken_like_any_other(house):
    names = [b"caf\xe9.jpg", b"new\nline.jpg", b"back\\slash.jpg", "Tür.jpg".encode(), b"\x1b[31m.jpg", b"' OR 1=1.jpg"]
    camera = os.fsencode(house.base) + b"/caf\xe9 cam"
    os.mkdir(camera)
    with house.looking(TOLD):
        for name in names:
            with open(camera + b"/" + name, "wb") as file:
                file.write(picture())
        until(lambda: len(house.paths()) == len(names))
    assert {unescape(path) for path in house.paths()} == {b"caf\xe9 cam/" + name for name in names}
    assert house.ledger.cameras() == {"cafxe9_cam": r"caf\xe9 cam"}


def test_a_picture_that_is_in_no_camera_folder_is_quarantined(house):
    house.put("stray.jpg", mtime=OLD)
    house.put("!!!/odd.jpg", mtime=OLD)
    with house.looking():
        pass
    assert house.quarantined() == {
        "stray.jpg": "not in a camera folder",
        "!!!/odd.jpg": "not in a camera folder: `!!!` has no letter or digit to name a camera by",
    }
    assert house.ledger.cameras() == {}


def test_a_second_folder_with_the_same_camera_id_is_quarantined_and_says_so(house, caplog):
    house.put("front_door/a.jpg", mtime=OLD)
    house.put("Front Door/b.jpg", mtime=OLD + 1)
    with house.looking():
        house.put("Front Door/c.jpg")
        house.told("front_door/a.jpg", "Front Door/b.jpg", "Front Door/c.jpg")
    reason = "`Front Door` has the same camera id as `front_door` (`front_door`): rename one of the two folders"
    assert house.quarantined() == {"Front Door/b.jpg": reason, "Front Door/c.jpg": reason}
    assert house.ledger.cameras() == {"front_door": "front_door"}
    assert sum("same camera id" in line for line in caplog.messages) == 1
    assert house.notes()["second_folders"] == ["Front Door"]


def test_a_camera_folder_that_is_renamed_goes_on(house):
    house.put("front_door/a.jpg", mtime=OLD)
    with house.looking():
        (house.base / "front_door").rename(house.base / "Front Door")
        house.told("front_door/a.jpg", "Front Door/a.jpg")
    assert house.quarantined() == {}


@pytest.mark.slow
def test_a_missing_base_is_waited_for_and_said_once(house, caplog):
    house.base.rmdir()
    with house.looking():
        until(lambda: any("cannot be read" in line for line in caplog.messages))
        until(lambda: house.notes().get("base_missing"))
        house.put("front/a.jpg")
        house.told("front/a.jpg")
        for file in (house.base / "front" / "a.jpg", house.base / "front", house.base):
            file.unlink() if file.is_file() else file.rmdir()
        until(lambda: sum("cannot be read" in line for line in caplog.messages) == 2)
        house.put("front/b.jpg")
        house.told("front/a.jpg", "front/b.jpg")
        until(lambda: not house.notes()["base_missing"])
        house.put("front/c.jpg")  # the new base is watched again
        house.told("front/a.jpg", "front/b.jpg", "front/c.jpg")


def test_a_base_that_is_exchanged_is_watched_anew(house):
    other = house.outside / "other"
    (other / "front").mkdir(parents=True)
    with house.looking(Intervals(sweep_seconds=0.1, settle_seconds=3600, still_seconds=3600)):
        house.base.rename(house.outside / "before")
        other.rename(house.base)
        names = itertools.count()
        until(lambda: house.put(f"front/{next(names)}.jpg") and house.paths())


def lock(monkeypatch, call) -> set[bytes]:
    """Paths that cannot be read: what the kernel answers to anybody but root, who runs many a test machine."""
    locked, real = set(), getattr(os, call)

    def refuse(path, *options):
        if path in locked:
            raise PermissionError(13, os.strerror(13))
        return real(path, *options)

    monkeypatch.setattr(os, call, refuse)
    return locked


def test_a_folder_that_cannot_be_read_puts_its_camera_in_error_until_it_can(house, monkeypatch):
    locked = lock(monkeypatch, "scandir")
    house.put("front/a.jpg", mtime=OLD)
    status = "SELECT status FROM cameras WHERE id = 'front'"
    with house.looking():
        locked.add(os.fsencode(house.base / "front"))
        until(lambda: house.record.rows(status) == [("error",)])
        until(lambda: house.notes().get("unreadable") == ["front"])
        locked.clear()
        until(lambda: house.record.rows(status) == [("offline",)])
        house.put("front/b.jpg")
        until(lambda: house.record.rows(status) == [("online",)])


def test_uploads_of_plug_ins_are_taken_from_the_inbox(house):
    elsewhere = house.outside / "bell.jpg"
    elsewhere.write_bytes(picture())
    os.utime(elsewhere, (OLD, OLD))
    house.put("drop/in.jpg", mtime=OLD)
    taken = datetime(2023, 11, 2, 12, tzinfo=UTC)
    with house.looking():
        house.told("drop/in.jpg")
        house.ledger.enqueue([
            Upload("Door Bell", str(elsewhere), taken),
            Upload("drop", str(house.base / "drop" / "in.jpg"), None),  # the same file that the tree has
            Upload("drop", "drop/gone.jpg", None),
            Upload("???", str(elsewhere), None),
            Upload("drop", "drop", None),
        ])  # fmt: skip
        until(lambda: not house.ledger.inbox(1))
    rows = house.record.rows("SELECT camera_id, path, captured_at, state FROM frames ORDER BY id")
    assert rows[:2] == [
        ("drop", "drop/in.jpg", OLD * 1_000_000, "discovered"),
        ("door_bell", str(elsewhere), int(taken.timestamp()) * 1_000_000, "discovered"),
    ]
    assert [(path, state) for _, path, _, state in rows[2:]] == [
        ("drop/gone.jpg", "quarantined"),
        ("drop", "quarantined"),
    ]
    assert house.ledger.cameras() == {"drop": "drop", "door_bell": "Door Bell"}


def test_of_a_full_inbox_no_more_is_taken_than_one_batch_so_a_live_picture_waits_for_no_more(house):
    """Whoever decides, decides one at a time here; after each the next may come in, and never more than a batch."""
    for n in range(40):
        (house.outside / f"{n}.jpg").write_bytes(picture(f"old {n}"))
    (house.base / "front").mkdir()
    record, batch = house.record, 6
    with house.looking(TOLD) as looking:
        looking.portion = batch
        house.ledger.enqueue([Upload("old", str(house.outside / f"{n}.jpg"), None) for n in range(40)])
        for decided in range(41):
            until(lambda: record.counters()["discovered"] >= batch // 2 or not house.ledger.inbox(1))
            waiting = record.counters()["discovered"]
            assert waiting <= batch + (decided > 10)
            if decided == 10:
                house.put("front/live.jpg")
                until(lambda: "front/live.jpg" in house.paths())
                assert house.paths().index("front/live.jpg") <= decided + batch
            record.execute("UPDATE counters SET n = n - 1 WHERE name = 'discovered' AND n > 0")
            record.execute("UPDATE counters SET n = n + 1 WHERE name = 'settled'")
        until(lambda: len(house.paths()) == 41)


def test_inotify_at_its_limit_leaves_the_sweep_and_says_what_to_raise(house, caplog, monkeypatch):
    def full(self, folder):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(
        "hearthwatch.sources.watch.FolderWatcher.add", full
    )  # the kernel's answer; the real limit is the machine's
    with house.looking():
        house.put("front/a.jpg")
        house.put("back/b.jpg")
        house.told("front/a.jpg", "back/b.jpg")
        until(lambda: "sysctl fs.inotify.max_user_watches" in (house.notes().get("watch_off") or ""))
        monkeypatch.undo()
        until(lambda: house.notes()["watch_off"] is None)
    assert [line for line in caplog.messages if "sysctl fs.inotify.max_user_watches" in line][1:] == []
    assert "sysctl fs.inotify.max_user_watches" in caplog.text


@pytest.mark.slow
def test_memory_of_what_is_known_is_bounded_and_costs_nothing_but_questions(house, monkeypatch):
    monkeypatch.setattr(tree, "KNOWN_MAX", 3)
    monkeypatch.setattr(discovery, "WAITING_MAX", 2)
    monkeypatch.setattr(tree, "LISTING_SHARE", 100)
    for n in range(12):
        house.put(f"cam{n % 3}/{n}.jpg", mtime=time.time() + 3600)
    for folder in house.base.iterdir():
        os.utime(folder, (OLD, OLD))
    with house.looking(notify=False):
        house.told(*(f"cam{n % 3}/{n}.jpg" for n in range(12)))
        for n in range(12, 20):
            house.put(f"cam{n % 3}/{n}.jpg")
        house.told(*(f"cam{n % 3}/{n}.jpg" for n in range(20)))


def test_a_failure_of_the_thread_reaches_whoever_asks(house):
    theirs = Ledger(Record(house.record.path))
    theirs.record.close()
    thread = Discovery(os.fsencode(house.base), theirs, QUICK, CaptureClock("mtime"))
    thread.start()
    until(thread.new_rows.is_set)
    assert thread.failure is not None
    thread.stop()


def test_a_file_that_cannot_be_read_waits_and_is_taken_in_when_it_can(house, monkeypatch):
    locked = lock(monkeypatch, "open")
    locked.add(os.fsencode(house.base / "front/a.jpg"))
    with house.looking():
        house.put("front/a.jpg")
        house.put("front/b.jpg")
        until(lambda: house.notes().get("unreadable_files", {}).get("count") == 1)
        assert house.notes()["unreadable_files"]["example"] == "front/a.jpg"
        house.told("front/b.jpg")
        locked.clear()
        house.told("front/a.jpg", "front/b.jpg")
        until(lambda: not house.notes()["unreadable_files"])
    assert house.quarantined() == {}


def test_a_picture_that_was_quarantined_as_unreadable_is_taken_in_again(house, monkeypatch):
    locked = lock(monkeypatch, "open")
    house.put("front/a.jpg", mtime=OLD)
    with house.looking() as thread:
        locked.add(os.fsencode(house.base / "front/a.jpg"))
        refused = (
            "UPDATE frames SET state = 'quarantined', error_stage = 'detect', error = 'unreadable: Permission denied'"
        )
        house.record.transact(lambda: (house.record.execute(refused), house.record.count(discovered=-1, quarantined=1)))
        thread.intake.take_readable()
        assert len(house.paths()) == 1
        locked.clear()
        house.told("front/a.jpg", "front/a.jpg")
    assert house.record.rows("SELECT attempt, state FROM frames") == [(1, "quarantined"), (2, "discovered")]


RULES = PathRules(("old", "front/tmp/*.jpg", "**/test_*"), CameraPattern("{1}_{n1}"))


def test_ignored_names_are_not_taken_by_hint_nor_sweep_and_are_counted(house):
    ignored = [
        "front/@eaDir/x.jpg/SYNOPHOTO_THUMB_M.jpg",
        "#recycle/front/a.jpg",
        "front/.hidden/a.jpg",
        "front/OLD.jpg/old/b.jpg",
        "front/tmp/a.jpg",
        "front/day/test_1.jpg",
    ]
    for path in ignored:
        house.put(path, mtime=OLD)
    with house.looking(paths=PathRules(RULES.ignore)):
        for path in ignored:
            house.put(path.replace("a.jpg", "later.jpg"))
        house.put("front/tmp/below/a.jpg")
        house.told("front/tmp/below/a.jpg")
        until(lambda: house.notes().get("ignored_names", {}).get("front/tmp/*.jpg") == 2)
    assert house.notes()["ignored_names"] == {
        "@eaDir": 1, "#recycle": 1, "hidden": 1, "old": 1, "front/tmp/*.jpg": 2, "**/test_*": 1,
    }  # fmt: skip


def test_what_is_no_picture_is_counted_by_its_suffix(house):
    for path in ("front/a.mp4", "front/b.mp4", "front/c.jpg.part", "front/d", "front/a.jpg.1", "front/a.jpg"):
        house.put(path, mtime=OLD)
    with house.looking():
        house.told("front/a.jpg", "front/a.jpg.1")
        until(lambda: house.notes().get("not_pictures") == {".mp4": 2, "in progress": 1, "no suffix": 1})
        (house.base / "front/c.jpg.part").rename(house.base / "front/c.jpg")
        house.told("front/a.jpg", "front/a.jpg.1", "front/c.jpg")
        until(lambda: house.notes()["not_pictures"] == {".mp4": 2, "no suffix": 1})


def test_a_pattern_says_what_a_camera_is(house):
    for path in ("yard/CAM1_20231114-221320.jpg", "yard/CAM2_1.jpg", "loose_1.jpg"):
        house.put(path, mtime=OLD)
    with house.looking(paths=RULES):
        until(lambda: len(house.paths()) == 3)
    cameras = house.record.rows("SELECT id, name, folder_path FROM cameras ORDER BY id")
    assert cameras == [("yard_cam1", "yard_CAM1", "yard"), ("yard_cam2", "yard_CAM2", "yard")]
    assert house.quarantined() == {"loose_1.jpg": "its path has not the parts of HEARTHWATCH_CAMERA = {1}_{n1}"}


def test_cameras_may_lie_two_folders_deep(house):
    for path in ("home/front/a.jpg", "barn/front/2026/b.jpg", "barn/c.jpg"):
        house.put(path, mtime=OLD)
    with house.looking(paths=PathRules(camera=CameraPattern("{1}/{2}"))):
        until(lambda: len(house.paths()) == 3)
    cameras = house.record.rows("SELECT id, name, folder_path FROM cameras ORDER BY id")
    assert cameras == [("barn_front", "barn front", "barn/front"), ("home_front", "home front", "home/front")]
    assert list(house.quarantined()) == ["barn/c.jpg"]


def test_two_folders_that_a_pattern_does_not_tell_apart_are_not_one_camera(house):
    house.put("home/front/a.jpg", mtime=OLD)
    with house.looking(paths=PathRules(camera=CameraPattern("{2}"))):
        house.put("barn/front/b.jpg")
        until(lambda: len(house.paths()) == 2)
    assert "HEARTHWATCH_CAMERA = {2} has to distinguish them" in house.quarantined()["barn/front/b.jpg"]


@pytest.mark.parametrize("off", [timedelta(hours=25), timedelta(hours=2), -timedelta(days=2)])
def test_a_picture_that_is_seen_being_written_was_taken_about_now(house, off):
    (house.base / "front").mkdir()
    with house.looking(TOLD, clock=CaptureClock("auto")) as thread:
        before = time.time()
        file = house.put("front/no_time.jpg", mtime=before + off.total_seconds())
        house.told("front/no_time.jpg")
    ((captured, arrived, mtime_ns),) = house.record.rows("SELECT captured_at, arrived_at, mtime_ns FROM frames")
    assert before - 1 <= captured / 1e6 <= time.time() and before - 1 <= arrived / 1e6 <= time.time()
    assert mtime_ns == file.stat().st_mtime_ns
    assert thread.intake.no_time == {"front": 1}


def test_what_is_moved_in_keeps_its_time_but_none_of_the_future(house):
    now = time.time()
    with house.looking(TOLD):
        for name, mtime in (("old", now - 172_800), ("new", now + 90_000)):
            file = house.outside / f"{name}.jpg"
            file.write_bytes(picture(name))
            os.utime(file, (mtime, mtime))
            (house.base / "front").mkdir(exist_ok=True)
            file.rename(house.base / f"front/{name}.jpg")
        house.told("front/old.jpg", "front/new.jpg")
    captured = dict(house.record.rows("SELECT path, captured_at / 1000000 FROM frames"))
    assert captured["front/old.jpg"] == int(now - 172_800)
    assert now - 1 <= captured["front/new.jpg"] <= time.time()


@pytest.mark.parametrize(
    "tail", [bytes(4096), b"\xff" * 100, bytes(65_000), b"SEFHe\0\0\0maker's block" + bytes(99) + b"SEFT"]
)
def test_a_picture_with_something_behind_its_end_is_complete_at_once(tmp_path, tail):
    file, whole = tmp_path / "a.jpg", picture("a")
    file.write_bytes(whole + tail)
    assert is_complete(os.fsencode(file), len(whole + tail))
    file.write_bytes(whole[:-2] + tail)
    assert not is_complete(os.fsencode(file), len(whole + tail) - 2)


def test_the_end_of_the_thumbnail_in_exif_is_not_the_end_of_a_picture(tmp_path):
    whole, thumbnail = picture("a"), picture("b")
    block = b"Exif\0\0" + thumbnail
    data = whole[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + whole[2:]
    file = tmp_path / "a.jpg"
    for size, complete in (
        (len(data), True),
        (len(data) - 2, False),
        (len(block) + 5, False),
        (len(block) + 20, False),
    ):
        file.write_bytes(data[:size])
        assert is_complete(os.fsencode(file), size) is complete


def test_a_large_folder_is_listed_in_portions(house):
    for n in range(2500):
        house.put(f"front/{n:05}.txt", b"")
    house.put("front/a.jpg", mtime=OLD)
    below = Tree(os.fsencode(house.base), lambda folder: None)
    portions = [folder for folder, _ in below.sweep(0.0, True)]
    assert portions == [b"", b"front", b"front", b"front"]


def test_folders_that_changed_last_are_listed_first(house):
    for n in (3, 1, 2):
        os.utime(house.put(f"cam{n}/a.jpg", mtime=OLD).parent, (OLD + n, OLD + n))
    listed = [folder for folder, _ in Tree(os.fsencode(house.base), lambda folder: None).sweep(0.0, True)]
    assert listed == [b"", b"cam3", b"cam2", b"cam1"]


def test_a_watcher_that_ended_is_started_again(house):
    house.put("front/a.jpg", mtime=OLD)
    with house.looking() as thread:
        ended = thread._watcher
        os.write(ended._stop_write, b"!")
        until(lambda: thread._watcher not in (ended, None))
        (house.base / "new").mkdir()
        until(lambda: os.fsencode(house.base / "new") in thread._watcher._folders.values())


def test_hints_are_taken_while_a_large_folder_is_listed(house, monkeypatch):
    """The folder has no end until the live picture is in the ledger."""
    real, shown = os.scandir, []

    class Endless:
        def __init__(self, entries, record):
            self.entries, self.record = list(entries), record

        __enter__ = __iter__ = lambda self: self

        def __exit__(self, *error):
            self.record.close()

        def __next__(self):
            if not shown:
                house.put("front/live.jpg")
            shown.append(self.record.one("SELECT count(*) FROM frames WHERE path = 'front/live.jpg'")[0])
            assert len(shown) < 100_000, "hints wait for the listing"
            if shown[-1]:
                raise StopIteration
            return self.entries[0]

    def scandir(folder):
        is_large = folder == os.fsencode(house.base / "large") and not shown
        return Endless(real(folder), Record(house.record.path)) if is_large else real(folder)

    (house.base / "front").mkdir()
    monkeypatch.setattr(tree, "PORTION_ENTRIES", 10)
    with house.looking(Intervals(0.1, 60, 60)):
        monkeypatch.setattr(os, "scandir", scandir)
        house.put("large/a.txt")
        until(lambda: "front/live.jpg" in house.paths())
    assert shown[-1] == 1
