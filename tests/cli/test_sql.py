"""Promise: a query of `hearthwatch sql` reads the lake, and nothing else; it writes nothing, unless files were allowed."""

import subprocess
import sys

import duckdb
import pytest

from hearthwatch.cli import sql
from hearthwatch.record.lake.views import problems
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import load
from tests.record.test_cell_incidents import Cells
from tests.support.api_record import Home, story


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = story(Home(tmp_path_factory.mktemp("asked")))
    home.close()
    return home


@pytest.fixture
def ask(home, monkeypatch):
    monkeypatch.setattr(sql, "settings", lambda: home.settings(HEARTHWATCH_TIMEZONE="Europe/Berlin"))
    return sql.answer


def everything(folder):
    """All files, and the rows of the lake; an export before each query touches the others."""
    rows = {path: path.read_bytes() for path in folder.rglob("date=*/*.parquet")}
    return {path for path in folder.rglob("*") if path.suffix not in (".db-wal", ".db-shm")}, rows


READS = (
    "SELECT * FROM read_text('{secret}')", "FROM read_csv('{secret}')", "FROM '{secret}'", "FROM read_blob('{secret}')", "FROM sniff_csv('{secret}')",
    "FROM read_json('{secret}')", "FROM glob('{home}/*')", "FROM read_text('{lake}/../secret.csv')", "FROM read_text('{lake}/../*.csv')",
    "ATTACH '{secret}' AS s", "INSTALL httpfs", "LOAD httpfs", "LOAD sqlite", "FROM read_csv('https://localhost/x.csv')", "FROM 'http://localhost/x.parquet'",
    "SET enable_external_access = true", "RESET enable_external_access", "SET allowed_directories = ['/']", "PRAGMA profiling_output = '{home}/out'",
    "SET temp_directory = '{home}/out'", "CALL enable_logging(storage = 'file', storage_path = '{home}/out')", "IMPORT DATABASE '{home}'", "SELECT 1; FROM read_text('{secret}')",
)  # fmt: skip
WRITES = (
    "COPY events TO '{home}/out'", "copy (SELECT 1) to '{lake}/out.parquet'", "EXPLAIN ANALYZE COPY events TO '{lake}/out.csv'", "EXPORT DATABASE '{home}/out'",
    "WITH c AS (COPY events TO '{lake}/out.csv') FROM c", "PREPARE p AS COPY events TO '{lake}/out.csv'; EXECUTE p", "SELECT 1;/**/COPY/**/events TO '{lake}/out.csv'",
    "ATTACH '{lake}/out.duckdb' (READ_WRITE)", "ATTACH '{home}/out.duckdb' (READ_WRITE)", "CREATE TABLE out AS SELECT 1", "DROP VIEW events",
)  # fmt: skip


@pytest.mark.parametrize("query", [*READS, *WRITES])
def test_a_query_gets_no_further_than_the_lake(home, ask, query):
    ask("SELECT 1")
    secret = home.data / "secret.csv"
    secret.write_text("word\nhunter2\n")
    before = everything(home.data.parent)
    with pytest.raises(UserError) as refused:
        ask(query.format(secret=secret, home=home.data, lake=home.data / "lake"))
    assert "hunter2" not in str(refused.value)
    assert everything(home.data.parent) == before


def test_what_is_refused_says_how_it_is_allowed(home, ask):
    for query in ("FROM read_text('/etc/passwd')", "COPY events TO '/nowhere/x'", "SET threads = 1", "LOAD httpfs"):
        with pytest.raises(UserError, match="--allow-files"):
            ask(query)
    with pytest.raises(UserError, match="SELEC") as bad:
        ask("SELEC 1")
    assert "--allow-files" not in str(bad.value)


def test_questions_are_answered(ask):
    for query in ("SELECT count(*) AS n FROM frames", "FROM hourly", "SUMMARIZE events", "EXPLAIN SELECT 1", "PIVOT detections ON object_type USING count(*)",
                  "CREATE TEMP TABLE t AS FROM events; SELECT count(*) FROM t", "SELECT current_setting('TimeZone')"):  # fmt: skip
        assert len(ask(query)) > 0, query


WRITER = """
import duckdb, sys
db = duckdb.connect(sys.argv[1])
db.execute("CREATE TABLE mine (n INT)")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_tool_that_has_the_catalogue_open_for_writing_shuts_out_no_query(home, ask):
    ask("SELECT 1")
    catalogue = home.data / "analytics.duckdb"
    catalogue.chmod(0o640)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, catalogue], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tool:
        assert tool.stdout.readline() == "open\n"
        with pytest.raises(duckdb.IOException, match="lock"):
            duckdb.connect(catalogue, read_only=True)
        assert ask("SELECT count(*) AS n FROM events").to_pylist() == [{"n": 5}]
        assert problems(home.data) == []
        with pytest.raises(UserError, match="--allow-files"):
            ask("FROM read_text('/etc/passwd')")
    (home.data / "lake/.views").unlink()
    ask("SELECT 1")


def test_with_files_allowed_a_query_writes_and_reads_them(home, ask):
    out = home.data.parent / "out.csv"
    ask(f"COPY (SELECT count(*) AS n FROM frames) TO '{out}'", allow_files=True)
    assert ask(f"FROM read_csv('{out}')", allow_files=True).to_pylist() == [{"n": 8}]


def test_incidents_of_two_cells_are_rows_of_one_table_and_join_their_events_of_both(tmp_path, monkeypatch):
    """An incident lies in the lake of the first cell, under the number of the event of any cell that it began with."""
    cells = Cells(tmp_path, count=2).see(1, "a", 1000).see(0, "a", 1040).see(1, "b", 3000).see(0, "b", 9000).catch_up()
    environment = {"HEARTHWATCH_CELLS": "2", "HEARTHWATCH_DATA_DIR": str(tmp_path), "FOSCAM_BASE_PATH": str(tmp_path)}
    monkeypatch.setattr(sql, "settings", lambda: load(None, environment))

    def ask(query):
        return [tuple(row.values()) for row in sql.answer(query).to_pylist()]

    there = 1 << 36
    incidents = "SELECT id, event_count, cameras FROM incidents WHERE status <> 'merged' ORDER BY started_at"
    joined = """SELECT i.id, count(*), count(DISTINCT e.id >> 36), list(e.camera_id ORDER BY e.started_at)
        FROM events e JOIN incidents i ON e.incident_id = i.id GROUP BY i.id ORDER BY min(e.started_at)"""
    gravest = "SELECT count(*) FROM incidents i JOIN events e ON e.id = i.gravest_event_id"
    assert ask(incidents) == [(there + 1, 2, ["a1", "a0"]), (there + 2, 1, ["b1"]), (2, 1, ["b0"])]
    assert ask(joined) == [(there + 1, 2, 2, ["a1", "a0"]), (there + 2, 1, 1, ["b1"]), (2, 1, 1, ["b0"])]
    assert ask(gravest) == [(3,)]
    cells.see(0, "a", 3010).catch_up()  # the lake has these hours already
    assert ask(incidents)[1] == (there + 2, 2, ["b1", "a0"]) and ask(joined)[1][1:3] == (2, 2)
    cells.see(1, "a", 1090, kind="cat").see(0, "c", 930, late=8200).catch_up()
    assert ask(incidents)[0] == (there + 1, 4, ["c0", "a1", "a0"]), "also when it began elsewhere"
    assert ask(joined)[0][:3] == (there + 1, 4, 2)
    cells.close()
