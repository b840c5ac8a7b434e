"""Measure `hearthwatch whatif`: CPU time and memory of comparing other zones over recorded frames.

    scripts/bench whatif [--frames 1000000] [--keep FOLDER]

Four cameras, a picture in two seconds each; of 150 pictures 15 show one or two people who walk through, so a tenth has boxes.
The other configuration has an ignored zone on one camera and private ground on another.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from hearthwatch.record import Record  # noqa: E402

START = 1_764_000_000_000_000
HALF = [[0, 0], [0.4, 0], [0.4, 1], [0, 1]]
ZONES = {
    "cam1": [{"name": "street", "kind": "ignore", "points": HALF}],
    "cam2": [{"name": "yard", "kind": "private", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}],
}


def fill(path, frames):
    """Write the record with SQL, in seconds."""
    record = Record(path)
    for (trigger,) in record.rows("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        record.execute(f"DROP TRIGGER {trigger}")
    at, camera = f"{START} + i / 4 * 2000000 + i % 4 * 500000", "'cam' || (i % 4)"

    def insert():
        for name in ("cam0", "cam1", "cam2", "cam3"):
            record.execute("INSERT INTO cameras(id, name, folder_path, created_at) VALUES (?,?,?,0)", name, name, name)
        record.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {frames}) INSERT INTO frames(id, uid, camera_id, "
            "path, mtime_ns, size, captured_at, arrived_at, discovered_at, width, height, state) SELECT i, printf('%032x', i), "
            f"{camera}, {camera} || '/' || i || '.jpg', ({at}) * 1000, 1000, {at}, {at}, {at}, 640, 360, 'settled' FROM n"
        )
        for k in (0, 1):
            x, y = (
                f"30 + (id / 4 % 150 * 30 + {50 * k} + id / 600 % 7 * 20) % 600",
                f"100 + id / 600 % 11 * 10 + {5 * k}",
            )
            record.execute(
                "INSERT INTO detections(id, frame_id, event_id, camera_id, file_path, detected_at, object_type, confidence, bbox_x, "
                f"bbox_y, bbox_width, bbox_height) SELECT id * 512 + {k}, id, 1, camera_id, path, captured_at, 'person', 0.9, {x}, {y}, "
                f"40, 100 FROM frames WHERE id / 4 % 150 < 15 AND (id / 600 + {k}) % 3 < 2 ORDER BY id"
            )

    record.transact(insert)
    record.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = given.keep or Path(made)
        path = folder / f"{given.frames}.db"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            fill(path, given.frames)
        (Path(made) / "uploads").mkdir()
        environ = os.environ | {
            "DATABASE_URL": f"sqlite:///{path.resolve()}",
            "HEARTHWATCH_DATA_DIR": made,
            "FOSCAM_BASE_PATH": f"{made}/uploads",
        }
        command = [sys.executable, "-m", "hearthwatch.cli", "whatif", "--zones", "-", "--since", "2025-01-01", "--json"]
        done = subprocess.run(command, input=json.dumps(ZONES), capture_output=True, text=True, cwd=ROOT, env=environ)
    assert done.returncode == 0, done.stderr
    report, used = json.loads(done.stdout), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, changed = used.ru_utime + used.ru_stime, sum(report["counts"]["events"].values())
    print(
        "| frames | with boxes | events | differ | CPU s, both configurations | frames with boxes/s, each | resident MB |\n|---|---|---|---|---|---|---|"
    )
    rate = 2 * report["frames"] / seconds
    print(
        f"| {given.frames:,} | {report['frames']:,} | {report['before']['events']:,} | {changed:,} | {seconds:.1f} | {rate:,.0f} | {used.ru_maxrss / 1024:.0f} |"
    )


if __name__ == "__main__":
    main()
