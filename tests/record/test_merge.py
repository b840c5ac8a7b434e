"""Promise: a camera that is declared to be another one becomes it whole, through kills at every step, while pictures arrive."""

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from hearthwatch.record import cameras
from hearthwatch.record.cells import Placement, find_cells, last_seen_elsewhere, prepare_cell
from hearthwatch.record.copies import REPEATED_MIN, repeating_cameras
from hearthwatch.record.feedback import write_answer
from hearthwatch.record.ledger import FoundFile
from hearthwatch.record.problems import find_problems
from hearthwatch.record.read import verify
from hearthwatch.record.read.snapshot import SnapshotReader
from hearthwatch.record.read.status import camera_health, images, timeline
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


class Cells:
    """The cells of a data dir that share an upload tree, each with its pipeline's part of the work: `entrance` is the first one's, `gate` the second's."""

    def __init__(self, folder):
        self.first, self.second = House(folder), House(Path(folder) / "unused")
        self.first.see("entrance", 0, 5, 800).spoil("entrance", 806).export()
        self.first.ledger.discover([found("entrance", 807), found("entrance", 808)], START + 900 * S)
        cells = find_cells("3", self.first.path, self.first.data, self.first.base)
        self.second.record.close()
        for cell in cells[1:]:
            prepare_cell(cell)
        self.second.base, self.second.data, self.second.path = self.first.base, cells[1].data_dir, cells[1].record_path
        self.houses, self.cells = (self.first, self.second), cells
        self.second.open().see("gate", 100, 105, 500)
        self.reader = SnapshotReader(self.first.path, [cells[1].record_path])
        with_zones = {
            "zones": json.dumps([{"name": "path", "kind": "public", "points": [[0, 0], [1, 0], [1, 1]]}]),
            "notes": "the gate",
        }
        assert cameras.edit_camera(self.second.record, "gate", with_zones)

    def open(self):
        for house in self.houses:
            house.open()
        return self

    def close(self):
        for house in self.houses:
            house.close()

    def merge(self, id, into):
        with self.reader.snapshot() as record:
            elsewhere = cameras.read_settings(record, into)
        return [cameras.merge_camera(house.record, id, into, elsewhere) for house in self.houses]

    def readers(self, folder):
        """The numbers of the cells that take the pictures of a folder in."""
        return [cell.number for cell in self.cells if Placement(cell, self.cells, "3").is_mine(folder)]


KEPT = {
    "frames": "id, uid, path, state, event_id, thumbnail_path",
    "detections": "id, frame_id, event_id, bbox_x",
    "events": "id, batch_id, started_at, status, revision, reviewed, notes, risk_score",
    "event_history": "id, event_id, revision",
    "feedback": "id, event_id, answer",
    "feed": "seq, subject_id, payload",
}


def kept(house):
    return {table: house.rows(f"SELECT {columns} FROM {table} ORDER BY 1") for table, columns in KEPT.items()}


def test_a_camera_of_another_cell_takes_over_all_after_a_kill_at_any_step_and_all_ids_stay(monkeypatch):
    monkeypatch.setattr(cameras, "FRAMES_AT_ONCE", 2)
    monkeypatch.setattr(cameras, "EVENTS_AT_ONCE", 1)
    monkeypatch.setattr(cameras, "PAUSE_SECONDS", 0.0)
    before = {}

    def prepare(at):
        cells = Cells(f"{folder}/{at}")
        (event, *_) = cells.first.rows("SELECT id FROM events")[0]
        cells.first.set([event], notes="the postman")
        write_answer(cells.first.record, event, "fine", START + S)
        cells.second.record.execute("""UPDATE cameras SET neighbours = '["entrance"]'""")
        before[at] = [kept(house) for house in cells.houses]
        return cells

    def check(cells, at):
        assert cells.readers("entrance") == [0] and cells.readers("gate") == [1], at
        for _ in range(2):
            for house in cells.houses:
                whole(house)
            assert [kept(house) for house in cells.houses] == before[at], at
            cells.merge("entrance", "gate")
        for table in TABLES:
            assert cells.first.rows(f"SELECT count(*) FROM {table} WHERE camera_id = 'entrance'") == [(0,)], (table, at)
        settings = "SELECT id, folder_path, home_cell, notes, json_array_length(zones), neighbours FROM cameras"
        assert cells.first.rows(settings) == [("gate", "entrance", 1, "the gate", 1, '["gate"]')]
        assert cells.second.rows(settings) == [("gate", "gate", None, "the gate", 1, '["gate"]')]
        assert cells.first.rows("SELECT json_extract(signature, '$.camera_id') FROM feedback") == [("gate",)]
        assert cells.readers("entrance") == [0] and cells.readers("gate") == [1], at
        cells.first.ledger.discover([found("entrance", 901)], START + 999 * S)
        assert cells.first.rows("SELECT DISTINCT camera_id FROM frames") == [("gate",)]
        assert cells.readers("entrance") == [0] and cells.readers("gate") == [1], "after a new upload"
        for house in cells.houses:
            house.export()
            assert list(verify.lake(house.record, house.lake)) == []
            named = house.lake.folder / "cameras.parquet"
            assert parquet.read_table(named).num_rows == (house is cells.second), "all lakes are read as one"
        with cells.reader.snapshot() as record:
            assert images(record, START // S // 900, "gate") == 10

    with in_memory() as folder:
        steps = every_kill(monkeypatch, prepare, lambda cells: cells.merge("entrance", "gate"), check)
    assert steps >= 6


@pytest.fixture
def cells(tmp_path):
    cells = Cells(tmp_path)
    yield cells
    cells.close()


def test_a_camera_with_folders_in_two_cells_is_merged_again_into_one_of_a_third_place(cells):
    cells.first.see("porch", 2000)
    assert any(cells.merge("entrance", "gate")) and any(cells.merge("gate", "porch"))
    assert cells.first.rows("SELECT id, folder_path, home_cell FROM cameras") == [("porch", "porch", None)]
    assert cells.second.rows("SELECT id, folder_path, home_cell FROM cameras") == [("porch", "gate", 0)]
    for camera, reader in (("entrance", 0), ("gate", 1), ("porch", 0)):
        assert cells.readers(camera) == [reader], camera
    for house, camera in ((cells.first, "entrance"), (cells.second, "gate")):
        house.ledger.discover([found(camera, 3000)], START + 3000 * S)
        assert house.rows("SELECT DISTINCT camera_id FROM frames") == [("porch",)]
        whole(house)


def test_a_camera_is_silent_if_none_of_its_folders_delivers_in_any_cell(cells):
    cells.second.see("gate", 900)
    assert any(cells.merge("entrance", "gate"))

    def silent(second):
        """Which cells find it silent, and how they have it."""
        at = START + second * S
        found = [
            cameras.mark_silent_cameras(house.record, at, last_seen_elsewhere(cell, cells.cells))
            for house, cell in zip(cells.houses, cells.cells, strict=False)
        ]
        return found, [house.rows("SELECT status FROM cameras")[0][0] for house in cells.houses]

    cells.first.record.execute("UPDATE cameras SET status = 'offline'")
    assert silent(3 * 3600) == ([[], ["gate"]], ["online", "offline"]), "the cell that saw it last says so"
    with cells.reader.snapshot() as record:
        assert camera_health(record, START + 3 * 3600 * S)["gate"]["last_picture_age_seconds"] == 3 * 3600 - 900
    cells.first.see("entrance", 3 * 3600)
    for _ in range(2):
        assert silent(3 * 3600 + 60) == ([[], []], ["online", "online"])
    with cells.reader.snapshot() as record:
        first = START - START % (900 * S)
        (row,) = timeline(record, first, first + 1800 * S, 900 * S)
    assert [(cell["events"], cell["pictures"]) for cell in row["cells"]] == [(4, 9), (1, 1)]
    assert row["cells"][0]["max_risk"] == max(
        score for house in cells.houses for (score,) in house.rows("SELECT max(risk_score) FROM events")
    )


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
