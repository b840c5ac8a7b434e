"""Promise: what a person would call one visit is one incident, whatever the order, the chunks and the restarts."""

import json
import os
import random
from itertools import combinations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.events import Facts
from hearthwatch.record.incidents import Incidents, Reach
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas.items import Detected, Detection, Tick, Verdict, from_microseconds
from tests.support.invariants import check_record
from tests.support.judges import whole

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
        self.record, self.reach = record or Record(":memory:"), reach
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
            self.batching.write([Detected(entry.frame, 640, 360, (Detection(kind, 0.9, (self.n * 97 % 600, 2, 30, 40)),))])
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

    def told(self):
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
                "SELECT id, camera_id, started_at, last_at, carries FROM events WHERE status <> 'merged' AND revision > 0"
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
            assert sorted(json.loads(cameras)) == sorted({e[1] for e in events}) and json.loads(cameras)[0] in {e[1] for e in events if e[5] == events[0][5]}
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


def test_a_visit_of_ten_minutes_on_two_cameras_is_one_incident():
    site = Site().see("a", *range(0, 300, 10)).see("b", *range(310, 600, 10)).tick(810).catch_up(810)
    assert site.rows() == [(1, "closed", 8)]
    assert [type for type, _ in site.told()].count("opened") == 1
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
