"""Promise: retention trusts no clock. A machine that starts 60 days ahead loses nothing by it, one that was off for 60 days
catches up, and no run deletes more than a third unless a person asked for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearthwatch.record.retention.age_clock import DOUBT, KEY, note_last_sign_of_life, read_clock
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.sinks.retention import SHARE_MAX, Retention
from tests.support.data_dir import DAY, START, House, in_memory
from tests.support.pipeline import Pipeline, name

HOUR = DAY // 24
DAYS = 60


@pytest.fixture
def house(tmp_path: Path):
    house = House(tmp_path)
    yield house
    house.close()


def work(house: House, at: int, **options):
    """One run of the node by a wall clock that says `at`."""
    worker = Retention(**options).build(house.context)
    worker.run(from_microseconds(at), lambda: False)
    worker.retention.record.close()
    return house.frames()


def clock(house: House) -> dict[str, int]:
    return json.loads(house.record.one("SELECT value FROM meta WHERE key = ?", KEY)[0])


def test_a_clock_60_days_ahead_deletes_nothing_and_is_reported(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """Case 17."""
    house.see("front_door", *range(0, 900, 100), boxes=()).close_events()
    before = house.frames()
    assert work(house, START + HOUR) == before
    assert work(house, START + DAYS * DAY) == before
    assert "the server's clock is 60 days ahead" in caplog.text
    assert clock(house)["ahead"] == DAYS * DAY - HOUR
    caplog.clear()
    assert work(house, START + 2 * HOUR) == before and clock(house)["ahead"] == 0  # put right
    assert "ahead" not in caplog.text


def test_the_first_start_of_this_version_is_not_fooled_either(house: House) -> None:
    """The record of 0.1 has no clock of retention: its last sign of life is older than what this start writes."""
    house.see("front_door", 0, 100, boxes=())
    house.record.execute("UPDATE feed SET at = ?", START)
    note_last_sign_of_life(house.record)
    house.see("front_door", 200, boxes=(), discovered=START + DAYS * DAY)
    assert len(work(house, START + DAYS * DAY)) == 3


def test_a_long_time_off_is_caught_up_by_a_day_an_hour(house: House) -> None:
    read_clock(house.record, START, 0)
    wall = START + DAYS * DAY
    assert read_clock(house.record, wall, 0).at == START
    hours = 0
    while read_clock(house.record, wall + hours * HOUR, HOUR).ahead:
        hours += 1
    assert DAYS - 3 <= hours <= DAYS + 3


@given(st.lists(st.tuples(st.integers(-100, 100), st.integers(0, 48)), max_size=20))
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_time_of_retention_is_never_ahead_of_the_wall_or_of_what_it_ran(house: House, steps) -> None:
    house.record.execute("DELETE FROM meta WHERE key = ?", KEY)
    kept = read_clock(house.record, START, 0).at
    for days, hours in steps:
        wall, ran = START + days * DAY, hours * HOUR
        at, ahead = read_clock(house.record, wall, ran)
        assert at + ahead == wall and ahead >= 0
        assert at <= max(kept + DOUBT, kept + 24 * ran)
        kept = max(kept, at)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_run_deletes_a_third_at_most_and_runs_end_with_nothing_left(sizes: list[int], by_size: bool) -> None:
    """Events of these many pictures (0: a picture without one); a group that is larger than a third goes alone."""
    with in_memory() as folder:
        house = House(folder)
        for number, size in enumerate(sizes):
            start = number * 1000
            house.see("c", *range(start, start + max(1, size)), boxes=(), discovered=START) if not size else house.see(
                "c", *range(start, start + size), discovered=START
            )
        house.close_events()
        house.record.execute("UPDATE events SET reviewed = 1")
        rules = {"bytes_max": 1} if by_size else {}
        keeper = house.keeper(**rules)
        for _ in range(200):
            (events,), frames = house.record.one("SELECT count(*) FROM events WHERE status <> 'merged'"), house.frames()
            if not frames:
                break
            outcome = keeper.run(START + (0 if by_size else 40 * DAY), share_max=SHARE_MAX)
            assert outcome.deleted.frames <= max(len(frames) * SHARE_MAX, 9) and outcome.deleted.frames > 0
            assert outcome.deleted.events <= max(events * SHARE_MAX, 1)
            if outcome.is_limited:
                assert any("the next run continues" in words for words in outcome.problems())
        assert house.frames() == []
        house.close()


def test_prune_is_the_word_that_trusts_the_clock(house: House) -> None:
    house.see("front_door", *range(0, 900, 100), boxes=())
    house.record.execute("UPDATE feed SET at = ?", START)
    note_last_sign_of_life(house.record)  # in 2026; now is as it is
    environment = {**os.environ, "FOSCAM_BASE_PATH": str(house.base), "HEARTHWATCH_DATA_DIR": str(house.data)}
    house.record.execute("UPDATE frames SET discovered_at = ?", START - 100 * 366 * DAY)
    command = [sys.executable, "-m", "hearthwatch.cli", "prune"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert house.frames() == [] and "9 pictures" in result.stdout
    assert clock(house)["ahead"] == 0


def test_messages_about_the_system_go_with_the_rest(house: House) -> None:
    house.see("front_door", 0)
    rows = [("system", n, 1, "system.disk_low", "{}", START + n * DAY) for n in range(1, 41)]
    house.record.many("INSERT INTO feed(kind, subject_id, revision, type, payload, at) VALUES (?,?,?,?,?,?)", rows)
    columns = "kind, subject, state, severity, message, since, changed_at, revision"
    conditions = [
        ("disk_low", str(n), "on" if n == 1 else "off", "warning", "m", START, START + n * DAY, 1) for n in range(1, 41)
    ]
    house.record.many(f"INSERT INTO conditions({columns}) VALUES (?,?,?,?,?,?,?,?)", conditions)
    house.keeper().run(START + 40 * DAY)
    assert house.record.one("SELECT min(at), count(*) FROM feed WHERE kind = 'system'") == (START + 10 * DAY, 31)
    assert house.record.one("SELECT count(*) FROM conditions WHERE state = 'off'") == (31,)
    assert house.record.one("SELECT count(*) FROM conditions WHERE state = 'on'") == (1,), "what is wrong stays"


def test_a_pipeline_that_starts_60_days_ahead(tmp_path: Path) -> None:
    """The record is set 60 days back, which is the same; retention runs each half a second."""
    node = '\n[retention]\nuse = "retention"\nfrom = "batch"\ninterval_minutes = 0.01\n'
    p = Pipeline(tmp_path, more=node)
    for n in range(6):
        p.upload("porch", name(1_795_000_000 + 10_000 * n))
    p.start().until(lambda: p.states() == {"settled": 6} and p.rows("SELECT 1 FROM meta WHERE key = ?", KEY)).stop()
    record, back = p.record, DAYS * DAY
    for table, column in (("frames", "discovered_at"), ("feed", "at"), ("heartbeat", "at")):
        record.execute(f"UPDATE {table} SET {column} = {column} - {back}")
    record.execute(
        "UPDATE meta SET value = json_set(value, '$.at', json_extract(value, '$.at') - ?) WHERE key = ?", back, KEY
    )
    record.close()
    p.start()
    p.until(lambda: p.said().count("clock is 60 days ahead") >= 3)
    p.until(
        lambda: p.rows("SELECT subject, state FROM conditions WHERE kind = 'clock_stepped'") == [("retention", "on")]
    ).stop()
    assert p.states() == {"settled": 6} and p.rows("SELECT count(*) FROM frames WHERE pruned = 0") == [(6,)]
