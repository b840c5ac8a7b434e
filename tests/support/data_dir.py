"""A data dir with pictures, events and thumbnails, made by the product's own ledger and batching; and a kill at any step.

`House(folder).see("front_door", 0, 5, 10)` uploads and decides three pictures with a person, seconds after `START`.
`killed(at)` ends whatever runs at the n-th commit or file operation; `lake(house)` is what an analyst reads.
"""

import os
from collections import Counter
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import duckdb

import hearthwatch.record.lake.export
from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.incidents import Incidents
from hearthwatch.record.lake.export import Lake
from hearthwatch.record.lake.views import export
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.paths import escape
from hearthwatch.record.retention.policy import RetentionPolicy
from hearthwatch.record.retention.run import RetentionRun
from hearthwatch.record.suppression import Stillness
from hearthwatch.record.thumbnails import path, write
from hearthwatch.schemas import DeadLetter, Detected, Detection, Tick
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.stages.rules import RulesJudge
from tests.support.pipeline import picture

S = 1_000_000
DAY = 86_400 * S
START = 1_795_335_330 * S  # 2026-11-22 08:15:30 UTC
PERSON = (Detection("person", 0.9, (1, 2, 3, 4)), Detection("dog", 0.8, (5, 6, 7, 8)))
TABLES = (
    "frames",
    "detections",
    "suppressed",
    "events",
    "incidents",
    "gpu_stats",
    "baselines",
    "feedback",
    "journal",
    "alerts",
)


class House:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.base, self.data = self.folder / "uploads", self.folder / "data"
        self.base.mkdir(parents=True, exist_ok=True)
        self.path = self.data / "hearthwatch.db"
        self.context = Context(self.path, self.data, self.base)
        self.open()

    def open(self):
        """As after a start: nothing is remembered."""
        self.record = Record(self.path)
        self.ledger = Ledger(self.record)
        self.batching = Batching(self.record, partial(RulesJudge, zone=ZoneInfo("UTC")), stillness=Stillness(kinds=()))
        self.lake = Lake(self.record, self.data)
        return self

    def close(self):
        self.record.close()
        return self

    def see(self, camera, *seconds, boxes=PERSON, error=None, discovered=None, upload=True, alerts=()):
        """Pictures of one camera, taken so many seconds after START; `discovered` in microseconds."""
        for second in seconds:
            at = START + round(second * S)
            name = f"{at}.jpg"
            file = self.base / camera / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(picture(str(file)))
            os.utime(file, ns=(at * 1000, at * 1000))
            stat = file.stat()
            found = FoundFile(
                camera, camera, escape(os.fsencode(f"{camera}/{name}")), stat.st_mtime_ns, stat.st_size, at, at
            )
            self.ledger.discover([found], discovered or at)
            if not upload:
                file.unlink()
        frames = [entry.frame for entry in self.ledger.todo(0, 10**6)]
        self.batching.write(
            [Detected(f, 640, 360, () if error else boxes, error, model="m", alerts=alerts) for f in frames]
        )
        for frame in frames:
            if boxes and not error:
                write(self.data / path(frame.id, at_of(frame)), b"\xff\xd8 a thumbnail \xff\xd9")
        return self

    def spoil(self, camera, second, **options):
        return self.see(camera, second, error=DeadLetter("decode", "not a picture"), **options)

    def close_events(self, seconds=10**6, link=True):
        self.batching.write([Tick(from_microseconds(START + seconds * S))])
        incidents = Incidents(self.record)
        while link and incidents.is_behind():
            incidents.update()
        incidents.close_due(START + (seconds + 1000) * S)
        return self

    def export(self):
        export(self.lake)
        return self

    def keeper(self, **rules):
        return RetentionRun(self.record, self.data, self.base, RetentionPolicy(**rules))

    def set(self, events, **columns):
        for column, value in columns.items():
            self.record.execute(f"UPDATE events SET {column} = ? WHERE id IN ({','.join(map(str, events))})", value)
        return self

    def rows(self, sql, *args):
        return self.record.rows(sql, *args)

    def frames(self):
        """Ids of the frames that are kept."""
        return [i for (i,) in self.rows("SELECT id FROM frames WHERE pruned = 0 ORDER BY id")]

    def files(self, what="**/*"):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.glob(what) if p.is_file())


def at_of(frame):
    from hearthwatch.schemas.items import to_microseconds

    return to_microseconds(frame.captured_at)


def analyst(house):
    """A connection as an analyst has it."""
    return duckdb.connect(house.data / "analytics.duckdb", read_only=True)


def ids(house):
    """Of every table, the ids that an analyst finds, and how often."""
    with analyst(house) as db:
        return {table: Counter(i for (i,) in db.execute(f"SELECT id FROM {table}").fetchall()) for table in TABLES}


def lake_differs(house):
    """What the lake says otherwise than the record, whole rows compared; empty if nothing."""
    out = []
    for table in TABLES:
        kind = "frames" if table in ("detections", "suppressed") else table
        hours = set(hearthwatch.record.lake.export.hours(house.record, kind))
        hours |= {hearthwatch.record.lake.export.hour_of(file) for file in house.lake.files(table)}
        for hour in sorted(hours):
            expected = hearthwatch.record.lake.export.read(house.record, table, hour)
            file = house.lake.path(table, hour)
            if not file.exists():
                out += [f"{table} {hour}: no file"] if len(expected) else []
            elif not hearthwatch.record.lake.export.pq.read_table(file, partitioning=None).equals(expected):
                out.append(f"{table} {hour}")
    return out


def in_memory():
    """A folder in memory where there is such a thing: hundreds of records and lakes are made, and each waits for its disk."""
    memory = "/dev/shm"
    return TemporaryDirectory(prefix="hearthwatch-", dir=memory if os.access(memory, os.W_OK) else None)


class Killed(BaseException):
    """kill -9, as far as one process can play it: nothing catches this."""


class Steps:
    def __init__(self, at):
        self.at, self.taken = at, 0

    def __call__(self):
        self.taken += 1
        if self.taken == self.at:
            raise Killed


@contextmanager
def killed(at, monkeypatch):
    """Die right before this commit, rename, unlink or fsync, which is right after the one before it."""
    step = Steps(at)

    def around(owner, name):
        real = getattr(owner, name)

        def stepping(*args, **options):
            step()
            return real(*args, **options)

        patch.setattr(owner, name, stepping)

    with monkeypatch.context() as patch:
        around(Record, "transact")
        around(Path, "replace")
        around(Path, "unlink")
        around(os, "fsync")
        yield step


def every_kill(monkeypatch, prepare, work, check):
    """Run `work` on what `prepare` makes, dying at step 1, 2, 3 … until it completes; `check` after each death."""
    for at in count(1):
        house = prepare(at)
        with killed(at, monkeypatch) as step:
            try:
                work(house)
            except Killed:
                pass
        house.close()
        check(house.open(), at)
        house.close()
        if step.taken < at:
            return at - 1
    raise AssertionError
