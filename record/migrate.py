"""Apply numbered, forward-only migrations: `migrations/NNNN_name.sql`, each in one transaction with its number.

A record made by a newer Hearthwatch, and another SQLite database, are refused and left unchanged.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from importlib.resources import files

log = logging.getLogger(__name__)

APPLICATION_ID = 0x48574348  # "HWCH": identifies a record among SQLite databases, for `file`, too


def _scripts() -> dict[int, str]:
    folder = files("hearthwatch.record.migrations")
    return {int(f.name[:4]): f.read_text() for f in folder.iterdir() if f.name.endswith(".sql")}


SCHEMA_VERSION = max(_scripts())


def upgrade(db: sqlite3.Connection, target: int = SCHEMA_VERSION) -> None:
    """Bring the database to `target`, in one transaction.

    Raises:
        ValueError: it is not a record, or too new; the text completes the sentence "<path> …".
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        start = version(db)  # again, under the lock: two processes may open a new record at once
        if start:
            log.info(
                "upgrading the record from version %d to %d: minutes if it is large; a kill leaves it as it was",
                start,
                target,
            )
        for number, script in sorted(_scripts().items()):
            if start < number <= target:
                began = time.monotonic()
                for statement in _statements(script):
                    db.execute(statement)
                if start:
                    log.info(
                        "the record is upgraded to version %d of %d after %.1f s",
                        number,
                        target,
                        time.monotonic() - began,
                    )
                db.execute("INSERT OR REPLACE INTO meta VALUES ('schema_version', ?)", (str(number),))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def version(db: sqlite3.Connection) -> int:
    """Read the schema version of this database, 0 if it is empty."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID or "meta" not in tables:
        raise ValueError("is a database, but not a Hearthwatch record: set DATABASE_URL to another file")
    version = int(db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"has schema version {version}, made by a newer Hearthwatch; this one knows {SCHEMA_VERSION}: upgrade it"
        )
    return version


def _statements(script: str) -> list[str]:
    out, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            out.append(part)
            part = ""
    return out
