"""Promise: incidents span the cells of a data dir, as if one record held all of their events, whatever is killed, deleted or restored."""

import json
import math
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearthwatch.record import Record
from hearthwatch.record.cameras import merge_camera, read_settings
from hearthwatch.record.cell_incidents import CellIncidents, take_over
from hearthwatch.record.cells import find_cells, prepare_cell
from hearthwatch.record.events import delete_events
from hearthwatch.record.incidents import Activity, Reach, connect, number_of
from hearthwatch.record.read.verify import ROWS
from hearthwatch.record.reviews import mark_copies, review
from hearthwatch.record.units import ALERT_IDS, SECOND
from hearthwatch.record.verdicts import Verdicts
from hearthwatch.schemas.context import Context
from hearthwatch.sources.pending import PendingPartition
from hearthwatch.stages.incident import COPY_SECONDS, IncidentGrouping
from tests.record.test_incidents import Site, thorough
from tests.support.data_dir import Killed, killed

LINKED = "SELECT id, incident_id FROM events WHERE status <> 'merged' ORDER BY id"


class Cells:
    """A data dir of cells, each with its pipeline's part of the work; and the one that groups."""

    def __init__(self, folder, count=3):
        self.cells = find_cells(str(count), folder / "hearthwatch.db", folder, folder)
        for cell in self.cells:
            prepare_cell(cell)
        self.sites = [Site(record=Record(cell.record_path)) for cell in self.cells]
        self.home = self.sites[0].record
        self.messages = []
        self.start()

    def start(self):
        """Start the one that groups, as after a kill."""
        take_over(self.home)
        self.incidents = Site(record=self.home).incidents
        self.work = CellIncidents(self.incidents, self.cells[1:])
        return self

    def see(self, cell, camera, *seconds, **how):
        self.sites[cell].see(f"{camera}{cell}", *seconds, **how)
        return self

    def catch_up(self):
        more = True
        while more or self.home.one("SELECT 1 FROM cell_members WHERE incident_id IS NOT written"):
            more = self.work.take_in()
            while self.incidents.is_behind():
                self.incidents.update()
            self.work.write_links()
        self.incidents.link_waiting()
        return self

    def groups(self):
        found = {}
        for site in self.sites:
            for id, incident in site.record.rows(LINKED):
                found.setdefault(incident, set()).add(id)
        return found

    def check(self):
        """All is as the definition has it, and the same in all records."""
        events = []
        named = {}
        for site in self.sites:
            sql = "SELECT id, camera_id, started_at, last_at, carries FROM events WHERE status <> 'merged'"
            events += [Activity(*row[:4], bool(row[4])) for row in site.record.rows(sql)]
            named |= {
                c: json.loads(n)
                for c, n in site.record.rows("SELECT id, neighbours FROM cameras WHERE neighbours IS NOT NULL")
            }
        groups = connect(events, Reach(neighbours=named))
        assert self.groups() == {number_of(group): {e.id for e in group} for group in groups}
        sql = "SELECT id, event_count, json_array_length(cameras) FROM incidents WHERE status <> 'merged'"
        assert sorted(self.home.rows(sql)) == sorted(
            (number_of(group), len(group), len({e.camera for e in group})) for group in groups
        )
        for site in self.sites:
            assert not [name for name, sql in ROWS.items() if "incident" in name and site.record.rows(sql)]
            if site.record is not self.home:
                assert site.record.one("SELECT count(*) FROM incidents") == (0,)
                assert site.record.one("SELECT count(*) FROM feed WHERE kind = 'incident'") == (0,)
                assert site.record.one("SELECT count(*) FROM changed_members") == (0,)
        return self

    def close(self):
        self.work.close()
        for site in self.sites:
            site.record.close()


@pytest.fixture
def cells(tmp_path):
    found = Cells(tmp_path)
    yield found
    found.close()


def messages(record):
    sql = "SELECT type, subject_id, payload FROM feed WHERE kind = 'incident' ORDER BY seq"
    return [(type, id, json.loads(payload)) for type, id, payload in record.rows(sql)]


def test_a_visit_to_cameras_of_three_cells_is_one_incident_with_one_number_and_the_messages_of_one(cells):
    one = Site()
    for cell, camera, at, kind in (
        (2, "a", 1000, "cat"),
        (1, "a", 1040, "person"),
        (0, "a", 1100, "person"),
        (1, "b", 1170, "bear"),
    ):
        cells.see(cell, camera, at, kind=kind).catch_up()
        one.see(f"{camera}{cell}", at, kind=kind).catch_up()
    cells.check()
    ids = {id for _, id, _ in messages(cells.home) if id >> 36 == 1}
    assert len(cells.groups()) == 1 and cells.groups().keys() == {(2 << 36) + 1}
    keys = (
        "type",
        "risk_score",
        "risk_level",
        "summary",
        "cameras",
        "camera_names",
        "event_count",
        "frame_count",
        "objects",
        "status",
    )
    mine, theirs = ([[m[key] for key in keys] for *_, m in messages(r)] for r in (cells.home, one.record))
    assert mine == theirs and len(ids) <= 1
    assert messages(cells.home)[-1][2]["gravest_event_id"] >> 36 == 1


def test_neighbours_and_names_of_cameras_of_other_cells_count(cells):
    cells.see(0, "a", 1000).see(1, "a", 1010)
    cells.home.execute("UPDATE cameras SET neighbours = '[]'")
    cells.sites[1].record.execute("UPDATE cameras SET neighbours = '[]', name = 'Yard'")
    cells.catch_up().check()
    assert len(cells.groups()) == 2
    assert [m["camera_names"] for _, id, m in messages(cells.home) if id >> 36] == [["Yard"]]
    cells.sites[0].record.execute("""UPDATE cameras SET neighbours = '["a1"]'""")
    cells.see(1, "a", 1012).catch_up().check()
    assert len(cells.groups()) == 1


def test_an_incident_is_reviewed_at_once_with_its_events_of_all_cells_and_that_is_undone(cells):
    cells.see(0, "a", 1000).see(1, "a", 1010).see(2, "a", 1020).catch_up()
    (incident,) = cells.groups()
    for reviewed in (True, False):
        changed = [id for site in cells.sites for id in review(site.record, reviewed, None, None, None, [incident])]
        mark_copies(cells.home, reviewed, changed)
        assert len(changed) == 3
        assert cells.home.one("SELECT reviewed FROM incidents") == (reviewed,), "before anything was copied"
        cells.catch_up().check()
        assert cells.home.one("SELECT reviewed FROM incidents") == (reviewed,)
    for site in cells.sites:
        site.record.execute("UPDATE events SET reviewed = 1")
    assert cells.catch_up().home.one("SELECT reviewed FROM incidents") == (1,)


def test_incidents_close_by_the_clock_of_the_cell_that_is_furthest_behind_and_what_comes_late_joins_them(cells):
    def close(*clocks):
        for site, clock in zip(cells.sites, clocks, strict=True):
            text = json.dumps({"clock": clock * SECOND})
            site.tick(clock).record.execute("INSERT OR REPLACE INTO heartbeat VALUES ('see', 1, 0, ?)", text)
        cells.catch_up().incidents.close_due(cells.work.arrival_clock())
        return cells.home.rows("SELECT status, event_count FROM incidents WHERE status <> 'merged'")

    cells.see(0, "a", 1000)
    assert close(5000, 1010, 5000) == [("open", 1)]
    assert close(5000, 2000, 5000) == [("closed", 1)]
    cells.see(1, "a", 1050, late=4000)
    assert close(5100, 5100, 5100) == [("open", 2)]
    assert close(6000, 6000, 6000) == [("closed", 2)]
    cells.check()
    news = [(type, m["status"], m["event_count"]) for type, _, m in messages(cells.home)]
    assert news == [
        ("incident.opened", "open", 1),
        ("incident.closed", "closed", 1),
        ("incident.updated", "open", 2),
        ("incident.closed", "closed", 2),
    ]


def test_what_a_cell_deletes_leaves_its_incident_and_the_last_event_takes_it_along(cells):
    cells.see(0, "a", 1000).see(1, "a", 1080).see(2, "a", 1160).catch_up().check()
    (incident,) = cells.groups()

    def delete(record):
        events = [id for (id,) in record.rows("SELECT id FROM events")]
        record.transact(lambda: delete_events(record, events, []))

    delete(cells.sites[1].record)
    cells.catch_up()
    assert cells.home.rows("SELECT id, event_count, kept FROM incidents WHERE status <> 'merged'") == [
        (incident, 2, 1)
    ], "not divided"
    delete(cells.sites[2].record)
    cells.catch_up()
    delete(cells.home)
    assert not cells.home.rows("SELECT 1 FROM incidents") and not messages(cells.home)


def test_cameras_of_another_cell_that_are_merged_are_one_there(cells):
    cells.see(1, "a", 1000).see(1, "b", 1150).catch_up().check()
    assert len(cells.groups()) == 2
    assert merge_camera(cells.sites[1].record, "b1", "a1")
    cells.catch_up().check()
    assert len(cells.groups()) == 1
    assert cells.home.rows("SELECT cameras FROM incidents WHERE status <> 'merged'") == [('["a1"]',)]


def test_a_camera_that_is_merged_into_one_of_another_cell_is_that_in_incidents(cells):
    cells.see(0, "a", 1000).see(1, "b", 1150).catch_up().check()
    assert len(cells.groups()) == 2
    into = read_settings(cells.home, "a0")
    assert merge_camera(cells.sites[1].record, "b1", "a0", into)
    cells.catch_up().check()
    assert len(cells.groups()) == 1
    assert cells.home.rows("SELECT cameras FROM incidents WHERE status <> 'merged'") == [('["a0"]',)]


def test_a_judge_is_given_earlier_events_of_a_visit_of_all_cells(cells):
    for n, (cell, camera) in enumerate([(0, "a"), (1, "a"), (2, "a"), (1, "b"), (0, "b"), (2, "b"), (1, "c")]):
        cells.see(cell, camera, 1000 + n * 20)
        cells.sites[cell].record.execute("UPDATE cameras SET name = upper(id)")
    cells.catch_up().check()
    assert len(cells.groups()) == 1
    (incident,) = cells.groups()
    alert = "INSERT INTO cell_members(id, camera_id, started_at, last_at, carries, incident_id, status, revision, reviewed, kind) "
    cells.home.execute(
        f"{alert} SELECT ? + id, camera_id, started_at, last_at, 1, ?, 'closed', 1, 0, 'plate' FROM cell_members",
        ALERT_IDS,
        incident,
    )
    paths = [None, *[cells.cells[0].record_path] * 2]

    def before(cell, first=True):
        record = cells.sites[cell].record
        newest = record.one("SELECT id FROM events ORDER BY started_at DESC LIMIT 1")[0]
        return [e.camera for e in Verdicts(record, first=paths[cell] if first else None).case(newest).before]

    for cell in cells.cells:
        pending = PendingPartition(
            Context(cell.record_path, cell.data_dir, cell.base_path, cells=cells.cells, cell=cell)
        )
        assert pending.verdicts.first == paths[cell.number]
        pending.close()

    assert before(0) == ["A0", "A1", "A2", "B1"]
    assert before(1) == ["A2", "B1", "B0", "B2"]
    assert before(2) == ["A1", "A2", "B1", "B0"]
    assert before(1, first=False) == ["A1", "B1"]
    with closing(sqlite3.connect(cells.home.path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        assert before(1) == ["A2", "B1", "B0", "B2"], "a writer is not waited for"
        db.execute("ROLLBACK")
    for path in (cells.home.path.parent / "gone.db", cells.home.path.parent / "text.db"):
        paths[1] = path
        assert before(1) == ["A1", "B1"], "a record that cannot be read holds nothing back"
        (cells.home.path.parent / "text.db").write_text("not a record" * 100)


def test_a_record_that_was_restored_is_copied_anew(cells, tmp_path):
    cells.see(0, "a", 1000).see(1, "a", 1010).see(2, "a", 5000).catch_up()
    record = cells.sites[1].record
    record.transact(lambda: (record.execute("DELETE FROM feed"), record.execute("DELETE FROM events")))
    record.execute("DELETE FROM changed_members")  # as an older state has it
    restored = json.dumps({"known_frame": 1 << 36, "revision": 1000})
    record.execute("INSERT INTO meta VALUES ('record_restored', ?)", restored)
    cells.catch_up()
    assert cells.home.rows("SELECT event_count FROM incidents WHERE status <> 'merged' ORDER BY started_at") == [
        (1,),
        (1,),
    ]
    cells.home.execute("DELETE FROM cell_members")
    cells.home.execute("INSERT INTO meta VALUES ('record_restored', ?)", restored)
    before = len(messages(cells.home))
    cells.start().catch_up().check()
    assert len(messages(cells.home)) == before, "what was linked once is no news"


def test_a_cell_that_becomes_the_first_one_elsewhere_has_its_incidents_itself(cells):
    cells.see(0, "a", 1000).see(1, "a", 1010).see(1, "a", 1190).catch_up()
    moved = cells.sites[1].record
    take_over(moved)
    alone = Site(record=moved)
    while alone.incidents.link_waiting():
        pass
    assert alone.groups() == [((1 << 36) + 1, [(1 << 36) + 1, (1 << 36) + 2])]
    assert not moved.rows("SELECT 1 FROM changed_members")
    cells.catch_up().check()
    assert len(cells.groups()) == 1, "and comes back"


SEEN = st.tuples(
    st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 90), st.sampled_from(["cat", "person", "bear"])
)
STEPS = st.one_of(SEEN, SEEN, SEEN, st.just("catch up"), st.integers(1, 6))


@settings(thorough, max_examples=max(10, thorough.max_examples // 4))
@given(st.lists(STEPS, max_size=14))
def test_whatever_comes_in_whatever_order_and_is_killed_at_any_commit_the_incidents_are_those_of_the_definition(steps):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        cells, late = Cells(Path(folder)), 0
        for step in steps:
            if isinstance(step, tuple):
                cell, camera, at, kind = step
                cells.see(cell, camera, 1000 + at * 13, kind=kind, late=2000 - at * 13)
                late += 1
            elif step == "catch up":
                cells.catch_up()
            else:
                with killed(step, patch):
                    try:
                        cells.catch_up()
                    except Killed:
                        pass
                cells.work.close()
                cells.start()
        for site in cells.sites:
            site.tick(5000)
        cells.catch_up().check().close()


def test_changes_of_other_cells_wait_a_tenth_of_a_second_for_the_next_ones_and_no_longer(tmp_path):
    cells = Cells(tmp_path, 2)
    context = Context(cells.cells[0].record_path, tmp_path, tmp_path, cell=cells.cells[0], cells=cells.cells)
    worker = IncidentGrouping().build(context)
    worker.open()

    def copied():
        worker.catch_up()
        return [id & 7 for (id,) in cells.home.rows("SELECT id FROM cell_members ORDER BY id")]

    cells.see(1, "a", 1000)
    assert copied() == [1] and worker.idle_seconds == 1
    cells.see(1, "a", 2000)
    worker._copy_due = math.inf
    assert copied() == [1] and worker.idle_seconds == COPY_SECONDS, "it is called again by then"
    worker._copy_due = 0.0
    assert copied() == [1, 2] and worker.idle_seconds == 1
    worker.close()
    cells.close()
