"""Measure what grows with the record: CPU, pictures/s, latency, newest page, start, memory, size, at up to 5 M frames.

    scripts/bench growth [--rows 10000 100000 1000000 5000000] [--pictures 4000] [--live 40] [--keep FOLDER] [--svg docs/growth.svg]

Records are filled with SQL (two boxes a frame, a hundred frames an event) and then worked on by the real flow with a null
detector. `--keep`: the filled records are made there once and copied for each run. Start is from the process' start to
the first picture decided, the page is `GET /api/events?limit=50`, one client, no pipeline beside it.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from plot import Panel, figure  # noqa: E402
from spine import _decided, _resident, make_tree, small_jpeg  # noqa: E402

from tests.support.drawn_house import Api  # noqa: E402
from tests.support.large_record import CAMERAS, fill  # noqa: E402
from tests.support.pipeline import Pipeline  # noqa: E402

T = 1_700_100_000  # after everything that `fill` and the backlog make
PAGES = 200
STARTS = 3
LIVE_SECONDS = 0.1  # between two live pictures
FIGURES = {
    "CPU ms per picture, decode and detect apart": "{:.3f}",
    "pictures/s": "{:,.0f}",
    "file close → event row, p50 ms": "{:.1f}",
    "file close → event row, p99 ms": "{:.1f}",
    "newest page over HTTP, median ms": "{:.2f}",
    "start → first picture decided, s": "{:.2f}",
    "resident MB of the pipeline": "{:.0f}",
    "size of the record, MB": "{:,.0f}",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 5_000_000])
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--live", type=int, default=40, help="pictures that come one by one")
    parser.add_argument("--keep", type=Path, help="where the filled records are, or are made")
    parser.add_argument("--folder", type=Path, help="where trees and records are made")
    parser.add_argument("--svg", type=Path, help="where the plot is written")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="growth_", dir=given.folder) as folder:
        keep = given.keep or Path(folder)
        for rows in given.rows:
            if not (keep / f"{rows}.db").exists():
                keep.mkdir(parents=True, exist_ok=True)
                fill(keep / f"{rows}.db.part", rows)
                (keep / f"{rows}.db.part").rename(keep / f"{rows}.db")
        columns = [measured(Path(folder) / str(rows), keep / f"{rows}.db", rows, given) for rows in given.rows]
    report(given, columns)
    if given.svg:
        given.svg.write_text(plot(given.rows, columns))


def measured(folder, record, rows, given):
    """Measure one column of the table, in the order of FIGURES."""
    p = Pipeline(folder, options="boxes = 2", HEARTHWATCH_CAPTURE_TIME="mtime")
    p.data.mkdir()
    shutil.copyfile(record, p.path)
    size = p.path.stat().st_size / 1e6
    make_tree(p.base, given.pictures)
    cpu, rate, memory = backlog(p, rows, given.pictures)
    start = statistics.median(started(p, n, last=n == STARTS - 1) for n in range(STARTS))
    try:
        latency = live(p, given.live)
        p.stop()
    finally:
        p.kill()
    page = newest_page(p)
    shutil.rmtree(folder)
    print(f"{rows:,} rows measured", file=sys.stderr, flush=True)
    p99 = latency[round(0.99 * (len(latency) - 1))]
    return [cpu, rate, statistics.median(latency), p99, page, start, memory, size]


def backlog(p, rows, pictures):
    command = [sys.executable, str(ROOT / "bench/spine.py"), "--measured"]
    with subprocess.Popen(
        command, cwd=p.folder, env={**os.environ, **p._environment}, stdout=subprocess.PIPE, text=True
    ) as process:
        while not (head := _decided(p) - rows):
            time.sleep(0.01)
        began = time.monotonic()
        while _decided(p) - rows < pictures:
            time.sleep(0.02)
        rate, memory = (pictures - head) / (time.monotonic() - began), _resident(process.pid)
        process.terminate()
        seconds = json.loads(process.stdout.read())
    return (seconds["whole"] - seconds["decode"] - seconds["detect"]) / pictures * 1000, rate, memory


def started(p, number, last):
    """Time from the start of the process until a waiting picture is decided, s; the last process stays running."""
    before = _decided(p)
    upload(p, "cam0", -number - 1)
    began = time.monotonic()
    p.start().until(lambda: _decided(p) > before)
    seconds = time.monotonic() - began
    if not last:
        p.stop()
    return seconds


def live(p, pictures):
    """Time from a file's close until a reader sees its event, ms, sorted."""
    out = []
    for i in range(pictures):
        path, closed = upload(p, f"cam{i % CAMERAS}", i + 1), time.monotonic()
        p.until(lambda path=path: p.rows("SELECT event_id FROM frames WHERE path = ? AND event_id > 0", path))
        out.append(1000 * (time.monotonic() - closed))
        time.sleep(LIVE_SECONDS)
    return sorted(out)


def upload(p, camera, number):
    """Upload a picture a thousand seconds after the one before; it opens an event."""
    file = f"live{number}.jpg"
    p.upload(camera, file, small_jpeg(10**6 + number), mtime=T + 1000 * number)
    return f"{camera}/{file}"


def newest_page(p):
    api = Api(SimpleNamespace(data=p.data, base=p.base)).start()
    try:
        with httpx.Client(base_url=api.url) as client:
            return statistics.median(1000 * asked(client) for _ in range(PAGES))
    finally:
        api.kill()


def asked(client):
    began = time.perf_counter()
    client.get("/api/events?limit=50").raise_for_status()
    return time.perf_counter() - began


def report(given, columns):
    print(
        f"{given.pictures} pictures, {given.live} live ones, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}\n"
    )
    print(f"| {'frames in the record':<44} | " + " | ".join(f"{rows:>11,}" for rows in given.rows) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for i, (what, form) in enumerate(FIGURES.items()):
        print(f"| {what:<44} | " + " | ".join(f"{form.format(column[i]):>11}" for column in columns) + " |")


def plot(rows, columns):
    labels = [f"{n // 10**6} M" if n >= 10**6 else f"{n // 1000} k" for n in rows]
    wanted = [i for i, what in enumerate(FIGURES) if "p99" not in what and "size" not in what]
    panels = [
        Panel(list(FIGURES)[i].removesuffix(", decode and detect apart"), labels, {"": [c[i] for c in columns]})
        for i in wanted
    ]
    return figure("What grows with the record (frames in it)", panels)


if __name__ == "__main__":
    main()
