"""Promise: a power cut at any instant loses nothing that was told to anybody, and the next start reaches the same record.

A library below the process (`tests/shim/journal.c`) writes down every write, rename and sync of a run over the small world,
SQLite's, Bytewax's and the lake's included. `tests/blackout.py` makes out of it what a disk may hold after a cut: what was
synced, and any choice of the rest. Here a few seeded cuts; `tests/long/power_loss.py` makes hundreds.

Uploads are the FTP server's: they are there, whole. Nobody else's word is taken for anything.
"""

import json
import os
import random

import duckdb
import pytest
from bytewax.recovery import init_db_dir

from hearthwatch.record import Record
from hearthwatch.record.lake.export import Lake
from hearthwatch.record.read import verify
from hearthwatch.record.thumbnails import find
from tests.record.test_kill import World
from tests.support.blackout import TOLD, Choice, Disk, calls, emptied, tree
from tests.support.pipeline import Nursery, Pipeline, check, content
from tests.support.shims import compiled

MORE = """
[thumbnails]
use = "thumbnails"
from = "detect"

[clock]
use = "clock"
interval_seconds = 0.05

[duckdb]
use = "duckdb"
from = "clock"

[ear]
use = "blackout:Ear"
from = "feed"
path = "{told}"
"""
SMALL_STEPS = {
    "files": "batch_max = 1",
    "TUNE": "hearthwatch.sources.intake.TAKE_AT_ONCE=3",
}  # enough commits for a checkpoint
SEED = int(os.environ.get("HEARTHWATCH_TEST_SEED", "1"))
CUTS = 7


class Everything:
    """The choice that loses nothing."""

    sector = 4096

    def survives(self):
        return True


class Dark(World):
    """The small world, the journal of two lives in it, and disks as a cut somewhere in them left them."""

    def __init__(self, folder, nursery):
        self.journal = folder / "journal"
        super().__init__(folder, nursery)
        self.thumbnails = self.drawn(self.p)
        (emptied(self.p.world) / TOLD).parent.mkdir()
        self.p.store.mkdir()
        init_db_dir(self.p.store, 1)
        self.before = tree(self.p.world)
        for _ in range(2):
            assert self.live(self.p, True, JOURNAL_UNDER=str(self.p.world), JOURNAL_FILE=str(self.journal)) == 0
        self.calls = calls(self.journal, self.p.world)
        self.after = tree(self.p.world)

    def pipeline(self):
        """Always the same folder: the lake's views name it."""
        folder = self.folder / "1"
        told = MORE.format(told=folder / "world" / TOLD)
        self.p = Pipeline(folder, nursery=self.nursery, base=self.base, more=told, **SMALL_STEPS)
        (self.p.world / TOLD).parent.mkdir(exist_ok=True)
        return self.p

    def drawn(self, p):
        """Every frame's thumbnail as the API would serve it."""
        record = p.record
        frames = record.rows("SELECT path, mtime_ns, id FROM frames WHERE thumbnail_path IS NOT NULL")
        served = {frame[:2]: find(record, p.data, p.base, frame[2]).read_bytes() for frame in frames}
        record.close()
        return served

    def cut(self, at, seed):
        """Lose power before this call, look, start again, look again."""
        rnd = random.Random(seed)
        emptied(self.p.world)
        Disk(self.before).happen(self.calls[:at]).put(self.p.world, Choice(rnd))
        told = self.told()
        self.nothing_told_is_forgotten(told)
        assert self.live(self.p, resume=rnd.random() < 0.5) == 0, self.p.said()
        self.all_is_as_if_nothing_had_been(told)

    def told(self):
        return [json.loads(line) for line in (self.p.world / TOLD).read_text().splitlines()]

    def nothing_told_is_forgotten(self, told):
        if not self.p.path.exists():
            assert not told, "the record is gone, and somebody was told of it"
            return
        record = self.p.crashed()
        check(record)
        feed = {tuple(row) for row in record.rows("SELECT seq, event_id, revision, type FROM feed")}
        record.close()
        assert {tuple(line) for line in told} <= feed

    def all_is_as_if_nothing_had_been(self, told):
        p, record = self.p, Record(self.p.path)
        check(record)
        content(record).is_that_of(self.expected)
        for wrong in (verify.database, verify.counters, verify.rows):
            assert list(wrong(record)) == []
        self.lake_is_the_record(record)
        seqs = [line[0] for line in self.told()]
        if told:
            (last,) = record.one("SELECT max(seq) FROM feed")
            assert set(seqs) == set(range(min(seqs), last + 1)), "a message was never told"
        record.close()
        assert self.drawn(p) == self.thumbnails, "a thumbnail is served that is none"

    def lake_is_the_record(self, record):
        assert list(verify.lake(record, Lake(record, self.p.data))) == []
        with duckdb.connect(str(self.p.data / "analytics.duckdb"), read_only=True) as db:
            for table in ("frames", "detections", "events"):
                (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert (rows,) == record.one(f"SELECT count(*) FROM {table}"), table


@pytest.fixture(scope="module")
def dark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dark")
    library = compiled("journal", folder)
    if library is None:
        pytest.skip("no C compiler")
    with Nursery(preload=library) as nursery:
        yield Dark(folder, nursery)


def test_the_journal_has_everything_that_reached_the_disk(dark):
    """Guards the others: what the library does not see is not lost in any cut."""
    there = Disk(dark.before).happen(dark.calls).survivors(Everything())
    differing = {name for name in {*there, *dark.after} if there.get(name, 0) != dark.after.get(name, 0)}
    assert {name for name in differing if not name.endswith("-shm")} == set()
    written = {call.path for call in dark.calls if call.what == "w"}
    assert {"data/hearthwatch.db", "data/hearthwatch.db-wal", "store/part-0.sqlite3-wal", TOLD} <= written


@pytest.mark.parametrize("n", range(CUTS))
def test_a_power_cut_loses_nothing_that_was_told(dark, n):
    rnd = random.Random(f"{SEED} {n}")
    dark.cut(rnd.randrange(len(dark.calls)), rnd.random())
