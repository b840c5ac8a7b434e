"""Two lives over the small world whose every write is journaled, and disks as a power cut somewhere in them left them."""

import json
import random

import duckdb
from bytewax.recovery import init_db_dir

from hearthwatch.record import Record
from hearthwatch.record.lake.export import Lake
from hearthwatch.record.read import verify
from hearthwatch.record.thumbnails import find
from tests.support.disk_model import TOLD, Choice, Disk, calls, emptied, tree
from tests.support.invariants import check
from tests.support.pipeline import Pipeline, content
from tests.support.small_world import World

MORE = """
[thumbnails]
use = "thumbnails"
from = "detect"

[duckdb]
use = "duckdb"
from = "batch"
interval_seconds = 0.05

[ear]
use = "tests.support.disk_model:Ear"
from = "batch"
path = "{told}"
"""
SMALL_STEPS = {
    "files": "batch_max = 1",
    # A disk that is put down by copying is another file for the record; here it is the same one.
    "TUNE": "hearthwatch.sources.intake.TAKE_AT_ONCE=3"
    + "".join(f",hearthwatch.record.witness.{name}=0" for name in ("MARGIN", "PER_SECOND", "REVISIONS_SKIPPED")),
}  # enough commits for a checkpoint


class PowerCuts(World):
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

    def until_done(self, p):
        super().until_done(p)
        p.until(lambda: p.rows("SELECT count(*) FROM dirty_hours") == [(0,)])  # a stop need not wait for the export

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
            wanted = record.rows("SELECT seq FROM feed WHERE kind = 'event' AND seq >= ?", min(seqs))
            assert set(seqs) == {seq for (seq,) in wanted}, "a message was never delivered"
        record.close()
        assert self.drawn(p) == self.thumbnails, "a thumbnail is served that is none"

    def lake_is_the_record(self, record):
        assert list(verify.lake(record, Lake(record, self.p.data))) == []
        with duckdb.connect(str(self.p.data / "analytics.duckdb"), read_only=True) as db:
            for table in ("frames", "detections", "events"):
                (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert (rows,) == record.one(f"SELECT count(*) FROM {table}"), table
