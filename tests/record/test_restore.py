"""Promise: numbers never go back. A record that was restored, in place or in another file, continues above all it gave
before; stream and consumers get every message of what is taken in again, and nothing that was given is given twice."""

import contextlib
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from hearthwatch.record import Record, now
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.read import verify
from hearthwatch.record.witness import MARGIN, SLOT_BYTES, Numbers, Witness, continue_above, given_numbers, last_restore
from tests.support.data_dir import House, Killed, killed
from tests.support.pipeline import Pipeline, name, rules_and_options
from tests.support.redis_server import RedisServer

T0 = 1_795_000_000
SOON = rules_and_options(window=2, idle=1, lateness=0.2)[1]
PWRITE = os.pwrite
FLOW = """
[redis]
use = "redis"
from = "batch"

[own]
use = "remembers:Remembers"
from = "batch"
"""
CONSUMER = """
from pathlib import Path
from hearthwatch.schemas import Consumer, Message

class Remembers(Consumer):
    accepts = Message
    def deliver(self, messages):
        with Path(__file__).with_name("delivered").open("a") as file:
            file.writelines(f"{m.seq} {m.event.id}\\n" for m in messages)
"""


def back_up(path: Path, to: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(to)) as target:
        source.backup(target)


def restore(backup: Path, path: Path, how: str) -> None:
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    if how == "in place":
        path.write_bytes(backup.read_bytes())
    else:
        shutil.copyfile(backup, path.with_name("restored"))
        path.with_name("restored").rename(path)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["in place", "as another file"])
def test_a_backup_restored_while_redis_is_down(tmp_path: Path, how: str) -> None:
    """Case 21. B and C are uploaded after the backup: they are taken in again, with numbers that no one has seen."""
    (tmp_path / "remembers.py").write_text(CONSUMER)
    with RedisServer(tmp_path / "redis", durable=True) as server:
        p = Pipeline(tmp_path, options="boxes = 2", batch=SOON, more=FLOW, REDIS_URL=server.url)

        def stream() -> list[tuple[int, int]]:
            with server.client() as client:
                found = client.xrange("security_events:stream")
            seqs = [int(id.removesuffix("-0")) for id, _ in found]
            assert seqs == sorted(set(seqs))
            messages = [(seq, json.loads(entry["data"])) for seq, (_, entry) in zip(seqs, found, strict=True)]
            return [(seq, message["event_id"]) for seq, message in messages if "event_id" in message]

        def feed() -> list[tuple[int, int]]:
            return p.rows("SELECT seq, subject_id FROM feed WHERE kind = 'event' ORDER BY seq")

        def delivered() -> list[tuple[int, int]]:
            lines = (tmp_path / "delivered").read_text().splitlines() if (tmp_path / "delivered").exists() else []
            return [(int(seq), int(event)) for seq, event in (line.split() for line in lines)]

        def settle(pictures: int) -> None:
            p.start().until(lambda: p.rows("SELECT pid FROM heartbeat") == [(p.pid,)])
            p.until(lambda: p.states() == {"settled": pictures})

        p.upload("porch", name(T0))
        settle(1)
        p.until(lambda: stream() == feed() == delivered() != []).stop()
        back_up(p.path, tmp_path / "backup")
        kept = feed()
        p.upload("porch", name(T0 + 10_000)).upload("porch", name(T0 + 20_000))
        settle(3)
        p.until(lambda: stream() == feed() == delivered()).kill()
        lost = stream()
        assert len(lost) >= len(kept) + 2
        highest_frame = p.rows("SELECT max(id) FROM frames")[0][0]

        server.kill()
        restore(tmp_path / "backup", p.path, how)
        p.upload("porch", name(T0 + 30_000))
        settle(4)
        p.until(lambda: p.rows("SELECT status, count(*) FROM events GROUP BY status") == [("closed", 4)])
        assert "new numbers begin above" in p.said().lower()
        new = [row for row in feed() if row not in kept]
        assert min(seq for seq, _ in new) > max(seq for seq, _ in lost), "a number of the feed is given twice"
        ids = [id for (id,) in p.rows("SELECT id FROM frames ORDER BY id")]
        assert ids[0] == 1 and min(ids[1:]) > highest_frame, "an id of a frame is given twice"
        server.start()
        p.until(lambda: stream()[-1:] == feed()[-1:] and delivered()[-1:] == feed()[-1:])
        assert stream() == lost + [row for row in feed() if row not in kept]
        assert set(feed()) <= set(delivered()) and delivered() == sorted(set(delivered()))
        p.until(lambda: p.rows("SELECT 1 FROM feed WHERE type = 'system.record_restored'"))
        p.stop()
        restored = json.loads(p.rows("SELECT value FROM meta WHERE key = 'record_restored'")[0][0])
        assert restored["known_frame"] == 1 and restored["frame"] < min(ids[1:])


# -- the witness


@pytest.fixture
def house(tmp_path: Path):
    house = House(tmp_path)
    continue_above(house.record, now())
    yield house
    house.close()


def numbers(house: House) -> Numbers:
    return given_numbers(house.record.db)


def test_the_witness_has_what_the_last_commit_gave(house: House) -> None:
    for second in (0, 200, 400):
        house.see("front_door", second)
        assert house.record.witness.read(house.record.store_id) == numbers(house) >= Numbers(1, 1)
    other = Record(house.path)
    Ledger(other).discover([FoundFile("c", "c", "c/1.jpg", 1, 1, 1, 1)], 1)
    house.see("front_door", 600)  # this connection does not overwrite what another one knows
    assert house.record.witness.read(house.record.store_id) == numbers(house)
    other.close()


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("at", range(0, SLOT_BYTES, 13))
def test_a_torn_write_leaves_the_other_slot(house: House, slot: int, at: int) -> None:
    witness, store = house.record.witness, house.record.store_id
    witness.note(store, Numbers(100, 100))
    witness.note(store, Numbers(200, 200))
    data = bytearray(witness.path.read_bytes())
    data[slot * SLOT_BYTES + at : (slot + 1) * SLOT_BYTES] = bytes(SLOT_BYTES - at)
    witness.path.write_bytes(data)
    assert witness.read(store) >= Numbers(100, 100)


def test_a_witness_of_another_record_says_nothing(house: House) -> None:
    Witness(house.path).note("another", Numbers(10**6, 10**6))
    continue_above(house.record, now())
    assert numbers(house) == Numbers()
    house.see("front_door", 0)
    assert house.record.witness.read(house.record.store_id) == numbers(house)


def test_a_record_that_was_not_restored_goes_on_by_one(house: House) -> None:
    house.see("front_door", 0)
    before = numbers(house)
    house.close().open()
    continue_above(house.record, now())
    assert numbers(house) == before and last_restore(house.record).frame == 0


def test_a_copy_without_witness_skips_what_the_lost_time_may_have_given(house: House, tmp_path: Path) -> None:
    house.see("front_door", 0)
    (seen,) = house.record.one("SELECT max(at) FROM feed")
    back_up(house.path, tmp_path / "copy.db")
    copy = Record(tmp_path / "copy.db")
    continue_above(copy, seen + 3_600_000_000)
    assert given_numbers(copy.db).frame == 1 + MARGIN + 3600 * 100
    copy.close()


def test_revisions_of_known_events_continue_above_what_was_published(house: House, tmp_path: Path) -> None:
    """Readers dedupe by (id, revision): the lost state may have published revision 2 with another content."""
    house.see("front_door", 0)
    back_up(house.path, tmp_path / "backup")
    house.see("front_door", 200)  # closes the first event: its revision 2 is lost
    house.close()
    restore(tmp_path / "backup", house.path, "in place")
    house.open()
    continue_above(house.record, now())
    house.see("front_door", 300, 500)
    revisions = dict(house.record.rows("SELECT id, revision FROM events ORDER BY id"))
    assert revisions.pop(1) > 1000 and all(revision <= 2 for revision in revisions.values())
    assert list(verify.rows(house.record)) == []


def test_a_kill_at_any_step_of_the_start_raises_the_numbers_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(1, 10):
        house = House(tmp_path / str(step))
        house.see("front_door", 0)
        house.record.witness.note(house.record.store_id, Numbers(500, 700))
        with killed(step, monkeypatch) as taken, monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", lambda *args, taken=taken: (taken(), PWRITE(*args))[1])
            with contextlib.suppress(Killed):
                continue_above(house.record, now())
        house.close().open()
        continue_above(house.record, now())
        assert numbers(house) == Numbers(500 + MARGIN, 700 + MARGIN)
        house.close()
        if taken.taken < step:
            break
    assert step == 3, "there are two steps: the commit, and the witness behind it"


def test_a_witness_that_cannot_be_written_is_said_once_and_stops_nothing(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.record.witness.close()
    house.record.witness.path.unlink(missing_ok=True)
    house.record.witness.path.mkdir()
    house.see("front_door", 0, 200)
    assert caplog.text.count("a restored record may not be noticed") == 1
    assert len(house.frames()) == 2
