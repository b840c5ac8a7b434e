"""Time from the close of a file until a reader of the record sees its event; null detector, live pictures.

    scripts/bench latency [--pictures 200] [--rate 5] [--idle-seconds 10]

Pictures come one by one, alternately moved in and written in place; each opens an event. The reader polls the record every
0.5 ms. At the end: the CPU of an idle pipeline.
"""

import argparse
import math
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.support.pipeline import Pipeline, name  # noqa: E402

T = 1_700_000_000
CAMERAS = 8
POLL_SECONDS = 0.0005
WAYS = {"move": "moved in", "write": "written and closed"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rate", type=float, default=5, help="pictures a second")
    parser.add_argument("--idle-seconds", type=float, default=10, help="how long nothing comes at the end")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="latency_") as folder:
        p = Pipeline(folder, options="boxes = 2").start()
        try:
            measured = measure(p, given.pictures, given.rate)
            idle = idle_share(p, given.idle_seconds)
            p.stop()
        finally:
            p.kill()
    print(f"{given.pictures} pictures at {given.rate:g}/s, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}\n")
    print(f"| {'file close → event row, ms':<26} |    p50 |    p99 |    max |\n|---|---|---|---|")
    for how, words in WAYS.items():
        ms = sorted(1000 * seconds for seconds in measured[how])
        p99 = ms[math.ceil(0.99 * len(ms)) - 1]
        print(f"| {words:<26} | {statistics.median(ms):6.1f} | {p99:6.1f} | {ms[-1]:6.1f} |")
    print(f"\nidle: {100 * idle:.1f} % of one CPU")


def measure(p, pictures, rate):
    for camera in range(CAMERAS):  # known cameras, watched folders
        p.upload(f"cam{camera}", name(T, f"first{camera}"))
    p.until(lambda: p.rows("SELECT count(*) FROM events") == [(CAMERAS,)])
    db = sqlite3.connect(f"file:{p.path}?mode=ro", uri=True)
    measured = {how: [] for how in WAYS}
    for i in range(pictures):
        how, file = list(WAYS)[i % 2], name(T + 1000 * (i + 1), str(i))
        due = time.monotonic() + random.uniform(0.5, 1.5) / rate  # not in step with anything that polls
        p.upload(f"cam{i % CAMERAS}", file, how=how)
        closed = time.monotonic()
        wait_for_event(db, f"cam{i % CAMERAS}/{file}", closed)
        measured[how].append(time.monotonic() - closed)
        time.sleep(max(0.0, due - time.monotonic()))
    db.close()
    return measured


def wait_for_event(db, path, since):
    sql = "SELECT 1 FROM frames f JOIN events e ON e.id = f.event_id WHERE f.path = ? AND f.id > ?"
    (before,) = db.execute("SELECT coalesce(max(id), 0) - 20 FROM frames").fetchone()
    while not db.execute(sql, (path, before)).fetchone():
        if time.monotonic() - since > 30:
            raise SystemExit(f"{path} has no event after 30 s")
        time.sleep(POLL_SECONDS)


def idle_share(p, seconds):
    def cpu():
        fields = Path(f"/proc/{p.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    time.sleep(1)
    before = cpu()
    time.sleep(seconds)
    return (cpu() - before) / seconds


if __name__ == "__main__":
    main()
