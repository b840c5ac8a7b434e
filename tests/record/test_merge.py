"""Promise: a camera that is declared to be another one becomes it whole, through kills at every step, while pictures arrive."""

import pytest

from hearthwatch.record import cameras
from hearthwatch.record.copies import REPEATED_MIN, repeating_cameras
from hearthwatch.record.ledger import FoundFile
from hearthwatch.record.problems import find_problems
from hearthwatch.record.read import verify
from hearthwatch.record.read.status import images
from hearthwatch.schemas import Detected
from tests.support.data_dir import PERSON, START, House, S, every_kill, in_memory
from tests.support.invariants import check_conservation, check_feed

TABLES = (
    "frames",
    "detections",
    "suppressed",
    "events",
    "spots",
    "pictures",
    "detection_counts",
    "facets",
    "event_counts",
    "event_quarters",
    "event_totals",
    "heat",
    "confidence_counts",
)


def found(camera, second):
    at = START + second * S
    return FoundFile(camera, camera, f"{camera}/{second}.jpg", at * 1000, 9, at, at)


def two_cameras(folder):
    """Events of both start in the same microsecond; one of the old camera is open, and two of its pictures wait."""
    house = House(folder)
    house.see("gate", 0, 5, 400).see("entrance", 0, 5, 800).spoil("entrance", 806).export()
    house.ledger.discover([found("entrance", 807), found("entrance", 808)], START + 900 * S)
    return house


def whole(house):
    check_conservation(house.record)
    check_feed(house.record)
    assert list(verify.rows(house.record)) == []


def test_merging_is_finished_by_a_second_call_after_a_kill_at_any_step(monkeypatch):
    monkeypatch.setattr(cameras, "FRAMES_AT_ONCE", 2)
    monkeypatch.setattr(cameras, "EVENTS_AT_ONCE", 1)
    monkeypatch.setattr(cameras, "PAUSE_SECONDS", 0.0)

    def merge(house):
        assert cameras.merge_camera(house.record, "entrance", "gate")

    def check(house, at):
        whole(house)
        cameras.merge_camera(house.record, "entrance", "gate")
        whole(house)
        for table in TABLES:
            assert house.rows(f"SELECT count(*) FROM {table} WHERE camera_id = 'entrance'") == [(0,)], (table, at)
        assert house.rows("SELECT id FROM cameras") == [("gate",)]
        assert images(house.record, START // S // 900, "gate") == 9
        assert house.rows("SELECT sum(n) FROM detection_counts WHERE camera_id = 'gate'") == house.rows(
            "SELECT count(*) FROM detections"
        )
        house.export()
        assert list(verify.lake(house.record, house.lake)) == []

    with in_memory() as folder:
        steps = every_kill(monkeypatch, lambda at: two_cameras(f"{folder}/{at}"), merge, check)
    assert steps >= 5


@pytest.fixture
def house(tmp_path):
    house = two_cameras(tmp_path)
    yield house
    house.close()


def test_pictures_that_are_in_flight_or_found_during_a_merge_are_the_other_cameras(house):
    first, second = [entry.frame for entry in house.ledger.todo(0, 9)]
    house.record.transact(lambda: cameras._add_alias(house.record, "entrance", "gate"))
    house.batching.write([Detected(first, 640, 360, PERSON)])  # of the old camera still
    house.ledger.discover([found("entrance", 809)], START + 901 * S)
    assert cameras.merge_camera(house.record, "entrance", "gate")
    house.batching.write([Detected(second, 640, 360, PERSON)])
    assert house.rows("SELECT DISTINCT camera_id FROM frames") == [("gate",)]
    assert house.rows("SELECT event_id FROM frames WHERE id IN (?, ?)", first.id, second.id) == [(6,), (6,)]
    assert house.ledger.cameras() == {"entrance": "entrance", "gate": "gate"}
    house.close_events()
    whole(house)


def test_merging_again_follows_and_no_camera_is_merged_into_none(house):
    house.see("porch", 900)
    record = house.record
    assert cameras.merge_camera(record, "entrance", "gate") and cameras.merge_camera(record, "gate", "porch")
    assert not cameras.merge_camera(record, "entrance", "porch") and not cameras.merge_camera(record, "porch", "gone")
    assert cameras.merged_into(record, "entrance") == cameras.merged_into(record, "gate") == "porch"
    house.ledger.discover([found("entrance", 901)], START + 999 * S)
    assert house.rows("SELECT DISTINCT camera_id FROM frames") == [("porch",)]
    assert house.rows("SELECT id, folder_path FROM cameras") == [("porch", "porch")]


def test_a_camera_that_sends_the_same_bytes_for_ever_is_found(house):
    def send(count, apart, error="duplicate of 1", camera="stuck"):
        (last,) = house.record.one("SELECT max(id) FROM frames")
        house.ledger.discover([found(camera, 1000 + last * 100 + n * apart) for n in range(count)], START + 10**6 * S)
        sql = "UPDATE frames SET state = 'settled', error_stage = iif(?1 IS NULL, NULL, 'duplicate'), error = ?1 WHERE id > ?2"
        house.record.execute(sql, error, last)

    send(REPEATED_MIN - 1, 60)
    assert repeating_cameras(house.record) == []
    send(1, 60)
    ((camera, first),) = repeating_cameras(house.record)
    assert (camera, first.id) == ("stuck", 1)
    (problem,) = [p for p in find_problems(house.record, house.base, START) if p.kind == "same_picture"]
    assert problem.camera_id == "stuck" and "the same picture as 1 of Sunday 22 November 2026" in problem.message
    send(1, 60, error=None)  # something new
    assert repeating_cameras(house.record) == []
    send(REPEATED_MIN, 10, camera="quick")  # a tree that was copied: within minutes
    assert repeating_cameras(house.record) == []
