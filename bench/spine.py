"""Measure the cost of a picture without its detector: CPU per part, pictures/s, memory; small JPEGs, 2 boxes, no model.

    scripts/bench spine [--pictures 20000] [--rounds 3] [--rows 1000000] [--memory 200000]

Runs the real flow in a separate process over an existing tree, and measures each thread's CPU time around its parts. `graph`
is the rest: Bytewax, and Python between the parts. In the same run the bare record path: the same frames through ledger and
batching alone, without files, threads or Bytewax; and the judge of one event of 18,000 boxes: rebuilt as after a restart,
and one more picture of 20 people.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from hearthwatch.record import Record  # noqa: E402
from tests.support.large_record import CAMERAS, fill  # noqa: E402
from tests.support.pipeline import Pipeline  # noqa: E402
from tests.support.uploads import small_picture  # noqa: E402

T = 1_700_000_000
APART = 0.1  # seconds between pictures: each camera always sees a person, events end by their window
PARTS = ("discovery", "watch", "decode", "hand-out", "detect", "record")
CHUNK = 64  # frames per transaction on the bare path, the most that the files source emits


# -- the process that is measured


class Meter:
    """CPU seconds of threads, by part."""

    def __init__(self, parts=PARTS):
        self.seconds = dict.fromkeys(parts, 0.0)
        self._turn = threading.Lock()

    def around(self, part, owner, name):
        """Measure what `owner.name` takes from now on."""
        function = getattr(owner, name)

        def metered(*args, **options):
            began = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                with self._turn:
                    self.seconds[part] += time.thread_time() - began

        setattr(owner, name, metered)


def measured():
    """Run `flow` as `python -m bytewax.run flow` does; print the CPU seconds of its parts at its end."""
    from bytewax.run import cli_main

    import hearthwatch.sources.prefetch
    from flow import flow
    from hearthwatch.flows.guard import Process
    from hearthwatch.sources.discovery import Discovery
    from hearthwatch.sources.files import FilesPartition
    from hearthwatch.sources.watch import FolderWatcher
    from hearthwatch.stages.batch import BatchWriter

    meter = Meter()
    meter.around("discovery", Discovery, "run")
    meter.around("watch", FolderWatcher, "run")
    meter.around("decode", hearthwatch.sources.prefetch, "open_picture")
    meter.around("hand-out", FilesPartition, "next_batch")
    meter.around("detect", Process, "__call__")
    meter.around("record", BatchWriter, "write")
    began = time.process_time()
    cli_main(flow)
    seconds = {"whole": time.process_time() - began, **meter.seconds}
    seconds["graph"] = seconds["whole"] - sum(meter.seconds.values())
    print(json.dumps(seconds), flush=True)


def bare(path, pictures):
    """Process the same frames through ledger and batching alone; print CPU seconds."""
    from hearthwatch.record.batching import Batching
    from hearthwatch.record.ledger import FoundFile, Ledger
    from hearthwatch.schemas import Detected, Detection
    from hearthwatch.schemas.items import Tick, from_microseconds
    from hearthwatch.stages.rules import RulesJudge

    record = Record(path)
    ledger, batching = Ledger(record), Batching(record, RulesJudge)
    found = [
        FoundFile(f"cam{i % CAMERAS}", f"cam{i % CAMERAS}", f"cam{i % CAMERAS}/{i}.jpg", 0, 1, at, at)
        for i, at in ((i, round((T + i * APART) * 1e6)) for i in range(pictures))
    ]
    (last,) = record.one("SELECT coalesce(max(id), 0) FROM frames")
    wall, began = time.monotonic(), time.process_time()
    for start in range(0, pictures, 500):
        ledger.discover(found[start : start + 500], (T + pictures) * 10**6)
    while entries := ledger.todo(last, CHUNK):
        last = entries[-1].frame.id
        batching.write([Detected(e.frame, 64, 48, _boxes(Detection, e.frame.id)) for e in entries])
    batching.write([Tick(from_microseconds((T + pictures) * 10**6))])
    print(json.dumps({"whole": time.process_time() - began, "wall": time.monotonic() - wall}))


def _boxes(detection, n):
    return tuple(detection("person", 0.9, (n * k % 600, n * k % 300, 20, 30)) for k in (7, 11))


def crowd(record, pictures=900, people=20):
    """Milliseconds, the least of 20, to rebuild the judge of an open event of so many boxes, and to add a picture."""
    from hearthwatch.record.batching import Batching
    from hearthwatch.record.ledger import FoundFile, Ledger
    from hearthwatch.record.suppression import Stillness
    from hearthwatch.schemas import Detected, Detection
    from hearthwatch.schemas.case import Sighting
    from hearthwatch.stages.rules import RulesJudge

    ledger, batching = Ledger(record), Batching(record, RulesJudge, stillness=Stillness(kinds=()))
    times = [round((T + i * 89 / pictures) * 1e6) for i in range(pictures)]
    ledger.discover([FoundFile("cam", "cam", f"cam/{at}.jpg", 0, 1, at, at) for at in times], times[-1])
    for i, entry in enumerate(ledger.todo(0, pictures)):
        boxes = [Detection("person", 0.9, (60 * n + i // 5, 100, 40, 120)) for n in range(people)]
        batching.write([Detected(entry.frame, 640, 360, tuple(boxes))])
    ((event, boxes),) = record.rows("SELECT event_id, count(*) FROM detections GROUP BY 1")
    assert boxes == pictures * people
    rebuilt, more = [], []
    for _ in range(20):
        began = time.thread_time()
        judge = batching.writer._read_judged(event).judge
        rebuilt.append(time.thread_time() - began)
        at = times[-1] + 30 * 10**6  # late enough to be used
        seen = [Sighting(n, at, "person", 0.9, 60 * n + 200, 100, 40, 120) for n in range(people)]
        for track, s in zip(judge.entities.tracker.live, seen, strict=False):
            track.last = s  # all still there
        began = time.thread_time()
        judge.add(at, {"person": people}, lambda seen=seen: seen)
        judge.score()
        more.append(time.thread_time() - began)
    return min(rebuilt) * 1e3, min(more) * 1e3


# -- input


def small_jpeg(number):
    """Return the same picture in other bytes."""
    return small_picture(f"{number:09}")


def make_tree(base, pictures, first=0):
    """Write small JPEGs, all different, cameras alternating."""
    for camera in range(CAMERAS):
        (base / f"cam{camera}").mkdir(parents=True, exist_ok=True)
    for i in range(first, first + pictures):
        path = base / f"cam{i % CAMERAS}" / f"{i}.jpg"
        path.write_bytes(small_jpeg(i))
        at = round((T + i * APART) * 1e9)
        os.utime(path, ns=(at, at))


# -- measurements


def run_flow(folder, pictures, rows, watch_memory=()):
    """Run over a backlog of `pictures`. Return CPU ms per picture by part, pictures/s, MB at these counts."""
    p = Pipeline(folder, options="boxes = 2", HEARTHWATCH_CAPTURE_TIME="mtime")
    make_tree(p.base, pictures)
    if rows:
        p.data.mkdir()
        fill(p.path, rows)
    command = [sys.executable, __file__, "--measured"]
    environment = {**os.environ, **p._environment}
    memory = {}
    with subprocess.Popen(command, cwd=p.folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        began = None
        wanted = sorted(watch_memory)
        while (done := _decided(p) - rows) < pictures:
            if began is None and done > 0:
                began, head = time.monotonic(), done
            if wanted and done >= wanted[0]:
                memory[wanted.pop(0)] = _resident(process.pid)
            if process.poll() is not None:
                raise SystemExit("the pipeline ended early")
            time.sleep(0.02)
        wall = time.monotonic() - began
        memory.update(dict.fromkeys(wanted, _resident(process.pid)))
        process.terminate()
        seconds = json.loads(process.stdout.read())
    shutil.rmtree(folder)
    return {k: v / pictures * 1000 for k, v in seconds.items()}, (pictures - head) / wall, memory


def _decided(p):
    rows = p.rows("SELECT sum(n) FROM counters WHERE name IN ('settled', 'quarantined')")
    return rows[0][0] if rows else 0


def _resident(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def run_bare(folder, pictures, rows):
    path = folder / "bare.db"
    folder.mkdir(parents=True)
    if rows:
        fill(path, rows)
    command = [sys.executable, __file__, "--bare", str(path), "--pictures", str(pictures)]
    seconds = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    shutil.rmtree(folder)
    return seconds["whole"] / pictures * 1000, pictures / seconds["wall"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3, help="the table shows medians")
    parser.add_argument("--rows", type=int, default=1_000_000, help="frames in the record of the second column")
    parser.add_argument("--memory", type=int, default=200_000, help="frames of the run that watches memory; 0: none")
    parser.add_argument("--folder", type=Path, help="where trees and records are made")
    parser.add_argument("--measured", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measured:
        measured()
    elif given.bare:
        bare(given.bare, given.pictures)
    else:
        compare(given)


def compare(given):
    folder = Path(tempfile.mkdtemp(prefix="spine_", dir=given.folder))
    columns = [0, given.rows] if given.rows else [0]
    flows, bares = {rows: [] for rows in columns}, {rows: [] for rows in columns}
    for n in range(given.rounds):
        for rows in columns:  # alternate, so that a noisy minute affects all
            bares[rows].append(run_bare(folder / f"bare{n}{rows}", given.pictures, rows))
            flows[rows].append(run_flow(folder / f"flow{n}{rows}", given.pictures, rows))
            print(f"round {n + 1}, {rows} rows: {flows[rows][-1][0]['whole']:.3f} ms", file=sys.stderr, flush=True)
    report(given, columns, flows, bares)
    record = Record(folder / "crowd.db")
    rebuilt, more = crowd(record)
    record.close()
    print(f"\njudge of an event of 18,000 boxes: {rebuilt:.1f} ms to rebuild, {more:.2f} ms for a picture of 20 more")
    if given.memory:
        points = (given.memory // 20, given.memory // 2, given.memory)
        *_, memory = run_flow(folder / "memory", given.memory, 0, points)
        print("\nresident: " + ", ".join(f"{memory[n]:.0f} MB after {n:,} frames" for n in points))
    shutil.rmtree(folder)


def report(given, columns, flows, bares):
    def line(what, values, form="{:.3f}"):
        print(f"| {what:<44} | " + " | ".join(f"{form.format(statistics.median(v)):>12}" for v in values) + " |")

    print(
        f"{given.pictures} pictures, medians of {given.rounds} rounds, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}\n"
    )
    print(f"| {'CPU ms per picture':<44} | " + " | ".join(f"{f'{rows:,} rows':>12}" for rows in columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    line("whole pipeline", [[run[0]["whole"] for run in flows[rows]] for rows in columns])
    for part in (*PARTS, "graph"):
        line(f"· {part}", [[run[0][part] for run in flows[rows]] for rows in columns])
    rest = [[run[0]["whole"] - run[0]["decode"] - run[0]["detect"] for run in flows[rows]] for rows in columns]
    line("everything but decode and detect", rest)
    line("bare record path", [[cpu for cpu, _ in bares[rows]] for rows in columns])
    line("pictures/s, whole pipeline", [[run[1] for run in flows[rows]] for rows in columns], "{:.0f}")
    line("pictures/s, bare record path", [[rate for _, rate in bares[rows]] for rows in columns], "{:.0f}")


if __name__ == "__main__":
    main()
