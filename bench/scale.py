"""Process the same pictures in one pipeline, in two, and in two cells on two workers of Bytewax; null detector.

    scripts/bench scale [--pictures 12000] [--ways one apart threads processes] [--rounds 3]

`apart` are two pipelines that share nothing; `threads` is `-w 2`, `processes` two of `-i`, each with half of the cameras in a
cell. Pictures/s are all cells' together, from the first picture that any of them decided to the last.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from spine import CAMERAS, _decided, make_tree  # noqa: E402

from hearthwatch.cli.run import cluster  # noqa: E402
from hearthwatch.cli.supervisor import PIPELINE  # noqa: E402
from tests.support.pipeline import Pipeline  # noqa: E402

WAYS = {
    "one": (1, [PIPELINE]),
    "apart": (2, [PIPELINE]),
    "threads": (2, [[*PIPELINE, "-w", "2"]]),
    "processes": (2, []),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=12_000)
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3, help="the table shows medians")
    given = parser.parse_args()
    runs = {way: [] for way in given.ways}
    with tempfile.TemporaryDirectory(prefix="scale_") as folder:
        for n in range(given.rounds):
            for way in given.ways:  # alternate, so that a noisy minute affects all
                runs[way].append(run(Path(folder) / f"{n}-{way}", way, given.pictures))
    print(f"{given.pictures} pictures, medians of {given.rounds} rounds (least – most), {os.cpu_count()} CPUs\n")
    print("| way | pictures/s | CPU ms per picture, all processes, their starts included |\n|---|---|---|")
    for way, measured in runs.items():
        rates, cpu = zip(*measured, strict=True)
        print(
            f"| {way} | {statistics.median(rates):,.0f} ({min(rates):,.0f} – {max(rates):,.0f}) | {statistics.median(cpu):.2f} |"
        )


def run(folder, way, pictures):
    """Run; return pictures/s and CPU ms per picture. Cameras are divided among the cells."""
    count, commands = WAYS[way]
    homes = [Pipeline(folder / f"cell{n}", options="boxes = 2", HEARTHWATCH_CAPTURE_TIME="mtime") for n in range(count)]
    make_tree(folder / "all", pictures)
    for camera in range(CAMERAS):
        (folder / "all" / f"cam{camera}").rename(homes[camera % count].base / f"cam{camera}")
    starting = homes
    if way in ("threads", "processes"):  # two cells of one data dir
        homes[0]._environment["HEARTHWATCH_CELLS"] = ";".join(f"c{n}={home.base}" for n, home in enumerate(homes))
        homes[1].path = homes[0].data / "cells/c1/hearthwatch.db"
        starting = homes[:1]
    before = os.times()
    running = [start(home, command) for home in starting for command in commands or cluster(PIPELINE, count)]
    try:
        while not (head := decided(homes)):
            time.sleep(0.01)
        began = time.monotonic()
        while decided(homes) < pictures:
            if any(process.poll() is not None for process in running):
                raise SystemExit("a cell ended early: " + homes[0].said())
            time.sleep(0.02)
        rate = (pictures - head) / (time.monotonic() - began)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return rate, spent / pictures * 1000


def start(home, command):
    with home.errors.open("ab") as errors:
        return subprocess.Popen(command, cwd=home.folder, env={**os.environ, **home._environment}, stderr=errors)


def decided(homes):
    return sum(_decided(home) for home in homes)


if __name__ == "__main__":
    main()
