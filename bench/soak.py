"""Upload for an hour at a steady rate and record what grows: null detector, built-in graph, API with a listener.

    scripts/bench soak [--minutes 60] [--rate N] [--gigabytes 0.15] [--csv FILE] [--svg docs/soak.svg]
    scripts/bench soak --from FILE --svg docs/soak.svg

Without --rate the highest sustainable rate is measured first, and 90 % of it is held. Thirty cameras upload; each has two
boxes on every picture for twenty seconds of every two minutes, and nothing else. Retention keeps the data folder small and
deletes uploads, too; lake and thumbnails are written. Two probes a second measure from a file's close until a reader of the
record sees its event. Tables and plot are made of a row every ten seconds.
"""

import argparse
import csv
import math
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from plot import Panel, figure  # noqa: E402

from tests.support.uploads import Home, Uploads, upload, vitals  # noqa: E402

CAMERAS = 30
SEEN_SECONDS, EVERY_SECONDS = 20, 120  # people come and go
STEP_SECONDS, STEP_FACTOR, FIRST_STEP = 15, 1.4, 150  # how the highest rate is searched
SUSTAINED_SECONDS = 1.0  # a rate is sustained if at the step's end no more waits than comes in this time
ROW_SECONDS = 10
PROBE_SECONDS, POLL_SECONDS, LOST_SECONDS = 0.5, 0.001, 60
ENDS_SECONDS = 600  # what the table compares: the first and the last ten minutes, a third of a shorter run
CHANGES = [
    ("interval_minutes = 60", "interval_minutes = 1"),
    ("unreviewed = false", "unreviewed = true"),
]


# -- clients


def called(began):
    """Name a camera's next picture: `empty` when no one is there. Cameras alternate."""

    def name(camera, n):
        phase = int(camera[3:]) * EVERY_SECONDS / CAMERAS
        return f"{n:08}{'' if (time.monotonic() - began + phase) % EVERY_SECONDS < SEEN_SECONDS else '-empty'}.jpg"

    return name


class Probe(threading.Thread):
    """A camera that waits for each of its pictures: `seconds` from close to event."""

    def __init__(self, home):
        super().__init__(daemon=True)
        self.home, self.seconds, self.ends = home, [], threading.Event()
        (home.base / "probe").mkdir(exist_ok=True)

    def run(self):
        db = sqlite3.connect(f"file:{self.home.path}?mode=ro", uri=True, timeout=30)
        n = 0
        while not self.ends.wait(random.uniform(0.5, 1.5) * PROBE_SECONDS):
            upload(self.home.base, "probe", f"{n:08}.jpg")
            closed, n = time.monotonic(), n + 1
            sql = "SELECT 1 FROM frames WHERE path = ? AND event_id IS NOT NULL"
            while not db.execute(sql, (f"probe/{n - 1:08}.jpg",)).fetchone():
                if time.monotonic() - closed > LOST_SECONDS:
                    break  # it counts as that
                time.sleep(POLL_SECONDS)
            self.seconds.append(time.monotonic() - closed)
        db.close()


class Listener(threading.Thread):
    """The page: receives every message, and requests events now and then."""

    def __init__(self, home):
        super().__init__(daemon=True)
        self.home, self.heard, self.gaps, self.last = home, 0, 0, None

    def run(self):
        try:
            with httpx.stream("GET", f"{self.home.url}/api/live", timeout=60, trust_env=False) as stream:
                for line in stream.iter_lines():
                    if line.startswith("id:"):
                        self.hear(int(line[3:]))
        except httpx.TransportError:
            pass  # the end

    def hear(self, seq):
        self.gaps += self.last is not None and seq != self.last + 1
        self.heard, self.last = self.heard + 1, seq


# -- the run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, help="pictures a second; without it 90 %% of what is sustained")
    parser.add_argument("--gigabytes", type=float, default=0.15, help="what retention leaves of the data dir")
    parser.add_argument("--csv", type=Path, help="where the rows are written")
    parser.add_argument("--svg", type=Path, help="where the plot is written")
    parser.add_argument("--from", dest="source", type=Path, help="rows of an earlier run: only table and plot")
    parser.add_argument("--folder", type=Path, help="where tree and record are made")
    given = parser.parse_args()
    if given.source:
        with given.source.open() as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    else:
        with tempfile.TemporaryDirectory(prefix="soak_", dir=given.folder) as folder:
            settings = {"HEARTHWATCH_RETENTION_GB": str(given.gigabytes), "HEARTHWATCH_RETENTION_ORIGINALS": "true"}
            home = Home(folder, "boxes = 2", CHANGES, **settings)
            try:
                rows = run(home, given)
            finally:
                home.close()
    table(rows)
    if given.svg:
        given.svg.write_text(plot(rows))


def run(home, given):
    home.start().serve()
    home.until(lambda: home.rows("SELECT 1 FROM heartbeat"))
    first, rate = {}, given.rate
    if rate is None:
        first, best = highest(home)
        rate = 0.9 * best
        print(f"{best:.0f} pictures/s are sustained, 90 % of that is held")
    uploads = Uploads(home.base, spread(rate), called(time.monotonic()), first)
    listener, probe = Listener(home), Probe(home)
    for thread in (listener, uploads, probe):
        thread.start()
    print(
        f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, {datetime.now():%Y-%m-%d %H:%M}; {rate:.0f} pictures/s on {CAMERAS} cameras "
        f"for {given.minutes:g} minutes\n",
        flush=True,
    )
    rows = watch(home, uploads, probe, given)
    uploads.stop()
    probe.ends.set()
    probe.join()
    total = uploads.total() + len(probe.seconds)
    home.until(lambda: home.rows("SELECT max(id) FROM frames") == [(total,)], 300)
    home.until_quiet(0, 300)
    time.sleep(3)  # the listener hears what the API looks for every now and then
    words(home, uploads, probe, listener, total)
    return rows


def spread(rate):
    return {f"cam{n:02}": rate / CAMERAS for n in range(CAMERAS)}


def highest(home):
    """Return the highest rate sustained for a step, and what was uploaded by then."""
    first, best, rate = {}, None, FIRST_STEP
    while True:
        uploads = Uploads(home.base, spread(rate), called(time.monotonic()), first)
        uploads.start()
        time.sleep(STEP_SECONDS)
        waits = uploads.total() - home.decided()
        uploads.stop()
        first = uploads.sent
        home.until_decided(uploads.total(), 300)
        print(
            f"{rate:.0f} pictures/s: {waits} wait after {STEP_SECONDS} s, uploader {uploads.late:.2f} s late",
            flush=True,
        )
        if waits > rate * SUSTAINED_SECONDS or uploads.late > SUSTAINED_SECONDS:
            return first, best
        best, rate = rate, rate * STEP_FACTOR


def watch(home, uploads, probe, given):
    rows, began, before = [], time.monotonic(), None
    with open(given.csv or os.devnull, "w", newline="") as file:
        while (second := time.monotonic() - began) < given.minutes * 60:
            now = Now(home, uploads, probe, second)
            if before:
                rows.append(now.row(before))
                if len(rows) == 1:
                    out = csv.DictWriter(file, rows[0])
                    out.writeheader()
                out.writerow(rows[-1])
                file.flush()
            before = now
            home.ask("/api/system/health")
            home.ask("/api/events", limit=50)
            assert not home.ended(), home.said()
            time.sleep(max(0.0, began + (len(rows) + 1) * ROW_SECONDS - time.monotonic()))
    return rows


class Now:
    """All figures at one moment."""

    def __init__(self, home, uploads, probe, second):
        self.second, self.sent, self.probed = second, uploads.total() + len(probe.seconds), len(probe.seconds)
        self.pipeline, self.api, self.bench = vitals(home.pid), vitals(home.api.pid), vitals(os.getpid())
        self.probe = probe
        self.decided = home.decided()
        ((self.events,),) = home.rows("SELECT coalesce(max(seq), 0) FROM feed")
        ((self.kept,),) = home.rows("SELECT count(*) FROM frames")
        self.db, self.wal = (size(home.path.with_name(home.path.name + part)) for part in ("", "-wal"))
        self.lake = folder_size(home.data / "lake")
        self.load = os.getloadavg()[0]

    def row(self, before):
        took = self.second - before.second
        ms = sorted(1000 * seconds for seconds in self.probe.seconds[before.probed : self.probed])
        return {
            "minute": round(self.second / 60, 3),
            "pictures_s": round((self.decided - before.decided) / took, 1),
            "waiting": max(0, self.sent - self.decided),
            "messages_s": round((self.events - before.events) / took, 2),
            "probe_p50_ms": round(percentile(ms, 0.5), 1),
            "probe_p99_ms": round(percentile(ms, 0.99), 1),
            "rss_mb": round(self.pipeline.rss_mb, 1),
            "api_rss_mb": round(self.api.rss_mb, 1),
            "handles": self.pipeline.handles,
            "api_handles": self.api.handles,
            "threads": self.pipeline.threads,
            "api_threads": self.api.threads,
            "frames_kept": self.kept,
            "db_mb": round(self.db, 1),
            "wal_mb": round(self.wal, 2),
            "lake_mb": round(self.lake, 1),
            "cpu": round(100 * (self.pipeline.cpu_seconds - before.pipeline.cpu_seconds) / took, 1),
            "api_cpu": round(100 * (self.api.cpu_seconds - before.api.cpu_seconds) / took, 1),
            "uploader_cpu": round(100 * (self.bench.cpu_seconds - before.bench.cpu_seconds) / took, 1),
            "load": round(self.load, 2),
        }


def size(path):
    try:
        return path.stat().st_size / 1e6
    except FileNotFoundError:
        return 0.0


def folder_size(folder):
    return sum(map(size, folder.rglob("*.parquet")))


def percentile(values, share):
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


# -- report


def words(home, uploads, probe, listener, total):
    """Print the totals, which have to add up."""
    (pruned,) = home.rows("SELECT count(*) FROM frames WHERE pruned = 0")[0]
    (last,) = home.rows("SELECT max(seq) FROM feed")[0]
    lost = sum(seconds > LOST_SECONDS for seconds in probe.seconds)
    print(
        f"{total:,} uploaded, {home.decided():,} decided, {total - pruned:,} of them deleted since; {last:,} messages, "
        f"{listener.heard:,} heard by the listener, {listener.gaps} gaps; {len(probe.seconds):,} probes, {lost} without an event; "
        f"uploader {uploads.late:.1f} s late at most; {len(home.pictures()):,} uploads left"
    )
    home.stop()
    print(f"hearthwatch verify: exit {home.verify()}\n\n{home.said()}")


FIGURES = {
    "pictures_s": "pictures/s",
    "waiting": "waiting",
    "messages_s": "messages/s",
    "probe_p50_ms": "close → event p50, ms",
    "probe_p99_ms": "close → event p99, ms",
    "rss_mb": "pipeline, MB",
    "api_rss_mb": "API, MB",
    "handles": "pipeline, file handles",
    "api_handles": "API, file handles",
    "threads": "pipeline, threads",
    "api_threads": "API, threads",
    "frames_kept": "frames kept",
    "db_mb": "record, MB",
    "wal_mb": "WAL, MB",
    "lake_mb": "lake, MB",
    "cpu": "pipeline, % of one CPU",
    "api_cpu": "API, % of one CPU",
    "uploader_cpu": "uploader, % of one CPU",
    "load": "load of the machine",
}


def table(rows):
    """Print medians of the first and the last ten minutes, and the highest of all."""
    minutes = min(ENDS_SECONDS / 60, rows[-1]["minute"] / 3)
    first = [row for row in rows if row["minute"] <= minutes]
    last = [row for row in rows if row["minute"] > rows[-1]["minute"] - minutes]
    print(
        f"| median of | first {minutes:.2g} minutes | last {minutes:.2g} minutes | change | highest |\n|---|---|---|---|---|"
    )
    for key, label in FIGURES.items():
        a, b = (statistics.median(row[key] for row in part) for part in (first, last))
        change = f"{100 * (b - a) / a:+.0f} %" if a else "–"
        print(f"| {label} | {short(a)} | {short(b)} | {change} | {short(max(row[key] for row in rows))} |")


# -- the plot

PANELS = {  # heading: its lines
    "pictures/s": {"": "pictures_s"},
    "pictures that wait, highest": {"": "waiting"},
    "file close → event, ms": {"p50": "probe_p50_ms", "p99": "probe_p99_ms"},
    "resident, MB": {"pipeline": "rss_mb", "API": "api_rss_mb"},
    "file handles": {"pipeline": "handles", "API": "api_handles"},
    "threads": {"pipeline": "threads", "API": "api_threads"},
    "record, MB": {"file": "db_mb", "WAL": "wal_mb"},
    "frames kept": {"": "frames_kept"},
    "lake, MB": {"": "lake_mb"},
    "% of one CPU": {"pipeline": "cpu", "API": "api_cpu", "uploader": "uploader_cpu"},
    "messages/s": {"": "messages_s"},
    "load of the machine": {"": "load"},
}


def plot(rows):
    rows = minutely(rows)
    step = max(1, len(rows) // 4)
    minutes = [f"{row['minute']:.0f}" if n % step == step - 1 else "" for n, row in enumerate(rows)]
    panels = [
        Panel(heading, minutes, {name: [row[key] for row in rows] for name, key in lines.items()})
        for heading, lines in PANELS.items()
    ]
    pace = statistics.median(row["pictures_s"] for row in rows)
    return figure(f"{rows[-1]['minute']:.0f} minutes at {pace:.0f} pictures/s", panels)


def minutely(rows):
    """Make one point of six rows: the median, but the highest of a p99 and of what waits."""
    chunks = [rows[start : start + 6] for start in range(0, len(rows), 6)]
    worst = ("probe_p99_ms", "waiting", "wal_mb")
    return [
        {key: (max if key in worst else statistics.median)(row[key] for row in chunk) for key in chunk[0]}
        for chunk in chunks
    ]


def short(number):
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


if __name__ == "__main__":
    main()
