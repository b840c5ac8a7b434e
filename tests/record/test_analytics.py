"""Promise: the queries of docs/analytics.md run, on DuckDB as it is installed, and find what they are meant to find."""

import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hearthwatch.record.verdicts import Verdicts
from hearthwatch.schemas import Detection, Verdict
from tests.support.data_dir import DAY, House, S, analyst, in_memory

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/analytics.md").read_text()
QUERIES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!```|## )[^\n]*\n)*```sql duckdb\n(.*?)```", TEXT, re.M | re.S))
NIGHT = 15 * 3600 + 44 * 60  # 00:00 UTC, in seconds after START, roughly
HOUR = 3600
PERSON, DOG = Detection("person", 0.9, (1, 2, 3, 4)), Detection("dog", 0.7, (5, 6, 7, 8))


@pytest.fixture(scope="module")
def db():
    """Twelve days: a visitor at each noon, a long stay, a night visitor, a wild hour, and a camera that went silent."""
    with in_memory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        house = House(folder)
        times = []
        for day in range(12):
            times.append(("front_door", day * DAY // S, (PERSON, DOG)))
            if day < 3:
                times += [("shed", day * DAY // S + 600 + i * 1800, (DOG,)) for i in range(4)]
        times += [("front_door", 10 * DAY // S + 5 * HOUR - 900 + i * 150, (PERSON,)) for i in range(20)]
        times += [("garden", 11 * DAY // S + HOUR + i * 25, (PERSON,)) for i in range(40)]
        for camera, first in (("garden", NIGHT + 2 * HOUR), ("front_door", NIGHT + 2 * HOUR + 60)):
            times += [(camera, first + n, (Detection("person", 0.9, (100 + 40 * n, 100, 40, 100)),)) for n in range(6)]
        for camera, second, boxes in sorted(times, key=lambda t: t[1]):
            house.see(camera, second, boxes=boxes)
        house.spoil("garden", 12 * DAY // S).close_events(13 * DAY // S)
        verdicts = Verdicts(house.record)
        chance = random.Random(1)
        for case in list(verdicts.closed()):
            said = Verdict(chance.choice((10, 65)), "a visit", "", (), "nemotron", "big", "v1", 900.0)
            verdicts.shadow(case.with_verdict(Verdict(40, "a shadow", "", (), "nemotron", "small", "v2", 300.0)))
            verdicts.write([case.with_verdict(said)])
        house.export()
        with analyst(house) as db:
            db.execute("SET TimeZone = 'UTC'")
            yield db
        house.close()


def test_there_are_at_least_ten():
    assert len(QUERIES) == TEXT.count("```sql duckdb") >= 10


@pytest.mark.parametrize("title", QUERIES)
def test_each_query_finds_something(db, title):
    rows = db.execute(QUERIES[title]).fetchall()
    assert rows
    assert any(value is not None for row in rows for value in row)


def test_the_plot_shows_each_hour_of_the_week(db):
    (file,) = db.execute("SELECT path FROM duckdb_databases() WHERE database_name = 'analytics'").fetchone()
    command = [sys.executable, ROOT / "examples/week.py", file]
    drawn = subprocess.run(command, env={**os.environ, "TZ": "UTC"}, capture_output=True, text=True, check=True).stdout
    hours = re.findall(r"<title>(\w+ \d+:00): (\d+) events</title>", drawn)
    assert len(hours) == 7 * 24 and ElementTree.fromstring(drawn).tag.endswith("svg")
    assert (
        sum(int(n) for _, n in hours)
        == db.execute("SELECT count(*) FROM events WHERE status <> 'merged'").fetchone()[0]
    )
    assert max(hours, key=lambda hour: int(hour[1]))[0] == "Wed 13:00", "the wild hour"


def test_they_find_what_they_are_meant_to_find(db):
    def ask(title):
        return db.execute(QUERIES[title]).fetchall()

    assert [row[0] for row in ask("Silent cameras")] == ["shed"]
    stay = ask("Longest stays")[0]
    assert (stay[0], stay[2].total_seconds()) == ("garden", 39 * 25)
    night = ask("Night visitors")
    assert {row[1] for row in night} == {"garden", "front_door"} and len(night) == 2
    assert [(row[1], row[4]) for row in ask("Visits that crossed the property")] == [(["garden", "front_door"], 2)]
    wild = ask("Unusual hours")[0]
    assert (wild[1:3], wild[3]) == (("front_door", "busier"), 20)
    assert [row[:2] for row in ask("Objects seen together")] == [("dog", "person")]
    assert {row[1] for row in ask("Rules against the language model")} == {"low", "high"}
    assert {row[5] for row in ask("A shadow prompt against the real one")} == {40}
    assert ask("Pictures that could not be processed")[0][:4] == ("garden", "decode", "not a picture", 1)
