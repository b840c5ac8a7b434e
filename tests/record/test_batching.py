"""Promise: same pictures, same events. Membership equals `cut`, the definition, whatever the chunks, ticks and replays."""

import os
import random
from collections import deque
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching, Cut, cut
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.suppression import Stillness
from hearthwatch.schemas.case import Facts
from hearthwatch.schemas.items import (
    CUT_SHORT,
    DUPLICATE,
    SUPERSEDED,
    DeadLetter,
    Detected,
    Detection,
    Tick,
    Verdict,
    from_microseconds,
)
from tests.support.invariants import check_conservation, check_record
from tests.support.judges import whole
from tests.support.memory_record import MemoryRecord

S = 1_000_000
RULES = Cut()
PERSON = (Detection("person", 0.9, (1, 2, 3, 4)),)
COUNTS = Stillness(kinds=())  # the same box in every picture
END = Tick(from_microseconds(4_000_000_000 * S))

thorough = settings(
    max_examples=int(os.environ.get("HEARTHWATCH_TEST_EXAMPLES", "120")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
gaps = st.lists(
    st.sampled_from([0.0, 0.5, 1, 2, 3, 4, 7, 20, 25, 27, 28, 29, 29.9, 30, 30.1, 31, 33, 89, 90, 91, 200]),
    min_size=1,
    max_size=40,
)
randoms = st.integers(0, 10**9).map(random.Random)


def judge(facts: Facts) -> Verdict:
    return Verdict(min(100, 10 * facts.frame_count), f"{facts.frame_count} frames", "counted", (facts.sightings[0].id,))


def sequence(gap_list, start):
    out = []
    for gap in gap_list:
        start += gap
        out.append(start)
    return out


class Run:
    """One camera's pictures, as [(captured, arrived)] in seconds, through ledger and batching, in memory."""

    def __init__(self, arrivals, *, chunk=1, rnd=None, rules=RULES):
        self.record = MemoryRecord()
        ledger = Ledger(self.record)
        found = [
            FoundFile("c", "C", f"{i}.jpg", 0, 1, round(captured * S), round(at * S))
            for i, (captured, at) in enumerate(arrivals)
        ]
        ledger.discover(found, 1 << 60)
        self.batching, self.closed = Batching(self.record, whole(judge), rules, stillness=COUNTS), {}
        frames = [e.frame for e in ledger.todo(0, 10**6)]
        i = 0
        while i < len(frames):
            n = rnd.randint(1, 9) if rnd else chunk
            part = [Detected(f, 640, 360, PERSON) for f in frames[i : i + n]]
            i += n
            if rnd and rnd.random() < 0.3:
                part += part[:2]  # handed out twice in one chunk
            if rnd and rnd.random() < 0.3 and i < len(frames):
                low, high = frames[i - 1].arrived_at, frames[min(i, len(frames) - 1)].arrived_at
                part.append(Tick(low + (high - low) * rnd.random()))
            self._write(part)
            if rnd and rnd.random() < 0.3:
                self._write(part)  # handed out again after the commit
            if rnd and rnd.random() < 0.2:
                self.batching = Batching(
                    self.record, whole(judge), rules, stillness=COUNTS
                )  # a restart: nothing is remembered
        self._write([END])
        self.events = check_record(self.record, rules)  # every invariant of the record; {event: ids of its frames}

    def _write(self, part):
        self.batching.write(part)
        before, self.closed = self.closed, self.sealed()
        assert all(frames <= self.closed[event] for event, frames in before.items()), "a closed event lost a frame"
        check_conservation(self.record)

    def sealed(self):
        closed = {
            e: set() for (e,) in self.record.rows("SELECT DISTINCT event_id FROM feed WHERE type = 'event.closed'")
        }
        for frame, event in self.record.rows("SELECT id, event_id FROM frames WHERE event_id IS NOT NULL"):
            if event in closed:
                closed[event].add(frame)
        return closed

    def sets(self):
        return sorted(sorted(frames) for frames in self.events.values())


def definition(arrivals):
    return sorted(
        sorted(i for _, i in part) for part in cut([(round(t * S), i + 1) for i, (t, _) in enumerate(arrivals)], RULES)
    )


def content(run):
    return run.record.rows(
        "SELECT id, batch_id, started_at, last_at, ended_at, frame_count, status, sealed, risk_score, summary, revision FROM events ORDER BY id"
    )


@pytest.mark.slow
def test_an_event_merged_into_one_that_was_never_published_follows_it():
    """The second part of a window becomes an event only when it closes; one that was merged into it gets a revision that names where it went."""
    seen = [(at, at) for at in range(1000, 1090, 5)]
    late = [(980, 1100), (1116, 1116), (1100, 1118), (960, 1120)]  # cuts it; comes 31 s later; joins both; cuts again
    run = Run(seen + late, rules=Cut(90 * S, 30 * S, 1000 * S))
    merged = run.record.rows("SELECT id, merged_into FROM events WHERE status = 'merged'")
    assert merged and {into for _, into in merged} <= {*run.events}
    said = run.record.rows(
        "SELECT event_id, payload ->> '$.merged_into' FROM feed WHERE type = 'event.merged' ORDER BY seq"
    )
    assert dict(said) == dict(merged) and len(said) == 2


@thorough
@given(gaps, randoms)
def test_frames_that_arrive_at_once_in_any_order_are_cut_as_if_sorted(g, rnd):
    times = sequence(g, 1000.0)
    rnd.shuffle(times)
    arrivals = [(t, 5000.0) for t in times]
    assert Run(arrivals).sets() == definition(arrivals)


@pytest.mark.slow
@thorough
@given(gaps, randoms, st.sampled_from([0, 1, 4.99]))
def test_live_disorder_up_to_five_seconds_changes_nothing(g, rnd, by):
    late = sorted((t + rnd.choice([0, by, rnd.uniform(0, by)]), t) for t in sequence(g, 1000.0))
    arrivals = [(t, at) for at, t in late]
    assert Run(arrivals, rnd=rnd).sets() == definition(arrivals)


@pytest.mark.slow
@thorough
@given(gaps, gaps, randoms, st.sampled_from([0.01, 0.3, 1, 3, 20]), st.booleans())
def test_old_pictures_interleaved_with_live_ones_are_cut_as_if_sorted(g1, g2, rnd, speed, far):
    old = sequence(g1, 1000.0)
    live = sequence(g2, old[-1] + 30 + (3600 if far else 0))
    mixed = sorted([(live[0] + (t - old[0]) * speed, t) for t in old] + [(t, t) for t in live])
    arrivals = [(t, at) for at, t in mixed]
    assert Run(arrivals, rnd=rnd).sets() == definition(arrivals)


@pytest.mark.slow
@thorough
@given(gaps, gaps, randoms, st.sampled_from([0.01, 0.3, 1, 3, 20]), st.floats(0, 29.9), st.floats(0, 10))
def test_any_disorder_is_bounded_and_does_not_depend_on_chunks_ticks_or_restarts(g1, g2, rnd, speed, gap, by):
    old = sequence(g1, 1000.0)
    live = sequence(g2, old[-1] + gap)
    mixed = sorted(
        [(live[0] + (t - old[0]) * speed + rnd.uniform(0, by), t) for t in old]
        + [(t + rnd.uniform(0, by), t) for t in live]
    )
    arrivals = [(t, at) for at, t in mixed]
    one, two = Run(arrivals, rnd=rnd), Run(arrivals, chunk=1000)
    assert one.events == two.events
    assert [row[:9] for row in content(one)] == [row[:9] for row in content(two)]
    assert len(one.events) <= 2 * len(definition(arrivals))


@pytest.mark.slow
@thorough
@given(gaps, randoms)
def test_whatever_arrives_whenever_no_frame_is_lost_and_no_event_breaks_its_bounds(g, rnd):
    times = sequence(g, 1000.0)
    rnd.shuffle(times)
    at, arrivals = 1000.0, []
    for t in times:
        at += rnd.choice([0, 0, 1, 10, 40])
        arrivals.append((t, at))
    run = Run(arrivals, rnd=rnd)
    events = run.events
    assert sorted(f for frames in events.values() for f in frames) == list(range(1, len(arrivals) + 1))
    assert events == Run(arrivals, chunk=1000).events
    for event in events:
        captured = [
            t for (t,) in run.record.rows("SELECT captured_at FROM frames WHERE event_id = ? ORDER BY 1", event)
        ]
        assert all(b - a < RULES.idle for a, b in pairwise(captured)) and captured[-1] - captured[0] < RULES.window


@pytest.mark.parametrize("step", [1, 8, 25])
@pytest.mark.parametrize("pause", [0.1, 5, 80])
def test_a_camera_that_uploads_its_buffer_backwards_makes_neither_an_event_per_frame_nor_a_noisy_feed(step, pause):
    n = 120
    run = Run([(1000.0 + (n - i) * step, 5000.0 + i * pause) for i in range(n)])
    whole = len(definition([(i * step, 0) for i in range(n)]))
    assert len(run.events) <= 2 * whole
    feed = run.record.one("SELECT count(*) FROM feed WHERE type IN ('event.opened', 'event.merged')")[0]
    assert feed <= 3 * whole + 3


def test_the_first_detection_opens_an_event_at_once_and_the_deadline_closes_it():
    record = MemoryRecord()
    ledger = Ledger(record)
    ledger.discover([FoundFile("c", "C", "a.jpg", 0, 1, 100 * S, 100 * S)], 100 * S)
    batching = Batching(record, whole(judge))
    (entry,) = ledger.todo(0, 10)
    (opened,) = batching.write([Detected(entry.frame, 640, 360, PERSON)])
    assert (opened.type, opened.status, opened.ended_at, opened.frame_count) == ("event.opened", "open", None, 1)
    assert opened.verdict.evidence == opened.detection_ids == (512,)
    assert batching.write([ledger.tick(134 * S)]) == []
    (closed,) = batching.write([ledger.tick(135 * S)])
    assert (closed.type, closed.status, closed.revision) == ("event.closed", "closed", 2)
    assert closed.ended_at == closed.started_at == entry.frame.captured_at


def test_a_frame_discovered_after_a_tick_that_closed_an_event_is_never_stamped_before_it(tmp_path: Path):
    path = tmp_path / "r.db"
    record = Record(path)
    ledger = Ledger(record)
    ledger.discover([FoundFile("c", "C", "a.jpg", 0, 1, 100 * S, 100 * S)], 100 * S)
    Batching(record, whole(judge)).write([Detected(ledger.todo(0, 1)[0].frame, 1, 1, PERSON), ledger.tick(200 * S)])
    again = Ledger(Record(path))  # a restart
    again.discover([FoundFile("c", "C", "b.jpg", 0, 1, 150 * S, 150 * S)], 300 * S)
    assert again.todo(0, 1)[0].frame.arrived_at == from_microseconds(200 * S)


def test_a_late_frame_joins_its_closed_event_which_is_closed_again():
    run = Run([(100, 100), (110, 110), (400, 400), (120, 401)])
    assert run.sets() == [[1, 2, 4], [3]]
    types = [t for (t,) in run.record.rows("SELECT type FROM feed WHERE event_id = 1 ORDER BY seq")]
    assert types == ["event.opened", "event.closed", "event.raised", "event.closed"], "30 of 100 is medium"


class Cameras:
    """Several cameras' pictures, each as (captured, arrived, behind) in seconds, their rows in the order given."""

    def __init__(self, rows):
        self.record = MemoryRecord()
        self.ledger = Ledger(self.record)
        for i, (camera, captured, at, behind) in enumerate(rows):
            found = FoundFile(
                camera, camera, f"{camera}/{i}.jpg", 0, 1, round(captured * S), round(at * S), behind=behind
            )
            self.ledger.discover([found], round(at * S))
        self.frames = [entry.frame for entry in self.ledger.todo(0, 10**6)]
        self.batching = Batching(self.record, whole(judge), stillness=COUNTS)

    def decide(self, rnd, ticks=True):
        """Decide them in chunks, with ticks that leave out the cameras that have a picture waiting."""
        waiting = deque(self.frames)
        while waiting:
            part = [Detected(waiting.popleft(), 640, 360, PERSON) for _ in range(min(len(waiting), rnd.randint(1, 5)))]
            if ticks and waiting and rnd.random() < 0.7:
                at = rnd.choice(waiting).arrived_at
                behind = frozenset(f.camera_id for f in waiting if f.arrived_at < at or rnd.random() < 0.1)
                part.append(Tick(at, behind))
            self.batching.write(part)
            if rnd.random() < 0.2:
                self.batching = Batching(self.record, whole(judge), stillness=COUNTS)
        check_conservation(self.record)
        return self

    def events(self):
        """Camera → its events as sorted lists of capture times."""
        out = {}
        for camera, event, at in self.record.rows(
            "SELECT camera_id, event_id, captured_at FROM frames WHERE event_id IS NOT NULL ORDER BY captured_at, id"
        ):
            out.setdefault(camera, {}).setdefault(event, []).append(at)
        return {camera: sorted(events.values()) for camera, events in out.items()}


@pytest.mark.slow
@thorough
@given(st.lists(st.tuples(gaps, st.sampled_from([20, 60, 200])), min_size=2, max_size=3), randoms)
def test_a_cameras_events_are_the_same_however_others_are_interleaved(cameras, rnd):
    """The others' pictures, ticks, chunks and restarts move no picture of a camera to another event."""
    lines = {}
    for n, (gap_list, by) in enumerate(cameras):
        times = [(t, t + rnd.choice([0, by, rnd.uniform(0, by)])) for t in sequence(gap_list, 1000.0 + n)]
        lines[f"c{n}"] = sorted(times, key=lambda time: time[1])
    alone = {
        name: Cameras([(name, t, at, 0) for t, at in line]).decide(rnd, ticks=False).events()
        for name, line in lines.items()
    }
    queues = {name: deque(line) for name, line in lines.items()}
    rows = []
    while queues:
        name = rnd.choice(sorted(queues))
        rows.append((name, *queues[name].popleft(), 0))
        queues = {name: queue for name, queue in queues.items() if queue}
    together = Cameras([])
    for i, (name, captured, at, _) in enumerate(rows):  # each in its own time: the others' stamps do not move it
        together.ledger.clock.at = 0
        found = FoundFile(name, name, f"{name}/{i}.jpg", 0, 1, round(captured * S), round(at * S))
        together.ledger.discover([found], round(at * S))
    together.frames = [entry.frame for entry in together.ledger.todo(0, 10**6)]
    assert together.decide(rnd).events() == {name: events[name] for name, events in alone.items()}


@pytest.mark.slow
@thorough
@given(gaps, gaps, randoms, st.sampled_from([0.001, 0.1, 0.9]), st.sampled_from([0, 5, 29, 31, 80, 4000]))
def test_live_pictures_before_their_cameras_backlog_give_the_events_of_the_sorted_run(old, new, rnd, speed, away):
    """Motion across the seam too: live events are closed and published, and cut again until the backlog is through."""
    before = sequence(old, 1000.0)
    live = sequence(new, before[-1] + away + rnd.choice([0.5, 3, 20]))
    taken = [live[0] + 0.1 + n * speed * rnd.choice([1, 1, 40]) for n in range(len(before))]
    taken = [max(taken[: n + 1]) for n in range(len(taken))]
    rows = sorted(
        [(at, "c", t, at, 2) for t, at in zip(before, taken, strict=True)]
        + [(t, "c", t, t, 1 if t <= taken[-1] else 0) for t in live]
    )
    rows.append((0, "c", 1e6, 1e6, 0))
    run = Cameras([row[1:] for row in rows]).decide(rnd, ticks=False)
    run.batching.write([END])
    wanted = [[round(t * S) for (t,) in part] for part in cut([(t,) for t in [*before, *live, 1e6]], Cut(90, 30, 5))]
    assert run.events()["c"] == wanted
    check_record(run.record)


def test_a_tick_closes_no_event_of_a_camera_that_is_behind():
    run = Cameras([("a", 100, 100, 0), ("b", 100, 100, 0)])
    run.batching.write([Detected(frame, 640, 360, PERSON) for frame in run.frames])
    late = from_microseconds(900 * S)
    assert run.batching.write([Tick(late, frozenset("ab"))]) == []
    assert [e.camera_id for e in run.batching.write([Tick(late, frozenset("a"))])] == ["b"]
    assert [e.camera_id for e in run.batching.write([Tick(late)])] == ["a"]


def test_a_picture_closes_no_event_of_another_camera():
    run = Cameras([("a", 100, 100, 0), ("b", 900, 900, 0)])
    run.batching.write([Detected(frame, 640, 360, PERSON) for frame in run.frames])
    assert run.record.rows("SELECT camera_id, status FROM events ORDER BY id") == [("a", "open"), ("b", "open")]


def test_events_that_closed_beside_a_backlog_are_cut_again_with_it():
    live = (1050, 1070, 1090, 1110, 1130, 1300)
    run = Cameras([*(("c", at, at, 1) for at in live), ("c", 1040, 1301, 2)])
    *pictures, old = [Detected(frame, 640, 360, PERSON) for frame in run.frames]
    run.batching.write(pictures)
    assert [len(event) for event in run.events()["c"]] == [5, 1]
    run.batching.write([old])
    assert [len(event) for event in run.events()["c"]] == [5, 1, 1], "90 s from 1040 end before 1130"


@pytest.mark.parametrize("tick", [True, False])
def test_a_backlogs_first_picture_finds_the_same_events_with_and_without_a_tick_before(tick):
    live = [("c", at, at, 0) for at in (140, 165, 190, 215, 225)]
    run = Cameras([*live, ("c", 130, 500, 2)])
    *pictures, old = [Detected(frame, 640, 360, PERSON) for frame in run.frames]
    run.batching.write(pictures)
    if tick:
        run.batching.write([Tick(from_microseconds(400 * S))])
    run.batching.write([old])
    assert [len(event) for event in run.events()["c"]] == [1, 5]
    assert run.record.rows("SELECT sealed FROM events ORDER BY id") == [(1,), (0,)]


def test_a_backlog_of_hours_leaves_no_more_than_its_last_event_open():
    run = Cameras([("c", 1000.0 + 40 * n, 9000.0 + n / 100, 2) for n in range(200)])
    for frame in run.frames:
        run.batching.write([Detected(frame, 640, 360, PERSON)])
        assert run.record.one("SELECT count(*) FROM events WHERE status = 'open'") == (1,)


def test_the_last_event_of_a_backlog_closes_when_that_is_through():
    run = Cameras([("c", 1000, 9000, 2)])
    run.batching.write([Detected(run.frames[0], 640, 360, PERSON)])
    late = from_microseconds(9900 * S)
    assert run.batching.write([Tick(late, backlog=frozenset("c"))]) == []
    assert run.batching.write([Tick(late, frozenset("c"))]) == []
    assert [e.type for e in run.batching.write([Tick(from_microseconds(9000 * S))])] == ["event.closed"]


def decide(record, *found, at=100 * S):
    """Discover these and decide them with the (detections, error) given."""
    ledger = Ledger(record)
    ledger.discover([f for f, _, _ in found], at)
    entries = ledger.todo(0, 100)
    return Batching(record, whole(judge)), [
        Detected(entry.frame, 640, 360, boxes, error) for entry, (_, boxes, error) in zip(entries, found, strict=True)
    ]


def test_a_duplicate_is_settled_without_detections_and_says_of_which_frame():
    record = MemoryRecord()
    batching, items = decide(
        record,
        (FoundFile("c", "C", "a.jpg", 0, 1, 100 * S, 100 * S), PERSON, None),
        (FoundFile("c", "C", "b.jpg", 0, 1, 101 * S, 100 * S), PERSON, DeadLetter(DUPLICATE, "duplicate of 1")),
    )
    batching.write(items)
    assert record.rows("SELECT state, error, event_id FROM frames ORDER BY id") == [
        ("settled", None, 1),
        ("settled", "duplicate of 1", None),
    ]
    check_record(record)


def test_a_picture_cut_short_keeps_its_detections_and_a_superseded_one_is_settled_without():
    record = MemoryRecord()
    batching, items = decide(
        record,
        (FoundFile("c", "C", "a.jpg", 0, 1, 100 * S, 100 * S), PERSON, DeadLetter(CUT_SHORT, "cut short")),
        (FoundFile("c", "C", "b.jpg", 0, 1, 101 * S, 100 * S), PERSON, DeadLetter(SUPERSEDED, "superseded")),
    )
    batching.write(items)
    assert record.rows("SELECT state, error, event_id, thumbnail_path IS NOT NULL FROM frames ORDER BY id") == [
        ("settled", "cut short", 1, 1),
        ("settled", "superseded", None, 0),
    ]
    assert record.rows("SELECT object_type FROM detections") == [("person",)]
    check_record(record)


def test_a_frame_without_detections_opens_nothing():
    record = MemoryRecord()
    batching, items = decide(record, (FoundFile("c", "C", "a.jpg", 0, 1, 100 * S, 100 * S), (), None))
    assert batching.write(items) == []
    assert record.rows("SELECT * FROM events") == []
    check_record(record)


def test_more_boxes_than_ids_keeps_the_surest():
    record = MemoryRecord()
    many = tuple(Detection("car", n / 1000, (0, 0, 1, 1)) for n in range(600))
    batching, items = decide(record, (FoundFile("c", "C", "a.jpg", 0, 1, 100 * S, 100 * S), many, None))
    batching.write(items)
    assert record.one("SELECT count(*), min(confidence) FROM detections") == (512, 0.088)


def test_old_frames_beside_a_full_closed_event_are_cut_among_themselves():
    """The closed event reached back as far as its window allows; what is older must not tear frames out of it."""
    closed = [(1000, 1000), (1009, 1009), (980, 1100), (955, 1101), (930, 1102), (921, 1103)]
    run = Run([*closed, (915, 1200), (905, 1201), (890, 1202)])
    assert run.sets() == [[1, 2, 3, 4, 5, 6], [7, 8, 9]]
