"""Measure a backlog with one to four detectors that only wait, each on one thread, and compare the records.

    scripts/bench devices [--pictures 600] [--seconds 0.03] [--devices 1,2,4]

Pictures/s between a tenth and nine tenths of the backlog, of what so many devices could do.
"""

import argparse
import tempfile
import time
from pathlib import Path

from tests.support.lane_detector import LaneDetector
from tests.support.live_first import old_pictures
from tests.support.pipeline import Pipeline

SAME = "SELECT path, captured_at, state, width, event_id IS NULL FROM frames ORDER BY path"
DETECTOR = f"{LaneDetector.__module__}:{LaneDetector.__name__}"
NOW = time.time() - 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=0.03, help="per picture")
    parser.add_argument("--devices", default="1,2,4")
    given = parser.parse_args()
    first = None
    for k in map(int, given.devices.split(",")):
        rate, found = drain(k, given.pictures, given.seconds)
        first = first or found
        could, same = k / given.seconds, "the same record" if found == first else "ANOTHER RECORD"
        print(f"{k} devices: {rate:.1f} pictures/s, {100 * rate / could:.0f} % of {could:.0f}; {same}")


def drain(k: int, pictures: int, seconds: float) -> tuple[float, list[tuple[object, ...]]]:
    with tempfile.TemporaryDirectory(prefix="devices_") as folder:
        p = Pipeline(Path(folder), detector=DETECTOR, options=f"lanes = {k}\nseconds = {seconds}")
        old_pictures(p.base, pictures, 4, NOW)
        times = []
        p.start()
        for goal in (pictures // 10, pictures - pictures // 10):
            p.until(lambda goal=goal: p.states().get("settled", 0) >= goal, 600)
            times.append((time.monotonic(), p.states()["settled"]))
        p.until_quiet(timeout=600).stop()
        (began, head), (ended, tail) = times
        boxes = p.rows("SELECT object_type, count(*) FROM detections GROUP BY 1")
        return (tail - head) / (ended - began), [*p.rows(SAME), *boxes]


if __name__ == "__main__":
    main()
