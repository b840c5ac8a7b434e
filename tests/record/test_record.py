"""Promise: the record opens, upgrades, waits and refuses in plain words, and never leaves half a change."""

import multiprocessing
import os
import sqlite3
import threading

import pytest

import hearthwatch.record.connection as record_module
from hearthwatch.record import SCHEMA_VERSION, Record, RecordError
from hearthwatch.record.feed import Feed
from hearthwatch.record.ledger import FoundFile, Ledger, frame_uid
from hearthwatch.record.migrate import _scripts, upgrade
from hearthwatch.schemas.items import DeadLetter, Upload

S = 1_000_000


def found(path="Door/a.jpg", at=100 * S, **changes):
    return FoundFile("door", "Door", path, at * 1000, 10, at, at)._replace(**changes)


@pytest.fixture
def record(tmp_path):
    record = Record(tmp_path / "r.db")
    yield record
    record.close()


def test_a_new_record_is_durable_at_every_commit(record):
    assert record.one("PRAGMA journal_mode") == ("wal",)
    assert record.one("PRAGMA synchronous") == (2,)
    assert record.one("SELECT value FROM meta WHERE key = 'schema_version'") == (str(SCHEMA_VERSION),)


def test_the_store_id_is_made_once(record):
    assert Record(record.path).store_id == record.store_id


@pytest.mark.parametrize("start", range(SCHEMA_VERSION))
def test_a_record_of_any_older_version_is_upgraded(tmp_path, start):
    db = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
    if start:
        upgrade(db, start)
    db.close()
    upgraded, new = Record(tmp_path / "old.db", upgrade=True), Record(tmp_path / "new.db")
    schema = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
    assert upgraded.rows(schema) == new.rows(schema)


def test_a_migration_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    broken = {1: _scripts()[1] + "\nCREATE TABLE frames(twice);"}
    monkeypatch.setattr("hearthwatch.record.migrate._scripts", lambda: broken)
    db = sqlite3.connect(tmp_path / "r.db", isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        upgrade(db, 1)
    assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    db.close()


def test_migrations_are_numbered_without_gaps():
    assert sorted(_scripts()) == list(range(1, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("content", ["CREATE TABLE theirs(x)", None])
def test_a_file_that_is_not_ours_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "theirs.db"
    if content:
        db = sqlite3.connect(path)
        db.execute(content)
        db.close()
    else:
        path.write_bytes(b"this is a text file, not a database " * 100)
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"theirs\.db .*DATABASE_URL"):
        Record(path)
    assert path.read_bytes() == before


def test_a_record_of_a_newer_hearthwatch_is_refused(record):
    record.execute("UPDATE meta SET value = '999' WHERE key = 'schema_version'")
    with pytest.raises(RecordError, match="999, made by a newer Hearthwatch"):
        Record(record.path)


@pytest.mark.slow
def test_two_processes_may_create_the_same_record_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        ids = pool.map(_store_id, [tmp_path / "r.db"] * 8)
    assert len(set(ids)) == 1


def _store_id(path):
    return Record(path).store_id


def test_a_locked_record_is_waited_for(record):
    other = sqlite3.connect(record.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(1.3, lambda: other.execute("COMMIT")).start()  # longer than SQLite's own busy time-out
    assert Ledger(record).discover([found()], 200 * S) == 1
    other.close()


def test_a_record_that_stays_locked_is_reported_in_plain_words(record, monkeypatch):
    monkeypatch.setattr(record_module, "BUSY_SECONDS_MAX", 0.1)
    other = sqlite3.connect(record.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordError, match=r"locked by another program.*Nothing is lost"):
        Ledger(record).discover([found()], 200 * S)
    other.execute("COMMIT")
    other.close()
    assert Ledger(record).discover([found()], 200 * S) == 1


def test_a_full_disk_is_reported_in_plain_words_and_leaves_nothing_half_done(record, monkeypatch):
    monkeypatch.setattr(record_module, "BUSY_SECONDS_MAX", 0.1)
    (pages,) = record.one("PRAGMA page_count")
    record.execute(f"PRAGMA max_page_count = {pages}")  # how SQLite itself tests a full disk
    with pytest.raises(RecordError, match="disk is full: make room"):
        Ledger(record).discover([found(f"Door/{i}.jpg") for i in range(5000)], 200 * S)
    assert record.counters()["discovered"] == record.one("SELECT count(*) FROM frames")[0] == 0
    record.execute("PRAGMA max_page_count = 1000000")
    assert Ledger(record).discover([found(f"Door/{i}.jpg") for i in range(5000)], 200 * S) == 5000


def test_work_that_raises_is_rolled_back(record):
    def half():
        record.execute("INSERT INTO cursors VALUES ('x', 1)")
        raise KeyError("boom")

    with pytest.raises(KeyError):
        record.transact(half)
    assert record.rows("SELECT * FROM cursors WHERE name = 'x'") == []


# -- the ledger


def test_a_file_is_in_the_ledger_once_and_new_content_is_a_new_frame(record):
    ledger = Ledger(record)
    assert ledger.discover([found(), found(), found("Door/b.jpg")], 200 * S) == 2
    assert ledger.discover([found()], 300 * S) == 0
    assert ledger.discover([found(size=11)], 300 * S) == 1
    assert ledger.find_known([("Door/a.jpg", found().mtime_ns, 10), ("Door/a.jpg", found().mtime_ns, 12)]) == {
        ("Door/a.jpg", found().mtime_ns, 10)
    }
    assert record.counters()["discovered"] == 3


def test_arrival_never_decreases_with_the_id_and_never_lies_in_the_future(record):
    ledger = Ledger(record)
    ledger.discover(
        [found("Door/a.jpg", at=150 * S), found("Door/b.jpg", at=100 * S), found("Door/c.jpg", at=900 * S)], 200 * S
    )
    assert record.rows("SELECT arrived_at FROM frames ORDER BY id") == [(150 * S,), (150 * S,), (200 * S,)]


@pytest.mark.parametrize("captured, year", [(-5 * S, 1970), (1 << 62, 9999)])
def test_a_capture_time_that_no_calendar_knows_is_the_nearest_that_one_does(record, captured, year):
    ledger = Ledger(record)
    ledger.discover([found(captured_at=captured)], 200 * S)
    assert ledger.todo(0, 1)[0].frame.captured_at.year == year


def test_what_is_known_to_be_bad_goes_straight_to_quarantine(record):
    ledger = Ledger(record)
    ledger.discover(
        [FoundFile(None, None, "a.jpg", 1, 1, S, S, DeadLetter("files", "not in a camera folder")), found()], 200 * S
    )
    assert [e.frame.path for e in ledger.todo(0, 10)] == ["Door/a.jpg"]
    assert record.counters() == {"detections": 0, "discovered": 1, "events": 0, "quarantined": 1, "settled": 0}
    assert ledger.cameras() == {"door": "Door"}


def test_a_retry_by_another_process_comes_after_every_tick_and_follows_the_clocks_correction(record):
    source, api = Ledger(record), Ledger(Record(record.path))
    source.discover([found(error=DeadLetter("files", "bad"))], 200 * S)
    record.transact(lambda: record.execute("INSERT INTO meta VALUES ('clock', ?)", 300 * S))
    assert record.one("SELECT arrived_at FROM frames WHERE id = ?", api.retry(1, 250 * S)) == (300 * S,)
    record.transact(lambda: record.execute("INSERT INTO meta VALUES ('clock_correction', ?)", 7200 * S))
    assert record.one("SELECT arrived_at FROM frames WHERE id = ?", api.retry(1, 250 * S)) == (7450 * S,)


def test_last_seen_moves_with_every_file(record):
    ledger = Ledger(record)
    ledger.discover([found()], 200 * S)
    ledger.set_camera_status("door", "error")
    ledger.discover([found("Door/b.jpg", at=170 * S)], 200 * S)
    assert record.rows("SELECT last_seen_at, status FROM cameras") == [(170 * S, "online")]


def test_a_retry_is_a_new_frame(record):
    ledger = Ledger(record)
    ledger.discover([found(error=DeadLetter("files", "second folder")), found("Door/b.jpg")], 200 * S)
    again = ledger.retry(1, 300 * S)
    assert record.one("SELECT attempt, state FROM frames WHERE id = ?", again) == (2, "discovered")
    assert record.one("SELECT count(DISTINCT uid) FROM frames")[0] == 3
    for refused in (2, 77):
        with pytest.raises(RecordError, match="only a quarantined frame"):
            ledger.retry(refused, 300 * S)
    assert record.counters()["discovered"] == 2


def test_the_uid_begins_with_the_capture_time_and_tells_attempts_apart():
    one, two = frame_uid(found(at=1_700_000_000 * S)), frame_uid(found(at=1_700_000_000 * S, attempt=2))
    assert one[:12] == two[:12] == f"{1_700_000_000_000:012x}"
    assert one != two and len(one) == 32


def test_an_upload_waits_in_the_inbox_until_it_is_in_the_ledger(record):
    ledger = Ledger(record)
    ledger.enqueue([Upload("Door", "/tmp/x.jpg", None)])
    ((number, upload),) = ledger.inbox(10)
    assert upload == Upload("Door", "/tmp/x.jpg", None)
    ledger.discover([found("/tmp/x.jpg")], 200 * S, [number])
    assert ledger.inbox(10) == [] and record.counters()["discovered"] == 1


def test_an_upload_whose_name_is_not_utf8_waits_like_any_other(record):
    odd = os.fsdecode(b"/cams/caf\xe9\\.jpg")
    Ledger(record).enqueue([Upload("Door", odd, None)])
    assert Ledger(record).inbox(10) == [(1, Upload("Door", odd, None))]


def test_a_camera_folder_that_was_renamed_is_the_cameras_folder(record):
    ledger = Ledger(record)
    ledger.discover([found()], 200 * S)
    ledger.discover([found("DOOR/b.jpg", folder="DOOR")], 200 * S)
    assert ledger.cameras() == {"door": "DOOR"}


def test_starts_are_counted_for_the_frame_that_was_reached(record):
    ledger = Ledger(record)
    ledger.discover([found(), found("Door/b.jpg")], 200 * S)
    assert [ledger.count_start(1), ledger.count_start(1)] == [1, 2]
    assert [e.starts for e in ledger.todo(0, 10)] == [2, 0]


# -- the feed's cursors


def test_a_new_consumer_starts_at_the_feeds_end_and_a_cursor_never_moves_back(record):
    record.execute("INSERT INTO feed VALUES (7, 'event', 1, 1, 'event.opened', '{}', 0)")
    feed = Feed(record)
    assert feed.cursor("mine") == 7
    feed.advance("mine", 9)
    feed.advance("mine", 8)
    assert feed.cursor("mine") == 9


def test_the_feeds_end_stays_where_it_is_when_its_newest_rows_are_removed(record):
    record.execute("INSERT INTO feed VALUES (7, 'event', 1, 1, 'event.opened', '{}', 0)")
    record.execute("DELETE FROM feed")
    assert Feed(record).last() == Feed(record).cursor("mine") == 7


@pytest.mark.slow
def test_housekeeping_waits_for_its_turn_and_finds_no_locked_record(tmp_path, caplog):
    one, two = Record(tmp_path / "r.db"), Record(tmp_path / "r.db")
    begun, end = threading.Event(), threading.Event()
    writer = threading.Thread(target=one.transact, args=(lambda: begun.set() or end.wait(20),))
    keeper = threading.Thread(target=two.pragma, args=("PRAGMA wal_checkpoint(TRUNCATE)",))
    writer.start()
    begun.wait(20)
    keeper.start()
    keeper.join(1.5)  # longer than SQLite waits for a lock
    assert keeper.is_alive()
    end.set()
    for thread in (writer, keeper):
        thread.join(20)
    assert caplog.text == ""
