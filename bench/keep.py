"""Time what keeping the originals of events costs: ms and bytes a picture, as copies or as reflinks where the file system has them.

    scripts/bench keep [--pictures 300] [--folder FOLDER]

Pictures of 1920×1080 with two boxes, events of three: `evidence` keeps what the verdict cites, `all` every one. Wall time contains the disk's
(fsync of file and folder); it passes on a thread beside the dataflow.
"""

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hearthwatch.record.pictures import keep_event
from tests.support import drawn_house


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="on the disk that is measured; else a temporary one")
    given = parser.parse_args()
    plain = drawn_house.shot.__wrapped__

    def large(camera: str, second: int):  # type: ignore[no-untyped-def]
        _, image, boxes = plain(camera, second)
        path = Path(name) / f"{camera}{second}.jpg"
        if not path.exists():
            image.resize((1920, 1080)).save(path, quality=92)
        return path.read_bytes(), image, boxes

    drawn_house.shot = large
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        house, start = drawn_house.House(Path(name)), datetime.now(UTC) - timedelta(days=1)
        events = [
            house.judged("front_door", start + timedelta(minutes=4 * n), 40, f"Event {n}.", seconds=(9, 10, 11))
            for n in range(given.pictures // 3)
        ]
        print(
            "| kept | pictures | MB | bytes a picture | wall ms, median | p99 | CPU ms |\n|---|---|---|---|---|---|---|"
        )
        for which in ("evidence", "all"):
            walls, cpu = [], time.process_time()
            for event in events:
                began = time.perf_counter()
                keep_event(house.record, house.base, house.data, event, which, lambda _: None)  # type: ignore[arg-type]
                walls.append((time.perf_counter() - began) * 1e3)
            cpu, each = time.process_time() - cpu, 1 if which == "evidence" else 2  # the others, kept now
            sizes = [path.stat().st_size for path in (house.data / "pictures").rglob("*.jpg")]
            print(
                f"| {which} | {len(sizes)} | {sum(sizes) / 1e6:.1f} | {statistics.mean(sizes):,.0f} | {statistics.median(walls) / each:.1f} | "
                f"{sorted(walls)[len(walls) * 99 // 100] / each:.1f} | {cpu * 1e3 / len(events) / each:.2f} |"
            )
        house.close()


if __name__ == "__main__":
    main()
