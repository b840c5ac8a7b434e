"""Somebody with a question: holds `analytics.duckdb` open and asks the same thing again and again.

    python tests/torture/analyst.py DATA_DIR NOTES

No answer may be an error, have a row twice, or have fewer rows than the one before: nothing is forgotten here. NOTES gets a
line for each answer: `ok N`, or what was wrong with it.
"""

import sys
import time
from pathlib import Path

import duckdb

PAUSE_SECONDS = 0.7
AGAIN = 40  # questions on one connection
TABLES = ("frames", "detections", "events")
QUESTION = "SELECT " + ", ".join(f"(SELECT (count(*), count(DISTINCT id)) FROM {table}) AS {table}" for table in TABLES)
SENSE = "SELECT count(*) FROM hourly"


def main(data_dir, notes):
    catalogue, before = Path(data_dir) / "analytics.duckdb", dict.fromkeys(TABLES, 0)
    while not catalogue.exists():
        time.sleep(PAUSE_SECONDS)
    with open(notes, "a", buffering=1) as out:
        while True:
            with duckdb.connect(catalogue, read_only=True) as db:
                db.execute("SET threads = 1")
                for _ in range(AGAIN):
                    out.write(asked(db, before) + "\n")
                    time.sleep(PAUSE_SECONDS)


def asked(db, before):
    try:
        answer = db.execute(QUESTION).fetchone()
        db.execute(SENSE).fetchall()
    except duckdb.Error as error:
        return f"error: {' '.join(str(error).split())}"
    wrong = []
    for table, pair in zip(TABLES, answer, strict=True):
        rows, distinct = tuple(pair.values()) if isinstance(pair, dict) else tuple(pair)
        if rows != distinct:
            wrong.append(f"{rows - distinct} {table} twice")
        if rows < before[table]:
            wrong.append(f"{rows} {table} after {before[table]}")
        before[table] = rows
    return "wrong: " + ", ".join(wrong) if wrong else f"ok {before['frames']}"


if __name__ == "__main__":
    main(*sys.argv[1:])
