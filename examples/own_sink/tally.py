"""A sink: count the objects of each picture, by label, in an SQLite file.

At least once; a picture that is written again replaces its rows, so nothing is counted twice.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from hearthwatch.schemas import Context, Detected, Sink

TABLE = "CREATE TABLE IF NOT EXISTS seen(frame_id, camera_id, at, label, count, PRIMARY KEY(frame_id, label))"


class Tally(Sink):
    """Count the objects of each picture, in a table `seen`."""

    accepts = Detected

    path: Path = Path("tally.db")
    """The SQLite file."""

    def build(self, context: Context) -> TallySink:
        return TallySink(self.path)


class TallySink(FixedPartitionedSink):
    """One file, one partition."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def list_parts(self) -> list[str]:
        return ["file"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> TallyPart:
        return TallyPart(self.path)


class TallyPart(StatefulSinkPartition):
    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path)
        self.db.execute(TABLE)

    def write_batch(self, values: list[Detected]) -> None:
        with self.db:  # one transaction for the batch: it is on disk when this returns
            for item in values:
                frame, labels = item.frame, [found.object_type for found in item.detections]
                rows = [
                    (frame.id, frame.camera_id, frame.captured_at.isoformat(), label, labels.count(label))
                    for label in set(labels)
                ]
                self.db.execute("DELETE FROM seen WHERE frame_id = ?", (frame.id,))
                self.db.executemany("INSERT INTO seen VALUES (?,?,?,?,?)", rows)

    def snapshot(self) -> None:
        return None  # all state is in the file

    def close(self) -> None:
        self.db.close()
