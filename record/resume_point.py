"""Where a run with Bytewax's recovery store continues when it died before its first snapshot.

Without a snapshot such a run looks like a first one, and what was committed before the death would never reach sinks behind
a stream. So the first run notes in the record where it began; the next start with a snapshot removes the note.
"""

from __future__ import annotations

from collections.abc import Callable

from hearthwatch.record import Record


def find_resume_point(
    record: Record, part: str, snapshot: int | None, begin: Callable[[], int], recovers: bool
) -> int | None:
    """Return the snapshot, else where the first run without one began; None: this is the first run, or a bare one.

    `part` names whose snapshot it is, `begin` says where a first run begins, `recovers` whether there is a recovery store.
    """
    key = f"resume.{part}"
    row = record.one("SELECT value FROM meta WHERE key = ?", key)
    if snapshot is not None or not recovers:
        if row:
            record.transact(lambda: record.execute("DELETE FROM meta WHERE key = ?", key))
        return snapshot
    if row:
        return int(row[0])
    record.transact(lambda: record.execute("INSERT INTO meta VALUES (?, ?)", key, str(begin())))
    return None
