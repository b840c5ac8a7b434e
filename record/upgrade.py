"""Bring a record of an older version to this one's schema. Only the pipeline does, before anything else opens the record."""

from __future__ import annotations

from pathlib import Path

from hearthwatch.record.connection import OlderRecordError, Record
from hearthwatch.record.lock import acquire_lock


def upgrade_record(path: Path, data_dir: Path) -> None:
    """Upgrade the record at `path` if it is older, with the locks of a pipeline: none of the older version may run.

    Raises:
        RecordError: another pipeline runs, or the record cannot be used.
    """
    if not path.exists():
        return
    try:
        Record(path).close()
    except OlderRecordError:
        lock = acquire_lock("see", path, data_dir)
        try:
            Record(path, upgrade=True).close()
        finally:
            lock.release()
