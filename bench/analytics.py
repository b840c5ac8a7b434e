"""Time queries, exports and retention at ten million detections. `scripts/bench analytics FOLDER [DETECTIONS] [PART …]`

Makes a record of 30 days in FOLDER (rows written directly, two boxes a picture) unless there is one. Then the parts, all by
default: `export` writes the lake again; `ask` queries hourly × camera × class over the 30 days, in DuckDB and with the same SQL
in SQLite; `prune` deletes the oldest day that is left, and reports how long the record was locked and how long another writer
waited. While `ask` and `prune` run, another process writes 20 pictures a second through ledger and batching.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import duckdb

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.lake.export import Lake
from hearthwatch.record.lake.views import FILE, export
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.lock import wait_for_lock
from hearthwatch.record.retention.policy import RetentionPolicy
from hearthwatch.record.retention.run import RetentionRun
from hearthwatch.record.units import DAY
from hearthwatch.schemas import Detected, Detection
from hearthwatch.schemas.items import PER_FRAME
from hearthwatch.stages.rules import RulesJudge

T = TypeVar("T")

S = 1_000_000
START = 1_792_000_000 * S
DAYS = 30
CAMERAS = 8
CLASSES = ("person", "car", "dog", "cat")
FRAMES_AT_ONCE = 20_000
DUCKDB = "SELECT hour, camera_id, object_type, detections FROM hourly"
SQLITE = "SELECT detected_at / 3600000000, camera_id, object_type, count(*) FROM detections GROUP BY 1, 2, 3"
EMPTY = "UPDATE cameras SET notes = '' WHERE id = 'x'"


def main() -> None:
    words = sys.argv[1:]
    if not words:
        sys.exit(__doc__)
    data = Path(words.pop(0))
    boxes = int(words.pop(0)) if words and words[0].isdigit() else 10_000_000
    if unknown := set(words) - set(PARTS):
        sys.exit(f"{', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    record = Record(data / "hearthwatch.db")
    (last,) = record.one("SELECT coalesce(max(id), 0) FROM frames")
    if last < boxes // 2:
        report("filled", timed(lambda: make(record, last + 1, boxes // 2)))
    for part in words or PARTS:
        PARTS[part](record, data)


def write_the_lake(record: Record, data: Path) -> None:
    """Export every hour that has rows, then one more picture."""
    lake = Lake(record, data)
    hours = len({*record.rows("SELECT DISTINCT hour FROM dirty_hours WHERE kind = 'frames'")})
    seconds = timed(lambda: export(lake))
    report("export", seconds, f"{hours} hours, {seconds / max(1, hours) * 1000:.0f} ms each")
    touched = "UPDATE frames SET event_id = event_id WHERE id = (SELECT max(id) FROM frames)"
    record.execute(touched)
    report("export after one picture", timed(lambda: export(lake)))


def ask(record: Record, data: Path) -> None:
    """Run the same query in both, while a pipeline writes."""
    with other_process_writes(data), duckdb.connect(data / FILE, read_only=True) as db:
        rows = len(db.execute(DUCKDB).fetchall())
        times = sorted(timed(lambda: db.execute(DUCKDB).fetchall()) for _ in range(15))
        duck = times[len(times) // 2]
        report(f"DuckDB, {rows} rows", duck, f"best {times[0]:.2f}, worst {times[-1]:.2f} s of {len(times)}")
        for view in ("camera_daily", "unusual_hours"):
            report(view, timed(lambda view=view: db.execute(f"SELECT * FROM {view}").fetchall()))
        lite = timed(lambda: record.rows(SQLITE))
        report("SQLite, the same", lite, f"{lite / duck:.0f} x")


def delete_a_day(record: Record, data: Path) -> None:
    """Delete the oldest day with the product's retention and its pauses; there are no files, only their names."""
    first, others = record.one("SELECT min(id) FROM frames")[0], list[float]()
    oldest = record.one("SELECT discovered_at FROM frames WHERE id = ?", first)[0]
    for camera in range(CAMERAS):  # without a camera's folder its disk would count as not mounted
        (data / "uploads" / f"camera{camera}").mkdir(parents=True, exist_ok=True)
    mine = Watched(data / "hearthwatch.db")
    retention = RetentionRun(mine, data, data / "uploads", RetentionPolicy(originals=True, unreviewed=True)).deleter
    before = retention.candidates.first_frame_since(oldest + DAY)
    with other_process_writes(data), other_writer_waits(data, others):
        seconds = timed(lambda: retention.delete(before))
    n = retention.counts.frames
    report("a day deleted", seconds, f"{n} pictures, {seconds / max(1, n) * 1e6:.0f} µs each, {len(mine.held)} steps")
    report_waits("the record was locked", mine.held)
    report_waits("another writer waited", others)
    mine.close()
    with wait_for_lock("lake", data / "hearthwatch.db", data):
        report("export of what it emptied", timed(lambda: Lake(record, data).export()))


PARTS: dict[str, Callable[[Record, Path], None]] = {"export": write_the_lake, "ask": ask, "prune": delete_a_day}


class Watched(Record):
    """A record that measures how long each transaction locked out other writers."""

    def __init__(self, path: Path) -> None:
        self.held = list[float]()
        super().__init__(path)

    def _transact_once(self, work: Callable[[], T]) -> T:
        began = 0.0

        def noted() -> T:
            nonlocal began
            began = time.perf_counter()
            return work()

        try:
            return super()._transact_once(noted)
        finally:
            if began:
                self.held.append(time.perf_counter() - began)


@contextmanager
def other_process_writes(data: Path) -> Iterator[None]:
    """Run `write` in another process."""
    stop = multiprocessing.Event()
    writer = multiprocessing.Process(target=write, args=(data, stop))
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


@contextmanager
def other_writer_waits(data: Path, waits: list[float]) -> Iterator[None]:
    """Measure every 2 ms how long another writer in this process waits."""
    done = threading.Event()
    other = Record(data / "hearthwatch.db")

    def work() -> None:
        while not done.wait(0.002):
            waits.append(timed(lambda: other.transact(lambda: other.execute(EMPTY))))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        other.close()


def make(record: Record, begin: int, frames: int) -> None:
    """Insert rows as the pipeline does: an event for each minute of a camera with pictures, spread evenly, two messages each."""
    step = DAYS * DAY // frames
    per_event = max(1, 60 * S // (step * CAMERAS))

    def part(first: int, last: int) -> None:
        rows = [
            (i, START + i * step, f"camera{i % CAMERAS}", first_of(i, per_event)) for i in range(first, min(last, frames + 1))
        ]  # fmt: skip
        record.many(
            "INSERT INTO frames(id, uid, camera_id, path, mtime_ns, size, captured_at, arrived_at, discovered_at, state, event_id, "
            "width, height, model, detect_ms) VALUES (?,?,?,?,?,1,?,?,?,'settled',?,1920,1080,'bench',31.5)",
            [(i, f"{i:032x}", camera, f"{camera}/{at}.jpg", at * 1000, at, at, at, e) for i, at, camera, e in rows],
        )
        record.many(
            "INSERT INTO detections VALUES (?,?,?,?,?,?,?,?,?,5,50,90,NULL,NULL)",
            [
                (i * PER_FRAME + n, i, e, camera, f"{camera}/{at}.jpg", at, CLASSES[(i + n) % 4], 0.5 + i % 50 / 100, i % 1000)
                for i, at, camera, e in rows for n in (0, 1)
            ],
        )  # fmt: skip
        events = [(i, at, camera) for i, at, camera, e in rows if e == i]
        record.many(
            "INSERT INTO events(id, batch_id, camera_id, started_at, ended_at, frame_count, status, risk_score, risk_level, "
            "summary, analyzer, last_at, close_at, sealed, revision, objects) VALUES (?,?,?,?,?,?,'closed',20,'low','a visit','rules',?,0,1,2,'{\"person\":1}')",
            [(i, f"{i}", camera, at, at, per_event, at) for i, at, camera in events],
        )  # fmt: skip
        for revision, type in enumerate(("event.opened", "event.closed"), 1):
            messages = [(i, revision, type, at) for i, at, _ in events]
            record.many(
                "INSERT INTO feed(subject_id, revision, type, payload, at) VALUES (?,?,?,hex(zeroblob(250)),?)",
                messages,
            )
            record.many(
                "INSERT INTO event_history(event_id, revision, type, risk_score, risk_level, summary, analyzer, at) "
                "VALUES (?,?,?,20,'low','a visit','rules',?)", messages,
            )  # fmt: skip
        record.count(settled=len(rows), detections=2 * len(rows), events=len(events))

    for first in range(begin, frames + 1, FRAMES_AT_ONCE):
        record.transact(partial(part, first, first + FRAMES_AT_ONCE))


def first_of(frame: int, per_event: int) -> int:
    """Return the first frame of a frame's event: one camera's frames follow each other."""
    turn = (frame - 1) // CAMERAS
    return frame - (turn % per_event) * CAMERAS


def write(data: Path, stop: multiprocessing.synchronize.Event) -> None:  # type: ignore[name-defined]
    """Write 20 pictures a second through ledger and batching until stopped."""
    record = Record(data / "hearthwatch.db")
    ledger, batching = Ledger(record), Batching(record, partial(RulesJudge, zone=ZoneInfo("UTC")))
    (at,) = record.one("SELECT max(arrived_at) FROM frames")
    while not stop.wait(0.05):
        at += 50_000
        ledger.discover([FoundFile("live", "live", f"live/{at}.jpg", at * 1000, 1, at, at)], at)
        (last,) = record.one("SELECT max(id) - 1 FROM frames")
        boxes = (Detection("person", 0.9, (1, 2, 3, 4)),)
        batching.write([Detected(entry.frame, 1920, 1080, boxes) for entry in ledger.todo(last, 10)])


def timed(work) -> float:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(what: str, seconds: float, more: str = "") -> None:
    print(f"{what:<30} {seconds:8.2f} s   {more}", flush=True)


def report_waits(what: str, seconds: list[float]) -> None:
    """Report the longest of these, and how many took how long."""
    times = sorted(seconds)
    middle, late = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    report(f"{what} at most", times[-1], f"p50 {middle:.0f}, p99 {late:.0f} ms of {len(times)}")


if __name__ == "__main__":
    main()
