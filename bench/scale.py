"""Process the same pictures in one pipeline and in cells, each a process with its own record; null detector.

    scripts/bench scale [--pictures 12000] [--cells 1 2] [--rounds 3]

Pictures/s are all cells' together, from the first picture that any of them decided to the last.
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

from tests.support.pipeline import Pipeline  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=12_000)
    parser.add_argument("--cells", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="the table shows medians")
    given = parser.parse_args()
    runs = {cells: [] for cells in given.cells}
    with tempfile.TemporaryDirectory(prefix="scale_") as folder:
        for n in range(given.rounds):
            for cells in given.cells:  # alternate, so that a noisy minute affects all
                runs[cells].append(run(Path(folder) / f"{n}-{cells}", cells, given.pictures))
    print(f"{given.pictures} pictures, medians of {given.rounds} rounds (least – most), {os.cpu_count()} CPUs\n")
    print("| cells | pictures/s | CPU ms per picture, all processes, their starts included |\n|---|---|---|")
    for cells, measured in runs.items():
        rates, cpu = zip(*measured, strict=True)
        print(
            f"| {cells} | {statistics.median(rates):,.0f} ({min(rates):,.0f} – {max(rates):,.0f}) | {statistics.median(cpu):.2f} |"
        )


def run(folder, cells, pictures):
    """Run; return pictures/s and CPU ms per picture. Cameras are divided among the cells."""
    homes = [Pipeline(folder / f"cell{n}", options="boxes = 2", HEARTHWATCH_CAPTURE_TIME="mtime") for n in range(cells)]
    make_tree(folder / "all", pictures)
    for camera in range(CAMERAS):
        (folder / "all" / f"cam{camera}").rename(homes[camera % cells].base / f"cam{camera}")
    before = os.times()
    running = [start(home) for home in homes]
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
            process.wait()
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return rate, spent / pictures * 1000


def start(home):
    command = [sys.executable, "-m", "bytewax.run", "flow"]
    with home.errors.open("wb") as errors:
        return subprocess.Popen(command, cwd=home.folder, env={**os.environ, **home._environment}, stderr=errors)


def decided(homes):
    return sum(_decided(home) for home in homes)


if __name__ == "__main__":
    main()
