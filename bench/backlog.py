"""Measure live pictures while a backlog is taken in: from closing a file to its decision; and compare the events.

    scripts/bench backlog [--pictures 20000] [--cameras 10] [--seconds 0.2]

The real flow in a separate process, with a null detector, over a tree of old pictures; one picture every `--seconds` is
written to a camera without a backlog, and one to a camera that has one. Afterwards the events of every camera have to be
those of `cut`, the definition, over its pictures in order of capture.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.support.live_first import differing_cameras, old_pictures  # noqa: E402
from tests.support.pipeline import Pipeline, picture  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--cameras", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder))
        old_pictures(pipeline.base, given.pictures, given.cameras, time.time() - 60)
        (pipeline.base / "live").mkdir()
        began = time.monotonic()
        pipeline.start().until(lambda: pipeline.states().get("settled", 0) > 0, 120)
        waits: dict[str, list[float]] = {"live": [], "cam0": []}
        n = 0
        while pipeline.states().get("settled", 0) < given.pictures + n:
            for camera, seen in waits.items():
                seen.append(upload(pipeline, camera, n))
                n += 1
            time.sleep(given.seconds)
        drained = time.monotonic() - began
        pipeline.until_quiet(timeout=120).stop()
        record = pipeline.record
        wrong = differing_cameras(record)
        record.close()
    print(f"{given.pictures} old pictures drained in {drained:.1f} s, beside {n} live ones")
    for camera, seen in waits.items():
        p50, p99 = statistics.median(seen), sorted(seen)[int(0.99 * len(seen))]
        whose = "without a backlog" if camera == "live" else "that has a backlog"
        print(f"live pictures of a camera {whose}: p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms")
    print(f"cameras whose events differ from the sorted run: {wrong or 'none'}")
    return 1 if wrong else 0


def upload(pipeline: Pipeline, camera: str, n: int) -> float:
    """Write a live picture; return how long its decision took, in seconds."""
    name = f"{datetime.now(UTC):%Y%m%d_%H%M%S_%f}-{n}.jpg"
    pipeline.upload(camera, name, picture(f"{camera} {n}"), how="write")
    began = time.monotonic()
    sql = "SELECT state FROM frames WHERE path = ? AND state <> 'discovered'"
    pipeline.until(lambda: pipeline.rows(sql, os.path.join(camera, name)))
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
