"""Promises: the lake is the record, row by row, after every export, whatever was killed; analysts never meet an error, a
row twice or a row missing; the catalogue holds views alone and is valid from the first start on."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from contextlib import closing
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hearthwatch.record.lake.export
from hearthwatch.record.baselines import BaselineRow, write_baselines
from hearthwatch.record.cameras import edit_camera
from hearthwatch.record.feedback import revoke
from hearthwatch.record.gpu_samples import GpuSample, write_samples
from hearthwatch.record.journal import entry_of
from hearthwatch.record.journal import write as write_items
from hearthwatch.record.lake import parquet
from hearthwatch.record.lake.schema import TABLES as SCHEMAS
from hearthwatch.record.lake.views import STORAGE, export
from tests.support.data_dir import START, TABLES, House, S, analyst, every_kill, ids, in_memory, lake_differs
from tests.support.pipeline import Pipeline, name

ROOT = Path(__file__).parents[2]
VIEWS = (*TABLES, "cameras", "hourly", "camera_daily", "unusual_hours", "verdicts")


@pytest.fixture
def tmp_path(monkeypatch):
    with in_memory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.close()


def a_day(house):
    """Two cameras over three hours, an event that spans none of their borders, one bad picture, one in an ignored zone, one sample."""
    house.see("front_door", 0, 5, 10, 4000).see("garden", 7, 8000).spoil("garden", 8010)
    everywhere = [{"name": "flag", "kind": "ignore", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}]
    edit_camera(house.record, "garden", {"zones": json.dumps(everywhere)})
    house.see("garden", 9).close_events()
    write_baselines(house.record, START, [BaselineRow("garden", kind, "", 8, True, 9.5, 10) for kind in ("", "dog")])
    write_samples(
        house.record,
        [GpuSample(START, 50.0, 1, 2, 60.0, 3.5), GpuSample(START + 3600 * S, None, None, None, None, 0.5)],
    )
    house.record.execute(
        "INSERT INTO feedback(event_id, at, answer, signature, expires_at) VALUES (1, ?, 'fine', '{}', ?)",
        START,
        START + S,
    )
    write_items(house.record, "levels", [entry_of({"n": n}) for n in range(2)], START)
    return house


def test_every_hour_has_a_file_and_every_row_is_in_it(house):
    a_day(house).export()
    assert lake_differs(house) == []
    files = [f for f in house.files("data/lake/**/*.parquet") if "1970" not in f]
    assert files[:4] == [
        "data/lake/baselines/date=2026-11-22/10.parquet",
        "data/lake/cameras.parquet",
        *(f"data/lake/detections/date=2026-11-22/{h:02d}.parquet" for h in (8, 9)),
    ]
    assert {table: len(found) for table, found in ids(house).items()} == {
        "frames": 8,
        "detections": 12,
        "suppressed": 2,
        "events": 4,
        "incidents": 4,
        "gpu_stats": 2,
        "baselines": 4,
        "feedback": 1,
        "journal": 2,
        "alerts": 0,
    }


def test_boxes_that_count_for_nothing_are_in_the_lake_with_the_reason(house):
    a_day(house).export()
    with analyst(house) as db:
        rows = db.execute(
            "SELECT f.path, s.object_type, s.bbox_x, reason, s.date = f.date FROM suppressed s JOIN frames f ON s.frame_id = f.id "
            "ORDER BY s.id"
        ).fetchall()
    path = f"garden/{START + 9 * S}.jpg"
    assert rows == [(path, kind, x, "in ignored zone flag", True) for kind, x in (("person", 1), ("dog", 5))]


def test_answers_are_in_the_lake_and_so_is_that_one_was_revoked(house):
    a_day(house)
    for revoked_at in (None, START + 5):
        if revoked_at:
            assert revoke(house.record, 1, revoked_at)
        house.export()
        with analyst(house) as db:
            rows = db.execute(
                "SELECT event_id, epoch_us(answered_at), answer, epoch_us(revoked_at) FROM feedback"
            ).fetchall()
        assert rows == [(1, START, "fine", revoked_at)]


def test_an_hour_is_the_same_table_in_however_many_parts_it_is_read(house, monkeypatch):
    def tables():
        return [
            hearthwatch.record.lake.export.read(house.record, table, START // hearthwatch.record.lake.export.HOUR)
            for table in TABLES
        ]

    a_day(house)
    whole = tables()
    monkeypatch.setattr(hearthwatch.record.lake.export, "ROWS_AT_ONCE", 1)
    assert min(len(table) for table in whole[:3]) > 1 and tables() == whole


def test_columns_are_those_of_the_record_and_times_are_timestamptz(house):
    a_day(house).export()
    with analyst(house) as db:
        for table in TABLES:
            types = {row[0]: row[1] for row in db.execute(f"DESCRIBE {table}").fetchall()}
            columns = {row[1] for row in house.rows(f"PRAGMA table_info({table})")}
            inner = {
                "pruned",
                "starts",
                "behind",
                "retry_at",
                "last_at",
                "close_at",
                "delay",
                "sealed",
                "clock_offset_ms",
                "carries",
                "kept",
                "published_at",
                "key",
                "is_grey",
                "signature",
                "handover",
            }
            also = {
                "incidents": {"last_at"},
                "feedback": {"answered_at", "signature"},
                "journal": {"written_at"},
                "alerts": {"raised_at"},
            }.get(table, set())
            assert set(types) - {"date", "history"} == columns - inner - {"at"} | also
            assert {t for c, t in types.items() if c.endswith(("_at", "as_of"))} == {"TIMESTAMP WITH TIME ZONE"}
        row = db.execute(
            "SELECT objects['person'], len(evidence) > 0, history[1].type, reviewed FROM events WHERE id = 1"
        ).fetchone()
        assert row == (1, True, "event.opened", False)
        assert db.execute("SELECT epoch_us(captured_at) FROM frames WHERE id = 1").fetchone() == (START,)


def test_only_what_changed_is_written_again(house):
    a_day(house).export()
    before = {f: os.stat(house.folder / f).st_ino for f in house.files("data/lake/**/*.parquet")}
    assert export(house.lake) == 0
    house.see("front_door", 12)
    export(house.lake)
    after = {f: os.stat(house.folder / f).st_ino for f in house.files("data/lake/**/*.parquet")}
    changed = [f for f in before if before[f] != after[f]]
    assert changed == [
        "data/lake/cameras.parquet",
        *(f"data/lake/{t}/date=2026-11-22/08.parquet" for t in ("detections", "events", "frames", "suppressed")),
    ]
    assert lake_differs(house) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET reviewed = 1, notes = 'the postman' WHERE id = 1",
        "UPDATE events SET started_at = started_at + 3600000000 WHERE id = 4",
        "DELETE FROM events WHERE id = 4",
        "DELETE FROM detections WHERE frame_id = 4",
        "DELETE FROM suppressed WHERE object_type = 'dog'",
        "DELETE FROM frames WHERE id = 7",
        "UPDATE frames SET event_id = NULL WHERE id = 4",
        "DELETE FROM gpu_stats",
        "INSERT INTO event_history(event_id, revision, type, shadow, risk_score, at) VALUES (1, 1, 'event.analyzed', 1, 70, 5)",
        "UPDATE cameras SET notes = 'looks at the street'",
    ],
)
def test_whoever_changes_a_row_dirties_its_hour(house, change):
    """An API, a repair by hand, a later version: triggers see them all."""
    a_day(house).export()
    house.record.execute(change)
    house.export()
    assert lake_differs(house) == []
    with analyst(house) as db:
        assert db.execute("SELECT notes FROM cameras ORDER BY ALL LIMIT 1").fetchall() == house.rows(
            "SELECT notes FROM cameras LIMIT 1"
        )


def test_the_catalogue_is_valid_on_an_empty_record(house):
    house.export()
    with analyst(house) as db:
        assert [db.execute(f"SELECT count(*) FROM {view}").fetchone() for view in VIEWS] == [(0,)] * len(VIEWS)


def test_the_catalogue_holds_views_alone_and_older_programs_can_open_it(house):
    a_day(house).export()
    with analyst(house) as db:
        assert {
            name for (name,) in db.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        } == set(VIEWS)
        assert db.execute("SELECT count(*) FROM duckdb_tables()").fetchone() == (0,)
        tags = db.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'analytics'").fetchone()[0]
    assert STORAGE in str(tags)


def test_a_lake_in_a_folder_with_an_odd_name(tmp_path):
    house = a_day(House(tmp_path / "it's [my] *? lake")).export()
    assert ids(house)["frames"].total() == 8
    house.close()


KILLED = """
import os, sys
from pathlib import Path
from hearthwatch.record.lake import views
sys.addaudithook(lambda event, args: event == "open" and Path(args[0]).name == views.FILE and os.kill(os.getpid(), 9))
views.write_catalogue(Path(sys.argv[1]))
"""


def test_a_kill_while_the_catalogue_is_written_leaves_no_folder_behind(house, tmp_path):
    house.lake.seed()
    before = set(tmp_path.iterdir())
    child = subprocess.run([sys.executable, "-c", KILLED, house.data], env=os.environ | {"TMPDIR": str(tmp_path)})
    assert child.returncode == -9 and set(tmp_path.iterdir()) - before
    house.export()
    assert set(tmp_path.iterdir()) == before and (house.data / "analytics.duckdb").exists()


def test_a_moved_data_dir_gets_a_new_catalogue(tmp_path):
    a_day(House(tmp_path / "here")).export().close()
    shutil.move(tmp_path / "here", tmp_path / "there")
    house = House(tmp_path / "there").export()
    assert ids(house)["frames"].total() == 8
    house.close()


def test_a_tool_that_opens_a_moved_catalogue_is_given_the_place_of_the_lake(tmp_path):
    a_day(House(tmp_path / "here")).export().close()
    moved = tmp_path / "it's [there]"
    shutil.move(tmp_path / "here", moved)
    with duckdb.connect(moved / "data/analytics.duckdb", read_only=True) as db:
        with pytest.raises(duckdb.IOException):
            db.execute("FROM frames")
        db.execute("SET VARIABLE lake = ?", [str(moved / "data/lake").replace("[", "[[]")])
        assert db.execute("SELECT count(*) FROM frames").fetchone() == (8,)
        assert db.execute("SELECT sum(pictures) FROM camera_daily").fetchone() == (8,), "views over views, too"


def test_the_catalogue_cannot_be_opened_for_writing_and_is_replaced_all_the_same(house):
    a_day(house).export()
    catalogue = house.data / "analytics.duckdb"
    assert not catalogue.stat().st_mode & 0o222 and catalogue.stat().st_mode & 0o400
    (house.data / "lake/.views").unlink()
    before = catalogue.stat().st_ino
    house.export()
    assert catalogue.stat().st_ino != before and not catalogue.stat().st_mode & 0o222


def test_a_lost_lake_is_written_again(house):
    a_day(house).export()
    shutil.rmtree(house.data / "lake")
    house.export()
    assert lake_differs(house) == []


def test_a_restored_backup_of_the_record_takes_the_lake_back(tmp_path):
    house = House(tmp_path).see("front_door", 0).close_events().export().close()
    shutil.copy(house.path, tmp_path / "backup")
    a_day(house.open()).export().close()
    for part in ("-wal", "-shm"):
        house.path.with_name(house.path.name + part).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup", house.path)
    house.open().export()
    assert lake_differs(house) == []
    assert ids(house)["frames"].total() == 1
    house.close()


def test_files_of_an_older_version_lack_columns_and_are_read_as_null(house, monkeypatch):
    house.see("front_door", 0)
    old = {**SCHEMAS, "frames": pa.schema([f for f in SCHEMAS["frames"] if f.name != "detect_ms"])}
    with monkeypatch.context() as patch:
        patch.setattr(hearthwatch.record.lake.export, "TABLES", old)
        patch.setattr("hearthwatch.record.lake.views.TABLES", old)
        house.export()
        held = analyst(house)
    house.see("front_door", 7200).export()
    with held:
        assert held.execute("SELECT count(*) FROM frames").fetchone() == (2,), "who held the old catalogue goes on"
    with analyst(house) as db:
        assert db.execute("SELECT count(*), count(detect_ms) FROM frames").fetchone() == (2, 0)


@pytest.mark.slow
def test_an_export_killed_at_any_step_is_made_up_for(tmp_path, monkeypatch):
    """At each of its commits and file operations; a reader finds every file whole, and each row once or not yet."""
    template = House(tmp_path / "house")  # the catalogue names the folder, and it is none of this test's steps
    a_day(template).export().see("front_door", 20, 30, 9000).set([1], notes="later").close()
    template.folder.rename(tmp_path / "template")

    def prepare(at):
        return House(shutil.copytree(tmp_path / "template", tmp_path / "house"))

    def check(house, at):
        seen = ids(house)
        assert all(n == 1 for found in seen.values() for n in found.values()), at
        assert set(range(1, 8)) <= set(seen["frames"])
        house.export()
        assert lake_differs(house) == [], at
        assert house.rows("SELECT * FROM dirty_hours") == []
        assert not list(house.files("data/lake/**/*.parquet.*"))
        shutil.rmtree(house.folder)

    with monkeypatch.context() as patch:
        patch.setattr(hearthwatch.record.lake.export, "HOURS_AT_ONCE", 2)
        assert every_kill(patch, prepare, House.export, check) > 20


@pytest.mark.slow
def test_the_first_export_killed_at_any_step(tmp_path, monkeypatch):
    House(tmp_path / "template").see("front_door", 0).close_events().close()

    def prepare(at):
        return House(shutil.copytree(tmp_path / "template", tmp_path / "house"))

    def check(house, at):
        house.export()
        assert lake_differs(house) == [], at
        assert ids(house)["frames"].total() == 1
        shutil.rmtree(house.folder)

    assert every_kill(monkeypatch, prepare, House.export, check) > 20


def test_a_change_during_an_export_is_not_forgotten(house, monkeypatch):
    a_day(house)
    real = hearthwatch.record.lake.export.groups

    def read_and_change(source, table, hour):
        yield from real(source, table, hour)
        if table == "events" and hour:
            house.record.execute("UPDATE events SET notes = coalesce(notes, '') || 'x' WHERE id = 1")

    with monkeypatch.context() as patch:
        patch.setattr(hearthwatch.record.lake.export, "groups", read_and_change)
        export(house.lake)
    export(house.lake)
    assert lake_differs(house) == []


steps = st.lists(
    st.one_of(
        st.tuples(st.just("see"), st.sampled_from(["front_door", "garden"]), st.integers(0, 9000)),
        st.tuples(st.just("close"), st.integers(0, 10_000)),
        st.tuples(st.just("export"), st.integers(0, 40)),
        st.tuples(st.just("prune"), st.integers(0, 12)),
    ),
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=int(os.environ.get("HEARTHWATCH_TEST_EXAMPLES", "15")), deadline=None)
@given(steps)
def test_the_lake_follows_any_history(history):
    """Pictures out of order, exports that stop half-way, retention: after one more export the lake is the record."""
    with in_memory() as folder, closing(House(folder)) as house:
        for what, *args in history:
            if what == "see":
                house.see(*args, upload=False)
            elif what == "close":
                house.close_events(*args)
            elif what == "export":
                left = iter(range(args[0]))
                export(house.lake, lambda: next(left, None) is None)  # noqa: B023
            else:
                house.keeper().deleter.delete(args[0])
        house.export()
        assert lake_differs(house) == []
        assert {t: set(found) for t, found in ids(house).items()} == {
            t: {i for (i,) in house.rows(f"SELECT id FROM {t}" + " WHERE pruned = 0" * (t == "frames"))} for t in TABLES
        }


def test_an_hour_without_rows_keeps_an_empty_file_for_two_days(house):
    house.see("front_door", 0).close_events().export()
    house.keeper(unreviewed=True).deleter.delete(100)
    house.export()
    file = house.lake.path("frames", START // hearthwatch.record.lake.export.HOUR)
    assert pq.read_metadata(file).num_rows == 0
    os.utime(file, (0, 0))
    house.lake.clean_up()
    assert not file.exists()
    assert house.lake.path("frames", 0).exists(), "the seed stays"
    assert ids(house)["frames"].total() == 0


@pytest.mark.slow
def test_what_an_export_needed_for_a_moment_is_not_kept_by_an_allocator_of_its_own():
    """Arrow's own keeps 80 MB; which one it takes is decided when pyarrow is imported first."""
    script = "import hearthwatch.sinks.duckdb, hearthwatch.record.retention.run, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    told = subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert (told.stdout, told.stderr) == ("system\n", "")


def in_groups(table, rows):
    return (table.slice(start, rows) for start in range(0, len(table), rows))


def test_a_reader_half_way_in_a_file_reads_its_version_to_the_end(house):
    """What DuckDB does, one step at a time: the footer first, the file replaced, then the rows, at the old offsets."""
    file = house.folder / "rows.parquet"
    for number in range(1, 5):
        rows = pa.table({"n": [number] * number * 1000, "words": [f"{number} {i}" for i in range(number * 1000)]})
        parquet.write(file, rows.schema, in_groups(rows, 900))
        if number == 2:
            footer = pq.read_metadata(file)
            expected = pq.read_table(file)
    with pq.ParquetFile(file, metadata=footer) as half_way:
        assert half_way.read().equals(expected)


@settings(max_examples=int(os.environ.get("HEARTHWATCH_TEST_EXAMPLES", "15")), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(100, 900)), min_size=1, max_size=6))
def test_each_version_of_a_file_can_be_read_to_the_end_however_its_rows_were_cut(versions):
    """Row groups lie around what is carried of the versions before; the last slimming leaves the rows alone."""
    with in_memory() as folder:
        file, seen = Path(folder) / "rows.parquet", []
        for number, (count, rows) in enumerate(versions):
            table = pa.table({"n": [number] * count, "words": [f"{number} {i}" for i in range(count)]})
            parquet.write(file, table.schema, in_groups(table, rows))
            seen.append((pq.read_metadata(file), table))
        for footer, table in seen:
            with pq.ParquetFile(file, metadata=footer) as half_way:
                assert half_way.read().equals(table)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parquet, "GRACE_SECONDS", 0)
            while not parquet.drop_carried(file):
                assert pq.read_table(file).equals(table)
        alone = Path(folder) / "alone.parquet"
        parquet.write(alone, table.schema, in_groups(table, rows))
        assert alone.read_bytes() == file.read_bytes()


def test_a_large_hour_is_written_in_row_groups(house, monkeypatch):
    monkeypatch.setattr(hearthwatch.record.lake.export, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(hearthwatch.record.lake.export, "GROUP_ROWS", 4)
    for last in (5, 13):
        house.see("front_door", *range(last - 5, last)).export()
        assert lake_differs(house) == []
    assert pq.read_metadata(house.lake.path("frames", START // hearthwatch.record.lake.export.HOUR)).num_row_groups == 3


def test_however_large_an_hour_is_two_of_its_row_groups_are_in_memory_at_most(house, monkeypatch):
    real, groups, held = hearthwatch.record.lake.export.groups, [], []

    def watched(source, table, hour):
        for group in real(source, table, hour):
            groups.append(weakref.ref(group))
            yield group
            del group
            held.append(sum(one() is not None for one in groups))

    monkeypatch.setattr(hearthwatch.record.lake.export, "ROWS_AT_ONCE", 20)
    monkeypatch.setattr(hearthwatch.record.lake.export, "GROUP_ROWS", 40)
    monkeypatch.setattr(hearthwatch.record.lake.export, "groups", watched)
    house.see("front_door", *range(400)).export()
    house.see("front_door", 400).export()
    assert len(held) > 40 and max(held) == 2  # this one and the first or the next


def test_what_is_carried_for_readers_is_left_out_in_the_end(house, monkeypatch):
    file = house.folder / "rows.parquet"
    sizes = []
    for number in (5000, 1000, 3000, 3000, 3000):
        table = pa.table({"n": list(range(number))})
        parquet.write(file, table.schema, [table])
        sizes.append(file.stat().st_size)
    assert sizes == sorted(sizes)
    monkeypatch.setattr(parquet, "GRACE_SECONDS", 0)
    while not parquet.drop_carried(file):
        assert pq.read_table(file).equals(table)
    alone = house.folder / "alone.parquet"
    parquet.write(alone, table.schema, [table])
    assert file.stat().st_size == alone.stat().st_size


NODES = """
[duckdb]
use = "duckdb"
from = "batch"
interval_seconds = 0.1

[retention]
use = "retention"
from = "batch"
interval_minutes = 0.005
gigabytes = 0.0004
"""
EACH = " UNION ALL ".join(f"SELECT '{t}' AS what, count(*) AS n, count(DISTINCT id) AS ids FROM {t}" for t in TABLES)


@pytest.mark.slow
def test_analysts_ask_for_minutes_while_the_pipeline_writes_is_killed_and_prunes(tmp_path):
    """Two of them, each on one connection that it never lets go of."""
    House(tmp_path / "world").export().close()
    pipeline = Pipeline(
        tmp_path, more=NODES, batch="window_seconds = 0.2\nidle_timeout_seconds = 0.1\nlateness_seconds = 0"
    )
    held = [duckdb.connect(pipeline.data / "analytics.duckdb", read_only=True).cursor() for _ in range(2)]
    told, ends = [], threading.Event()

    def ask(db):
        while not ends.is_set():
            try:
                rows = db.execute(EACH).fetchall()
                told.append([row for row in rows if row[1] != row[2]])
            except duckdb.Error as error:
                told.append(error)

    def forgotten(enough):
        ((gone, known),) = pipeline.rows("SELECT coalesce(sum(pruned = 2), 0), count(*) FROM frames") or [(0, 0)]
        return gone >= enough and known == 2 * enough

    threads = [threading.Thread(target=ask, args=(db,)) for db in held]
    for thread in threads:
        thread.start()
    try:
        for round in range(3):
            for i in range(40):
                pipeline.upload(f"camera{i % 2}", name(START / S + round * 5000 + i * 60))
            pipeline.start().until(partial(forgotten, 20 * (round + 1)))
            (pipeline.stop if round == 2 else pipeline.kill)()
    finally:
        pipeline.kill()
        ends.set()
        for thread in threads:
            thread.join()
    assert [trouble for trouble in told if trouble] == []
    assert len(told) > 20
    house = House(tmp_path / "world").export()
    assert lake_differs(house) == []
    assert house.rows("SELECT count(*) FROM frames") == [(120,)], "uploads that are still there keep their rows"
    house.close()


def sql(house, *args):
    environment = {**os.environ, "HEARTHWATCH_DATA_DIR": str(house.data), "FOSCAM_BASE_PATH": str(house.base)}
    command = [sys.executable, "-m", "hearthwatch.cli", "sql", *args]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_hearthwatch_sql_exports_first_and_answers(house):
    a_day(house)
    query = "SELECT camera_id, count(*) AS n, min(captured_at) AS since FROM frames GROUP BY 1 ORDER BY 1"
    table = sql(house, query)
    assert (table.returncode, table.stderr) == (0, "")
    assert "front_door" in table.stdout and "2 rows" in table.stdout
    lines = sql(house, query, "--csv").stdout.splitlines()
    assert lines == [
        "camera_id,n,since",
        "front_door,4,2026-11-22 08:15:30+00:00",
        "garden,4,2026-11-22 08:15:37+00:00",
    ]
    rows = json.loads(sql(house, "SELECT id, objects, history FROM events WHERE id = 1", "--json").stdout)
    assert rows[0]["objects"] == {"dog": 1, "person": 1} and rows[0]["history"][0]["revision"] == 1


@pytest.mark.slow
def test_a_query_that_cannot_be_understood_is_told_in_words(house):
    house.export()
    for args, says in ((["SELECT * FROM evnts"], "evnts"), (["SELECT 1", "--csv", "--json"], "choose one")):
        done = sql(house, *args)
        assert done.returncode == 2
        assert says in done.stderr and "Traceback" not in done.stderr
    elsewhere = House.__new__(House)
    elsewhere.data = elsewhere.base = house.folder / "nowhere"
    done = sql(elsewhere, "SELECT 1")
    assert (done.returncode, "there is no record yet" in done.stderr) == (2, True)
