"""Promise: a record that any earlier version has written is opened, says the same, and is continued."""

import json
import sqlite3

import pytest

from hearthwatch.record import Record
from hearthwatch.record.feed import Feed
from hearthwatch.record.migrate import SCHEMA_VERSION, upgrade
from hearthwatch.record.read import verify
from hearthwatch.schemas.zones import Zone, parse_zones
from tests.support.data_dir import House
from tests.support.invariants import check
from tests.support.pipeline import content

STORED = "cameras frames detections suppressed spots events event_history feed cursors inbox gpu_stats".split()
COUNTED = (
    "pictures detection_counts facets event_counts event_quarters event_totals heat confidence_counts".split()
)  # triggers keep them, a migration fills them


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A closed event, an open one, a bad picture, one that waits, a shadow verdict, a cursor, samples of a GPU."""
    house = House(tmp_path_factory.mktemp("house"))
    house.see("front_door", 0, 5, 10).close_events(200, link=False).see("driveway", 300).spoil("driveway", 301)
    record = house.record
    record.execute("INSERT INTO cursors VALUES ('redis', 2)")
    record.execute("INSERT INTO gpu_stats(recorded_at) VALUES (1795335330000000)")
    record.execute(
        "INSERT INTO event_history(event_id, revision, type, at, shadow, analyzer) "
        "SELECT event_id, revision, type, at, 1, 'nemotron' FROM event_history WHERE type = 'event.closed'"
    )
    yield house
    house.close()


def written_by(version, house, path):
    """The house's record as this version of the schema holds it."""
    old = sqlite3.connect(path, isolation_level=None)
    upgrade(old, version)
    for table in STORED:
        names = [name for _, name, *_ in old.execute(f"PRAGMA table_info({table})")]  # without those that are computed
        there = {name for _, name, *_ in house.record.rows(f"PRAGMA table_xinfo({table})")}
        names = [name for name in names if name in there]
        rows = house.record.rows(f"SELECT {', '.join(names)} FROM {table}")
        old.executemany(
            f"INSERT OR REPLACE INTO {table}({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows
        )
    old.executemany(
        "UPDATE counters SET n = ? WHERE name = ?", [(n, name) for name, n in house.record.counters().items()]
    )
    old.execute("INSERT INTO meta VALUES ('store_id', ?)", (house.record.store_id,))
    old.close()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_a_record_of_each_version_is_opened_and_continued(house, tmp_path, version):
    again = House(tmp_path)
    again.close().path.unlink()
    written_by(version, house, again.path)
    Record(again.path, upgrade=True).close()
    again.open()
    record = again.record
    assert record.store_id == house.record.store_id
    expected = content(house.record)
    added = {10: "signature", 12: "handover"}  # for events that are judged from then on
    for event in expected.events.values():
        event |= {column: None for at, column in added.items() if version < at}
    content(record).is_that_of(expected)
    for table in COUNTED:
        rows = f"SELECT * FROM {table} ORDER BY 1, 2, 3"
        assert record.rows(rows) == house.record.rows(rows), table
    again.see("driveway", 310).close_events()
    check(record)
    assert [*verify.counters(record), *verify.rows(record)] == []
    driveway = "SELECT status, frame_count FROM events WHERE camera_id = 'driveway'"
    assert record.rows(driveway) == [("closed", 2)], "the event that was open is the one that went on"
    again.export()
    assert record.one("SELECT count(*) FROM dirty_hours") == (0,)
    again.close()


AREA = {"name": "flag", "points": [[0, 0], [1, 0], [1, 0.5]]}


@pytest.mark.parametrize("version", [8])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([AREA, AREA | {"name": "tree"}], ["flag", "tree"]),
        ([AREA, "tree", 7, None, [1]], ["flag"]),
        *((text, None) for text in (None, "", "[", "no JSON", "{}", "[]", "7", '["x"]', "[{]")),
    ],
)
def test_the_ignored_zones_of_0_1_become_zones_of_kind_ignore(tmp_path, version, before, after):
    old = sqlite3.connect(tmp_path / "record.db", isolation_level=None)
    upgrade(old, version)
    text = json.dumps(before) if isinstance(before, list) else before
    old.execute(
        "INSERT INTO cameras(id, name, folder_path, created_at, ignore_zones) VALUES ('c', 'C', 'C', 0, ?)", (text,)
    )
    old.close()
    record = Record(tmp_path / "record.db", upgrade=True)
    (zones,) = record.one("SELECT zones FROM cameras")
    if after is None:
        assert zones is None
    else:
        points = tuple(map(tuple, AREA["points"]))
        assert list(parse_zones(zones)) == [Zone(name, "ignore", points) for name in after]
    record.close()


def test_a_place_where_nothing_was_becomes_one_of_several_and_the_lake_gets_what_was_suppressed_before(tmp_path):
    old = sqlite3.connect(tmp_path / "record.db", isolation_level=None)
    upgrade(old, 14)
    for box in (None, "[1, 2.5, 3, 4]"):
        sql = "INSERT INTO feedback(event_id, at, answer, signature, expires_at, box) VALUES (1, 0, 'fine', '{}', 0, ?)"
        old.execute(sql, (box,))
    old.execute("INSERT INTO suppressed VALUES (512, 1, 'c', 7200000000, 'car', 0.5, 1, 2, 3, 4, 'has stood still')")
    old.close()
    record = Record(tmp_path / "record.db", upgrade=True)
    assert record.rows("SELECT box FROM feedback ORDER BY id") == [(None,), ("[[1,2.5,3,4]]",)]
    assert record.rows("SELECT kind, hour FROM dirty_hours WHERE kind = 'frames'") == [("frames", 2)]
    record.close()


@pytest.mark.parametrize("last", [None, 0, 17])
def test_the_feeds_numbers_go_on_where_all_of_its_messages_are_deleted(tmp_path, last):
    path = tmp_path / "record.db"
    old = sqlite3.connect(path, isolation_level=None)
    upgrade(old, 4)
    if last is not None:
        old.execute("INSERT INTO feed VALUES (?, 1, 1, 'event.opened', '{}', 0)", (last,))
        old.execute("DELETE FROM feed")
    old.execute("INSERT INTO cursors VALUES ('redis', ?)", (last or 0,))
    old.close()
    feed = Feed(Record(path, upgrade=True))
    assert feed.last() == (last or 0) == feed.cursor("redis") and feed.after(0, 9) == []
    feed.record.execute("INSERT INTO feed(subject_id, revision, type, payload, at) VALUES (1, 1, '', '', 0)")
    assert feed.last() == (last or 0) + 1


def test_items_of_a_journal_and_their_messages_get_the_names_of_today(tmp_path):
    path = tmp_path / "hearthwatch.db"
    old = sqlite3.connect(path, isolation_level=None)
    upgrade(old, 16)
    old.execute("INSERT INTO journal VALUES (7, 'levels', '2f0c', 'Level', '{\"db\": 61.5}', 0, NULL)")
    message = {
        "journal": "levels",
        "key": "2f0c",
        "kind": "Level",
        "at": "2026-11-28T10:00:00.000000Z",
        "item": {"db": 61.5},
    }
    old.execute("INSERT INTO feed VALUES (3, 'item', 7, 1, 'item.levels', ?, 0)", (json.dumps({"seq": 3} | message),))
    old.close()
    record = Record(path, upgrade=True)
    (message,) = Feed(record).after(0, 9)
    assert (message.node, message.id, message.content_hash, message.kind, message.payload) == ("levels", 7, "2f0c", "Level", {"db": 61.5})  # fmt: skip
    assert json.loads(record.one("SELECT payload FROM feed")[0]) == message.as_dict()
    assert record.one("SELECT node, payload FROM v_journal") == ("levels", '{"db": 61.5}')
    record.execute("DELETE FROM journal")
    assert record.one("SELECT name, items FROM journals") == ("levels", 0)
    record.close()
