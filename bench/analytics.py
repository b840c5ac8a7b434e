"""The lake at ten million detections: questions, exports, retention. `python bench/analytics.py [DETECTIONS] [FOLDER]`

Makes a record of 30 days (rows written directly, two boxes a picture), exports it, and then asks: hourly × camera × class
over 30 days in DuckDB and the same SQL in SQLite, while another process goes on writing frames; the cost of an hour file;
the cost of forgetting one day, and the longest time for which another writer had to wait.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from record import Record
from record.batching import Batching
from record.keeper import Keeper
from record.lake import Lake
from record.ledger import Found, Ledger
from record.retention import DAY, Rules
from schemas import Detected, Detection
from sinks.catalogue import FILE, export
from stages.rules import judge

S = 1_000_000
START = 1_792_000_000 * S
DAYS = 30
CAMERAS = 8
CLASSES = ("person", "car", "dog", "cat")
DUCKDB = "SELECT hour, camera_id, object_type, detections FROM hourly"
SQLITE = "SELECT detected_at / 3600000000, camera_id, object_type, count(*) FROM detections GROUP BY 1, 2, 3"


def main() -> None:
    boxes = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        data = Path(folder)
        record = Record(data / "hearthwatch.db")
        report("made", timed(lambda: make(record, boxes // 2)))
        lake = Lake(record, data)
        hours = DAYS * 24
        seconds = timed(lambda: export(lake))
        report(
            f"first export of {hours} hours",
            seconds,
            f"{seconds / hours * 1000:.0f} ms an hour of {boxes // hours} boxes",
        )
        stop = multiprocessing.Event()
        writer = multiprocessing.Process(target=write, args=(data, stop))
        writer.start()
        try:
            questions(record, data)
            record.execute("UPDATE events SET notes = 'seen' WHERE id = (SELECT max(id) FROM events)")
            record.execute("UPDATE frames SET event_id = event_id WHERE id = (SELECT max(id) FROM frames)")
            report("export of what changed", timed(lambda: export(lake)))
            forget_a_day(record, data)
        finally:
            stop.set()
            writer.join()
        report("export after it", timed(lambda: export(lake)))


def make(record: Record, frames: int) -> None:
    """Rows as the pipeline leaves them: an event for each minute of a camera with pictures, spread evenly."""
    step = DAYS * DAY // frames
    per_event = max(1, 60 * S // (step * CAMERAS))

    def part(first: int, last: int) -> None:
        rows = [(i, START + i * step, i % CAMERAS, first_of(i, per_event)) for i in range(first, last)]
        record.many(
            "INSERT INTO frames(id, uid, camera_id, path, mtime_ns, size, captured_at, arrived_at, discovered_at, state, event_id, "
            "width, height, model, detect_ms) VALUES (?,?,?,?,?,1,?,?,?,'settled',?,1920,1080,'bench',31.5)",
            [(i, f"{i:032x}", f"camera{c}", f"camera{c}/{at}.jpg", at * 1000, at, at, at, e) for i, at, c, e in rows],
        )
        record.many(
            "INSERT INTO detections VALUES (?,?,?,?,?,?,?,?,?,?,?,?,NULL)",
            [
                (
                    i * 512 + n,
                    i,
                    e,
                    f"camera{c}",
                    f"camera{c}/{at}.jpg",
                    at,
                    CLASSES[(i + n) % 4],
                    0.5 + i % 50 / 100,
                    i % 1000,
                    5,
                    50,
                    90,
                )
                for i, at, c, e in rows
                for n in (0, 1)
            ],
        )
        record.many(
            "INSERT INTO events(id, batch_id, camera_id, started_at, ended_at, frame_count, status, risk_score, risk_level, "
            "summary, analyzer, last_at, close_at, sealed, revision, objects) VALUES (?,?,?,?,?,?,'closed',20,'low','a visit','rules',?,0,1,0,'{\"person\":1}')",
            [(i, f"{i}", f"camera{c}", at, at, per_event, at) for i, at, c, e in rows if e == i],
        )  # fmt: skip
        record.count(settled=len(rows), detections=2 * len(rows), events=sum(e == i for i, _, _, e in rows))

    for first in range(1, frames + 1, 20_000):
        record.transact(partial(part, first, min(first + 20_000, frames + 1)))


def first_of(frame: int, per_event: int) -> int:
    """The first frame of the event that a frame belongs to: as many of one camera in a row."""
    turn = (frame - 1) // CAMERAS
    return frame - (turn % per_event) * CAMERAS


def questions(record: Record, data: Path) -> None:
    with duckdb.connect(data / FILE, read_only=True) as db:
        times = sorted(timed(lambda: db.execute(DUCKDB).fetchall()) for _ in range(7))
        rows = len(db.execute(DUCKDB).fetchall())
        days = timed(lambda: db.execute("SELECT * FROM camera_daily").fetchall())
        odd = timed(lambda: db.execute("SELECT * FROM unusual_hours").fetchall())
    lite = timed(lambda: record.rows(SQLITE))
    report(f"DuckDB, {rows} rows", times[3], f"best {times[0]:.2f} s")
    report("SQLite, the same", lite, f"{lite / times[3]:.0f} x")
    report("camera_daily", days)
    report("unusual_hours", odd)


def forget_a_day(record: Record, data: Path) -> None:
    keeper = Keeper(record, data, data / "uploads", Rules(originals=True, unreviewed=True))
    (data / "uploads").mkdir()
    for camera in range(CAMERAS):
        (data / "uploads" / f"camera{camera}").mkdir()
    waits: list[float] = []
    done = threading.Event()

    def other_writer() -> None:
        other = Record(data / "hearthwatch.db")
        while not done.wait(0.002):
            waits.append(
                timed(lambda: other.transact(lambda: other.execute("UPDATE cameras SET notes = '' WHERE id = 'x'")))
            )
        other.close()

    thread = threading.Thread(target=other_writer)
    thread.start()
    before = keeper.retention.older_than(START + DAY)
    seconds = timed(lambda: keeper.retention.forget(before))
    done.set()
    thread.join()
    n = keeper.retention.done
    waits.sort()
    report(
        f"a day forgotten: {n.frames} pictures",
        seconds,
        f"{seconds / max(1, n.frames) * 1e6:.0f} µs each, pauses included",
    )
    report(
        "another writer waited at most", waits[-1], f"p99 {waits[int(len(waits) * 0.99)] * 1000:.0f} ms of {len(waits)}"
    )


def write(data: Path, stop: multiprocessing.synchronize.Event) -> None:  # type: ignore[name-defined]
    """A pipeline that goes on: 20 pictures a second through the ledger and batching."""
    record = Record(data / "hearthwatch.db")
    ledger, batching = Ledger(record), Batching(record, partial(judge, zone=ZoneInfo("UTC")))
    at = START + DAYS * DAY
    while not stop.wait(0.05):
        at += 50_000
        ledger.discover([Found("live", "live", f"live/{at}.jpg", at * 1000, 1, at, at)], at)
        (last,) = record.one("SELECT max(id) - 1 FROM frames")
        boxes = (Detection("person", 0.9, (1, 2, 3, 4)),)
        batching.write([Detected(entry.frame, 1920, 1080, boxes) for entry in ledger.todo(last, 10)])


def timed(work) -> float:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(what: str, seconds: float, more: str = "") -> None:
    print(f"{what:<36} {seconds:8.2f} s   {more}", flush=True)


if __name__ == "__main__":
    main()
