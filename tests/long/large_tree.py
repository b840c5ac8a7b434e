"""Measure how soon a picture is in the ledger that inotify did not report, in a large tree; and one that it did, in a flat one.

python tests/long/large_tree.py [files]     # 100,000 by default; about two minutes
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from hearthwatch.record import Record
from hearthwatch.record.ledger import Ledger
from hearthwatch.sources.discovery import Discovery, Intervals
from hearthwatch.sources.intake import CaptureClock
from tests.support.pipeline import picture

OLD = time.time() - 10 * 24 * 3600


def main(files: int) -> None:
    for flat in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder, "uploads")
            paths = [
                base / (f"cam{n % 8}" if flat else f"cam{n % 8}/2026/{n // 8 % 125:03}") / f"{n:06}.jpg"
                for n in range(files)
            ]
            if flat:
                paths = [base / "cam0" / path.name for path in paths]
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"")
                os.utime(path, (OLD, OLD))
            measure(Path(folder), base, paths, notify=flat)


def measure(folder: Path, base: Path, paths: list[Path], notify: bool) -> None:
    record = Record(folder / "hearthwatch.db")
    for start in range(0, len(paths), 500):  # all are known already: the backlog is not what is measured
        found = [(str(path.relative_to(base)), path.stat()) for path in paths[start : start + 500]]
        rows = [(f"{start + n:032x}", path, stat.st_mtime_ns) for n, (path, stat) in enumerate(found)]
        record.transact(
            lambda rows=rows: record.many(
                "INSERT INTO frames(uid, camera_id, path, mtime_ns, size, captured_at, arrived_at, discovered_at, state) "
                "VALUES (?, 'cam', ?, ?, 0, 1, 1, 1, 'settled')", rows,
            )
        )  # fmt: skip
    thread = Discovery(os.fsencode(base), Ledger(Record(record.path)), Intervals(), CaptureClock("mtime"), notify)
    thread.portion = 10**9  # no source sets it here
    thread.start()
    while thread.waiting or not thread.caught_up_at(1):
        time.sleep(0.05)
    time.sleep(20)  # as after a while: what it costs to list the tree is known
    cpu = time.process_time()
    time.sleep(20)
    print(f"{len(paths)} files, {'flat, inotify' if notify else 'in 1,000 folders, no inotify'}: "
          f"{(time.process_time() - cpu) / 20:.1%} of a CPU while nothing happens")  # fmt: skip
    old = paths[len(paths) // 2]
    for what, path in (("a new picture", old.with_name("new.jpg")), ("one overwritten in place", old)):
        at = time.monotonic()
        path.write_bytes(picture(what))
        name = str(path.relative_to(base))
        while record.one("SELECT count(*) FROM frames WHERE path = ? AND size > 0", name) != (1,):
            time.sleep(0.005)
        print(f"  {what}: in the ledger after {time.monotonic() - at:.2f} s")
    thread.stop()
    record.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
