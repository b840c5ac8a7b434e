"""Promise: what a person would call one visit is one incident, whatever the order, the chunks and the restarts."""

import json
import os
import random
import sqlite3
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearthwatch.flows.graph import Graph
from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.cameras import merge_camera
from hearthwatch.record.events import delete_events
from hearthwatch.record.incidents import Incidents, Reach
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.read.verify import ROWS
from hearthwatch.record.units import NEVER
from hearthwatch.record.verdicts import Verdicts
from hearthwatch.schemas.case import Facts
from hearthwatch.schemas.items import Detected, Detection, Tick, Verdict, from_microseconds
from hearthwatch.sinks.notification_policy import Rules, decide
from hearthwatch.sources.files import Files
from hearthwatch.stages.batch import Batch, BatchWriter
from hearthwatch.stages.detect import RtDetr
from hearthwatch.stages.incident import IncidentGrouping
from tests.support.context import context
from tests.support.invariants import check_record
from tests.support.judges import whole
from tests.support.memory_record import MemoryRecord

S = 1_000_000
SCORES = {"cat": 10, "person": 40, "bear": 70}
END = 4_000_000_000

thorough = settings(
    max_examples=int(os.environ.get("HEARTHWATCH_TEST_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def judge(facts: Facts) -> Verdict:
    kind = max(facts.objects, key=SCORES.__getitem__)
    return Verdict(SCORES[kind], f"{kind} at {facts.camera_id}", "counted", (facts.sightings[0].id,))


class Site:
    """Cameras a, b, c … of one record in memory; seconds since 1970."""

    def __init__(self, reach: Reach | None = None, record: Record | None = None) -> None:
        self.record, self.reach = record or MemoryRecord(), reach
        self.ledger, self.batching = Ledger(self.record), Batching(self.record, whole(judge))
        self.incidents = Incidents(self.record, reach)
        self.messages, self.n = [], 0

    def see(self, camera, *seconds, kind="person", late=0):
        """Pictures of this kind; they arrive `late` seconds after they were captured."""
        for at in seconds:
            self.n += 1
            arrived = max(self.ledger.clock.at, (at + late) * S)
            self.ledger.discover([FoundFile(camera, camera, f"{self.n}.jpg", 0, 1, at * S, arrived)], 1 << 60)
            (entry,) = self.ledger.todo(0, 10)
            self.batching.write(
                [Detected(entry.frame, 640, 360, (Detection(kind, 0.9, (self.n * 97 % 600, 2, 30, 40)),))]
            )
        return self

    def tick(self, seconds):
        self.batching.write([Tick(from_microseconds(seconds * S))])
        return self

    def catch_up(self, clock=None):
        while self.incidents.is_behind():
            self.messages += self.incidents.update()
        if clock is not None:
            self.messages += self.incidents.close_due(clock * S)
        return self

    def published(self):
        return [(m.type.removeprefix("incident."), m.incident.id) for m in self.messages]

    def rows(self, columns="id, status, event_count"):
        return self.record.rows(f"SELECT {columns} FROM incidents ORDER BY id")

    def groups(self):
        sql = "SELECT incident_id, id FROM events WHERE status <> 'merged' AND revision > 0 ORDER BY id"
        out = {}
        for incident, event in self.record.rows(sql):
            out.setdefault(incident, []).append(event)
        return sorted(out.items())

    def by_definition(self):
        """Every pair of events compared; no sorting by time, no search around anything."""
        reach = self.reach or Reach()
        named = {
            c: json.loads(n)
            for c, n in self.record.rows("SELECT id, neighbours FROM cameras WHERE neighbours IS NOT NULL")
        }
        events = {
            id: (camera, first, last, carries)
            for id, camera, first, last, carries in self.record.rows(
                "SELECT id, camera_id, started_at + slow, last_at + slow, carries FROM (SELECT *, coalesce(clock_offset_ms, 0) * 1000 AS slow "
                "FROM events) WHERE status <> 'merged' AND revision > 0"
            )
        }

        def gap(a, b):
            (c, first, last, _), (d, start, end, _) = events[a], events[b]
            far = max(0, start - last, first - end)
            if c == d:
                return far if far <= reach.same_camera else None
            near = c not in named or d not in named or c in named[d] or d in named[c]
            return far if near and far <= reach.other_camera else None

        carrying = [{i} for i in events if events[i][3]]
        while joined := next(
            ((x, y) for x, y in combinations(carrying, 2) if any(gap(a, b) is not None for a in x for b in y)), None
        ):
            carrying = [g for g in carrying if g not in joined] + [joined[0] | joined[1]]
        groups = [(min(g), set(g)) for g in carrying]
        for low in (i for i in events if not events[i][3]):
            near = [
                (min(g for a in core if (g := gap(a, low)) is not None), first, n)
                for n, (first, core) in enumerate(zip([min(g) for g in carrying], carrying, strict=True))
                if any(gap(a, low) is not None for a in core)
            ]
            if near:
                groups[min(near)[2]][1].add(low)
            else:
                groups.append((low, {low}))
        return sorted((min(g), sorted(g)) for _, g in groups)

    def check(self):
        assert self.groups() == self.by_definition()
        for id, cameras, objects, n, frames, score, gravest in self.record.rows(
            "SELECT id, cameras, objects, event_count, frame_count, risk_score, gravest_event_id FROM incidents WHERE status <> 'merged'"
        ):
            events = self.record.rows(
                "SELECT id, camera_id, objects, frame_count, risk_score, started_at FROM events WHERE incident_id = ? AND status <> 'merged' "
                "ORDER BY started_at, id", id,
            )  # fmt: skip
            assert (n, frames, score) == (len(events), sum(e[3] for e in events), max(e[4] for e in events))
            assert sorted(json.loads(cameras)) == sorted({e[1] for e in events}) and json.loads(cameras)[0] in {
                e[1] for e in events if e[5] == events[0][5]
            }
            most = {}
            for e in events:
                most |= {k: max(v, most.get(k, 0)) for k, v in json.loads(e[2]).items()}
            assert json.loads(objects) == most and gravest in {e[0] for e in events if e[4] == score}
        assert {i for i, _ in self.groups()} == {
            i for (i,) in self.record.rows("SELECT id FROM incidents WHERE status <> 'merged'")
        }
        for id, into in self.record.rows("SELECT id, merged_into FROM incidents WHERE status = 'merged'"):
            assert (into,) in self.record.rows("SELECT id FROM incidents WHERE status <> 'merged'"), id
        check_record(self.record)


def test_an_incident_has_the_smallest_id_also_if_an_earlier_event_was_published_later():
    site = Site().see("a", 1_100).see("b", 1_040, late=70).catch_up()
    assert site.groups() == [(1, [1, 2])]
    site.check()


def test_a_low_event_that_comes_within_reach_leaves_its_own_incident():
    site = Site().see("a", 1_000).see("b", 1_095, kind="cat").catch_up()
    assert site.groups() == [(1, [1]), (2, [2])]
    site.see("b", 1_085, kind="cat", late=15).tick(1_200).catch_up()
    assert site.groups() == [(1, [1, 2])] and site.rows("id, status") == [(1, "open"), (2, "merged")]
    site.check()


def test_cameras_that_are_neighbours_no_more_divide_what_still_grows():
    site = Site().see("a", 1_000).see("b", 1_005).see("a", 1_025).tick(1_045).catch_up()
    assert site.groups() == [(1, [1, 2])]
    site.record.execute("UPDATE cameras SET neighbours = '[]'")
    site.see("a", 1_048).tick(1_200).catch_up().check()
    assert site.groups() == [(1, [1]), (2, [2])]


def test_an_event_that_shrank_in_a_transaction_that_failed_is_divided_at_the_next():
    site = Site(Reach(10 * S, 90 * S)).see("a", 1_000, 1_025, 1_050, 1_075).see("b", 1_150, late=-75).catch_up()
    assert site.groups() == [(1, [1, 5])]
    site.see("a", 975, late=119).tick(1_112).catch_up().tick(
        1_200
    )  # a re-cut: the first event ends at 1050, another one begins at 1075
    site.record.execute("CREATE TRIGGER fails BEFORE UPDATE ON cursors BEGIN SELECT raise(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.IntegrityError, match="disk full"):
        site.incidents.update()
    site.record.execute("DROP TRIGGER fails")
    site.catch_up().check()
    assert len(site.groups()) == 2


def test_a_visit_of_ten_minutes_on_two_cameras_is_one_incident():
    site = Site().see("a", *range(0, 300, 10)).see("b", *range(310, 600, 10)).tick(810).catch_up(810)
    assert site.rows() == [(1, "closed", 8)]
    assert [type for type, _ in site.published()].count("opened") == 1
    site.check()


pictures = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([0, 1, 10, 29, 30, 31, 59, 60, 61, 89, 90, 91, 120, 150, 179, 180, 181, 240, 600]),
        st.sampled_from([*SCORES, "cat"]),
        st.sampled_from([0, 0, 0, 1, 65, 200, 900]),
    ),
    min_size=1,
    max_size=25,
)
neighbours = st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from("abc"), unique=True), max_size=3)


@thorough
@given(pictures, neighbours, st.integers(0, 10**9).map(random.Random))
def test_incidents_are_those_of_the_definition(pictures, neighbours, rnd):
    site, at, arriving = Site(), 0, []
    for camera, pause, kind, late in pictures:
        at += pause
        arriving.append((at + late, at, camera, kind))
    for arrival, at, camera, kind in sorted(arriving):
        site.see(camera, at, kind=kind, late=arrival - at)
        names = neighbours.get(camera)
        site.record.execute(
            "UPDATE cameras SET neighbours = ? WHERE id = ?", json.dumps(names) if names is not None else None, camera
        )
        if rnd.random() < 0.2:
            site.tick(arrival)
        if rnd.random() < 0.3:
            site.incidents = Incidents(site.record)  # a restart
        if rnd.random() < 0.5:
            site.messages += site.incidents.update(rnd.randint(1, 5))
        if rnd.random() < 0.2:
            site.messages += site.incidents.close_due(arrival * S)
    site.tick(END).catch_up(END).check()
    assert {status for _, status, _ in site.rows()} <= {"closed", "merged"}


def test_a_street_of_low_events_does_not_chain_the_day_together():
    """A cat each 90 s for four hours, and twice a person: low events join the nearest, and carry nothing on."""
    site = Site()
    for at in range(0, 14_400, 90):
        site.see("street", at, kind="cat")
        if at in (4_500, 10_800):
            site.see("street", at + 5, kind="bear")
    site.tick(40_000).catch_up(40_000).check()
    (longest,) = site.record.one("SELECT max(last_at - started_at) FROM incidents")
    assert longest <= 400 * S
    assert site.record.one("SELECT count(*) FROM incidents WHERE risk_level = 'high'") == (2,)


def test_what_is_published_about_a_visit():
    site = Site()
    site.see("a", 0, kind="cat").catch_up()
    assert site.published() == [("opened", 1)]
    site.see("a", 40, kind="person").catch_up()
    assert site.published()[1:] == [("raised", 1)]
    site.messages.clear()
    site.see("b", 60, 70).catch_up().see("a", 75, 80, 85).catch_up()
    assert site.published() == [("updated", 1)], "a new camera; another event of a known one is no news"
    site.messages.clear()
    for at in range(100, 800, 20):
        site.see("a", at).catch_up()
    assert site.published() == [("updated", 1)], "ten minutes after the last message"
    site.tick(900).catch_up(900)
    assert site.published()[-1] == ("updated", 1) and site.rows("id, status")[0] == (1, "open")
    site.catch_up(2000)
    assert site.published()[-1] == ("closed", 1) and site.messages[-1].incident.ended_at is not None
    site.messages.clear()
    site.see("a", 880, late=1500).catch_up()
    assert site.published() == [("updated", 1)] and site.rows("id, status, ended_at")[0] == (1, "open", None)
    revisions = [
        (i, r)
        for i, r in site.record.rows("SELECT subject_id, revision FROM feed WHERE kind = 'incident' ORDER BY seq")
    ]
    assert len(revisions) == len(set(revisions))


def test_a_lower_verdict_lowers_the_incident_and_updates_its_notification_silently():
    site = Site()
    site.batching = Batching(site.record, whole(judge), analysis=True)
    site.see("a", 0, kind="bear").catch_up()
    history, rules, now = {}, Rules(), site.messages[-1].incident.last_at
    for row in decide(site.messages[-1], history, rules, now).rows:
        history[row.incident_id] = row
    site.tick(600).catch_up(600)
    site.messages.clear()
    verdicts = Verdicts(site.record)
    (case,) = verdicts.due(1)
    verdicts.write([case.with_verdict(Verdict(20, "a bear at a", "A toy.", (512,), analyzer="nemotron", model="m"))])
    site.catch_up()
    (message,) = site.messages
    assert (message.type, message.incident.risk_score, message.incident.risk_level) == ("incident.updated", 20, "low")
    assert message.incident.summary == "a bear at a"
    assert decide(message, history, rules, now).action == "update"


def test_a_late_event_joins_two_incidents():
    site = Site().see("a", 0).see("a", 300).tick(600).catch_up(600)
    assert [id for id, *_ in site.rows()] == [1, 2]
    site.messages.clear()
    site.see("a", 150, late=500).catch_up()
    assert site.published() == [("merged", 2), ("updated", 1)]
    assert site.rows("id, status, merged_into") == [(1, "open", None), (2, "merged", 1)]
    site.tick(5000).catch_up(5000).check()


def test_cameras_that_name_others_only_are_no_neighbours():
    site = Site().see("a", 0).see("b", 10).see("c", 20)
    for camera, names in (("a", []), ("b", ["c"]), ("c", [])):
        site.record.execute("UPDATE cameras SET neighbours = ? WHERE id = ?", json.dumps(names), camera)
    site.tick(500).catch_up(500).check()
    assert site.groups() == [(1, [1]), (2, [2, 3])]


@pytest.mark.parametrize("text", ["the drive", "[", "7", '["c", 7]', '{"c": 1}'])
def test_neighbours_that_cannot_be_read_are_all_cameras(text):
    site = Site().see("a", 0).see("b", 10)
    site.record.execute("UPDATE cameras SET neighbours = ? WHERE id = 'a'", text)
    site.tick(500).catch_up(500)
    assert site.groups() == [(1, [1, 2])]


def test_events_at_the_same_time_of_cameras_that_are_no_neighbours_are_two_incidents():
    site = Site().see("a", 0).see("b", 10).see("a", 20)
    site.record.execute("UPDATE cameras SET neighbours = '[]'")
    site.tick(500).catch_up(500).check()
    assert site.groups() == [(1, [1]), (2, [2])]


def test_events_of_a_backlog_keep_no_incident_open():
    site = Site().see("a", 0, 10).tick(100).catch_up(100)
    site.record.execute("UPDATE events SET close_at = ?", NEVER)
    site.incidents._link({1})
    assert site.catch_up(150).rows() == [(1, "open", 1)]
    assert site.catch_up(300).rows() == [(1, "closed", 1)], "180 s after the arrival of its last picture"


def test_retention_neither_divides_nor_renumbers():
    site = Site().see("a", 0).see("a", 170).see("a", 340).tick(600).catch_up(600)
    assert site.groups() == [(1, [1, 2, 3])]
    site.record.transact(lambda: delete_events(site.record, [2], [2], pruned=True))
    site.see("a", 345, late=300).tick(1000).catch_up(1000)
    assert site.groups() == [(1, [1, 3])] and site.rows("id, kept, event_count, frame_count") == [(1, 1, 2, 3)]
    site.record.transact(lambda: delete_events(site.record, [1], [1], pruned=True))
    assert site.groups() == [(1, [3])] and site.rows("id, event_count, frame_count, gravest_event_id") == [(1, 1, 2, 3)]
    site.see("a", 400, late=900).tick(2000).catch_up(2000)
    assert site.groups() == [(1, [3, 5])], "it grows under its number"
    site.record.transact(lambda: delete_events(site.record, [3, 5], [3, 4, 5], pruned=True))
    assert site.rows() == [] and site.record.rows("SELECT 1 FROM feed WHERE kind = 'incident'") == []


def test_merged_cameras_are_linked_anew():
    site = Site().see("a", 0).see("b", 150).tick(500).catch_up(500)
    assert site.groups() == [(1, [1]), (2, [2])]
    site.record.execute("UPDATE cameras SET neighbours = '[\"b\"]' WHERE id = 'a'")
    site.messages.clear()
    assert merge_camera(site.record, "b", "a")
    assert site.incidents.link_waiting() and not site.incidents.link_waiting()
    site.check()
    assert site.groups() == [(1, [1, 2])]
    assert site.record.one("SELECT type FROM feed ORDER BY seq DESC LIMIT 1") == ("incident.merged",)


def test_of_events_that_are_older_than_incidents_nothing_is_published():
    site = Site().see("a", 0).see("a", 100).tick(500).see("a", 1000)
    site.record.execute("INSERT INTO incident_queue SELECT id FROM events WHERE status = 'closed'")
    site.record.execute("UPDATE cursors SET seq = (SELECT max(seq) FROM feed) WHERE name = 'incident'")
    while site.incidents.link_waiting():
        pass
    assert site.rows() == [(1, "closed", 2)] and site.record.rows("SELECT 1 FROM feed WHERE kind = 'incident'") == []
    site.tick(2000).catch_up(3000).check()
    assert site.published() == [("opened", 3), ("closed", 3)]


def test_a_kill_at_any_commit_leaves_what_an_uninterrupted_run_gives(tmp_path):
    """Die after each transaction in turn: the next start continues from the cursor, and no message comes twice or is lacking."""

    class Killed(BaseException):
        pass

    def run(path, kill_at):
        record = Record(path)
        site = Site(record=record)
        site.see("a", 0, 100, 200).see("b", 250, kind="bear").see("a", 600).tick(2000).see("a", 400, late=2000).tick(
            4000
        )
        inner, left = record.transact, [kill_at]

        def transact(work):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return inner(work)

        record.transact = transact
        try:
            while site.incidents.is_behind():
                site.incidents.update(2)
            site.incidents.close_due(5000 * S)
        except Killed:
            again = Site(record=Record(path))
            again.catch_up(5000).check()
            return again.record
        return None

    def outcome(record):
        return record.rows(
            "SELECT id, status, event_count, risk_score, cameras, merged_into FROM incidents WHERE status <> 'merged'"
        )

    run(tmp_path / "whole.db", 10**9)
    expected, killed = outcome(Record(tmp_path / "whole.db")), 0
    while record := run(tmp_path / f"{killed}.db", killed + 1):
        assert outcome(record) == expected
        revisions = record.rows("SELECT revision FROM feed WHERE kind = 'incident' AND subject_id = 1 ORDER BY seq")
        assert [r for (r,) in revisions] == list(range(1, len(revisions) + 1))
        killed += 1
    assert killed > 3


def test_an_event_merged_into_one_that_is_gone_moves_with_its_incident():
    """It became part of an event that was not published yet, and that one part of another: no row leads there."""
    site = Site().see("b", 1000).see("b", 1300).see("a", 1310).catch_up()
    site.record.execute("UPDATE events SET status = 'merged', merged_into = 99, frame_count = 0 WHERE id = 3")
    site.see("b", 1150, late=200).catch_up()
    assert site.record.rows("SELECT id, incident_id FROM events") == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert not [name for name, sql in ROWS.items() if "incident" in name and site.record.rows(sql)]


def test_an_incident_is_closed_by_the_arrival_clock_of_what_decides_frames(tmp_path):
    """`batch` notes the clock in its heartbeat; `incident` runs on another thread, or in another process."""
    facts = context(tmp_path)
    batch, worker = BatchWriter(Batch(), facts, None), IncidentGrouping(same_camera_seconds=60).build(facts)
    worker.open()
    site = Site(record=batch.record)
    site.see("a", 0)
    batch.write([Tick(from_microseconds(40 * S))])
    batch.heartbeat_due = 0
    batch.write([Tick(from_microseconds(94 * S))])
    assert worker.catch_up() == worker.incidents.feed.last() and site.rows() == [(1, "open", 1)]
    batch.heartbeat_due = 0
    batch.write([Tick(from_microseconds(95 * S))])
    worker.catch_up()
    assert site.rows() == [(1, "closed", 1)], "closed at 35 s, and 60 s more"
    worker.close()
    batch.record.close()


def test_a_graph_with_batch_groups_events_whatever_its_file_names():
    node = (
        Graph().add("files", Files()).add("detect", RtDetr(), "files").add("batch", Batch(), "detect").nodes["incident"]
    )
    assert node.after == ("batch",) and node.component == IncidentGrouping()
    own = Graph().add("batch", Batch(), "detect").add("incident", IncidentGrouping(other_camera_seconds=5), "batch")
    assert own.nodes["incident"].component == IncidentGrouping(other_camera_seconds=5)
    assert any("`incident`" in line for line in Graph().add("visits", IncidentGrouping()).check())


def test_a_low_event_belongs_to_the_nearest_incident():
    site = Site().see("a", 0).see("a", 150, kind="cat").see("a", 200).tick(900).catch_up(900)
    assert site.groups() == [(1, [1]), (2, [2, 3])]
    between = Site().see("a", 0).see("a", 100, kind="cat").see("a", 200).tick(900).catch_up(900)
    assert between.groups() == [(1, [1, 2]), (3, [3])], "of equals, to that with the smaller id"


def test_an_incident_falls_apart_where_a_late_picture_moves_the_border_of_its_events():
    """The first event ends 25 s earlier than it did, and no message is about the one that it is now too far from."""
    site = Site().see("a", 100, 125, 150, late=30).see("b", 260, late=-79).see("a", 175, kind="cat", late=35)
    site.batching.write([Tick(from_microseconds(217 * S), frozenset("a"))])
    assert site.catch_up().groups() == [(1, [1, 4])]
    site.see("a", 80, late=140).tick(2000).catch_up(2000).check()
    assert site.groups() == [(1, [1, 5]), (4, [4])]


def test_a_restart_before_a_picture_of_a_backlog_changes_no_incident():
    """Its camera's clock was an hour slow in the live pictures, so that the old event is one visit with them."""
    groups = []
    for restarts in (False, True):
        site = Site()
        for path, at, slow, behind in [("1", 9000, 3600, 0), ("2", 9001, 3600, 0), ("3", 9100, 3640, 2)]:
            found = FoundFile("a", "A", path, at * S * 1000, 1, (at - slow) * S, at * S, behind=behind)
            site.ledger.discover([found], at * S)
            (entry,) = site.ledger.todo(0, 10)
            if restarts:
                site.batching = Batching(site.record, whole(judge))
            site.batching.write(
                [Detected(entry.frame, 640, 360, (Detection("person", 0.9, (int(path) * 97, 2, 30, 40)),))]
            )
        site.see("b", 9100).tick(END).catch_up().check()
        groups.append(site.groups())
    assert groups == [[(1, [1, 3, 4])]] * 2
