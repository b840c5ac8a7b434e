"""Promise: an open event is judged with every picture, and a revision is published at the first one that lifts its level."""

import json
import os
import random
from datetime import UTC
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearthwatch.record.batching import Batching
from hearthwatch.record.events import RevisionWriter
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.units import SECOND
from hearthwatch.record.verdicts import Verdicts
from hearthwatch.schemas.items import Detected, Detection, Tick, Verdict, from_microseconds, risk_level
from hearthwatch.stages.rules import RulesJudge, judge
from tests.support.invariants import check
from tests.support.memory_record import MemoryRecord

LEVELS = ["low", "medium", "high", "critical"]
END = Tick(from_microseconds(4_000_000_000 * SECOND))
rules = partial(RulesJudge, zone=UTC)
few = settings(
    max_examples=int(os.environ.get("HEARTHWATCH_TEST_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def box(kind, x):
    return Detection(kind, 0.9, (x, 100, 40, 120))


class Run:
    """Pictures of one camera, as [(captured, arrived, boxes)] in seconds after midnight, and what is published of them."""

    def __init__(self, story, *, analysis=False):
        self.record, self.analysis = MemoryRecord(), analysis
        ledger = Ledger(self.record)
        for n, (captured, arrived, _) in enumerate(story):
            found = FoundFile("c", "C", f"{n}.jpg", 0, 1, round(captured * SECOND), round(arrived * SECOND))
            ledger.discover([found], round(arrived * SECOND))
        frames = [entry.frame for entry in ledger.todo(0, 1000)]
        self.items = [Detected(f, 640, 360, tuple(boxes)) for f, (*_, boxes) in zip(frames, story, strict=True)]
        self.restart()

    def restart(self):
        self.batching = Batching(self.record, rules, analysis=self.analysis)

    def one_by_one(self):
        """Decide one picture after the other, and check each time that exactly what rose was published."""
        for item in self.items:
            standing = self.standing()
            events = self.batching.write([item])
            self.check_revisions(item.frame.id, standing, events)
        return self.end()

    def check_revisions(self, frame, standing, events):
        for event in events:
            if event.type == "event.raised":
                assert LEVELS.index(event.verdict.risk_level) > LEVELS.index(standing[event.id]), "it rose"
                assert event.verdict == self.brute_force(event.id)
            standing[event.id] = event.verdict.risk_level  # one picture may close an event and raise it again
        (event,) = self.record.one("SELECT event_id FROM frames WHERE id = ?", frame)  # the others wait for their next
        if event in (levels := self.standing()):
            rose = LEVELS.index(self.brute_force(event).risk_level) > LEVELS.index(levels[event])
            assert not rose, "whatever rose is published"

    def brute_force(self, event):
        """The rules over all that is known of an event now."""
        writer = RevisionWriter(self.record, rules)  # with empty caches: all is read from the record
        return writer._verdict(writer.facts(event))

    def standing(self):
        sql = "SELECT id, risk_level FROM events WHERE status <> 'merged' AND opened_at IS NOT NULL"
        return dict(self.record.rows(sql))

    def anyhow(self, rnd):
        """Decide them in chunks, some handed out again, with transactions that fail, and restarts."""
        left = list(self.items)
        while left:
            part = left[: rnd.randint(1, 7)]
            left = left[len(part) :]
            if rnd.random() < 0.3:
                self.fail(part)
            self.batching.write(part + part[:1])
            if rnd.random() < 0.3:
                self.restart()
        return self.end()

    def fail(self, part):
        """These are decided, but the transaction is rolled back."""
        decide, self.batching.record.count = self.batching.record.count, lambda **_: 1 / 0
        with pytest.raises(ZeroDivisionError):
            self.batching.write(part)
        self.batching.record.count = decide

    def end(self):
        """Close what is open; everything that was published, as the feed has it."""
        self.batching.write([END])
        check(self.record)
        return self.feed()

    def feed(self):
        rows = self.record.rows("SELECT type, payload FROM feed ORDER BY seq")
        history = self.record.rows("SELECT reasoning, evidence, analyzer, frame_count FROM event_history ORDER BY id")
        return [(type, json.loads(payload), *more) for (type, payload), more in zip(rows, history, strict=True)]

    def types(self):
        return [type for type, *_ in self.feed()]


PROWLER = [*range(0, 200, 40), *[200] * 5, *range(200, 400, 40), *[400] * 5, *range(400, 640, 40)]


def test_a_prowler_is_high_at_the_picture_at_which_the_rules_over_the_pictures_so_far_say_so():
    run = Run([(second, second, [box("person", x)]) for second, x in enumerate(PROWLER)])
    published = [[e.type for e in run.batching.write([item])] for item in run.items]
    raised = [n for n, types in enumerate(published) if types == ["event.raised"]]
    assert (published[0], sum(map(len, published))) == (["event.opened"], 2), "nothing else is published"
    run.end()
    levels = [judge(first_facts(run, n), UTC).risk_level for n in range(1, len(PROWLER) + 1)]
    assert levels[0] == "medium" and [levels.index("high")] == raised and raised[-1] < len(PROWLER) - 5
    assert [p["risk_level"] for _, p, *_ in run.feed()] == ["medium", "high", "high"]
    assert [p["revision"] for _, p, *_ in run.feed()] == [1, 2, 3]
    raised_row = run.record.one(
        "SELECT frame_count, reasoning FROM event_history WHERE risk_level = 'high' ORDER BY id"
    )
    assert raised_row[0] == raised[-1] + 1 and "stops at 2 places" in raised_row[1]


def test_pictures_that_come_out_of_order_are_judged_in_order():
    shots = [(second, [box("person", x)]) for second, x in enumerate(PROWLER)]
    swapped = [shots[n ^ 1] for n in range(len(shots) // 2 * 2)]
    for n in range(0, len(swapped) - 6, 7):
        swapped[n : n + 6] = swapped[n : n + 6][::-1]
    run = Run([(at, n, boxes) for n, (at, boxes) in enumerate(swapped)])
    run.one_by_one()
    assert run.types() == ["event.opened", "event.raised", "event.closed"]


def first_facts(run, pictures):
    """What was known of the first event after so many pictures."""
    facts = RevisionWriter(run.record, rules).facts(1)
    seen = tuple(s for s in facts.sightings if s.frame_id <= pictures)
    return facts._replace(sightings=seen, last_at=seen[-1].at, frame_count=pictures)


def test_pictures_of_a_transaction_that_was_rolled_back_are_not_judged_before_they_are_decided_again():
    run = Run([(0, 0, [box("person", 0)]), (1, 1, [box("bear", 40)])])
    run.fail(run.items)
    run.one_by_one()
    assert [p["risk_level"] for _, p, *_ in run.feed()] == ["medium", "high", "high"]


def test_what_is_high_at_once_is_opened_as_high_and_not_raised():
    run = Run([(0, 0, [box("bear", 0)]), (1, 1, [box("bear", 10)])])
    run.one_by_one()
    assert [(type, p["risk_level"]) for type, p, *_ in run.feed()] == [
        ("event.opened", "high"),
        ("event.closed", "high"),
    ]


@pytest.mark.parametrize(("score", "raised"), [(20, True), (45, True), (70, False), (90, False)])
def test_a_language_models_verdict_is_kept_when_a_late_picture_comes_unless_the_rules_find_it_graver(score, raised):
    late = (29, 400, [box("bear", 600), box("cat", 0)])
    run = Run([(0, 0, [box("cat", 0)]), (28, 28, [box("cat", 0)]), (300, 300, []), late], analysis=True)
    run.batching.write(run.items[:3])
    verdicts = Verdicts(run.record)
    (case,) = verdicts.due(1)
    verdicts.write([case.with_verdict(Verdict(score, "said", "thought", (), "nemotron", "nano", "v1"))])
    run.batching.write(run.items[3:])
    run.end()
    assert run.types() == ["event.opened", "event.closed", "event.analyzed", *["event.raised"] * raised, "event.closed"]
    row = run.record.one("SELECT analyzer, risk_level, analysis_status FROM events")
    assert row == (("rules", "high", "pending") if raised else ("nemotron", risk_level(score), "pending"))
    assert run.record.one("SELECT carries FROM events") == (1,), "it holds an incident together as in any other order"


def test_an_event_that_is_held_back_is_not_raised_before_it_is_opened():
    story = [(1000 + 5 * n, 9000 + n, [box("bear", 0)]) for n in (9, 1, 20, 8, 7, 3, 2, 4)]
    run = Run(story)
    run.one_by_one()
    for event, types in _types_by_event(run).items():
        assert types[0] == "event.opened", (event, types)


def _types_by_event(run):
    out = {}
    for type, p, *_ in run.feed():
        out.setdefault(p["event_id"], []).append(type)
    return out


things = st.lists(
    st.tuples(st.sampled_from(["person", "person", "cat", "bear", "package"]), st.sampled_from([0, 40, 300])),
    max_size=3,
)
stories = st.lists(
    st.tuples(st.sampled_from([0, 1, 1, 2, 3, 5, 25, 31]), st.sampled_from([0, 0, 0, 0, 2, 10, 70, 400]), things),
    min_size=1,
    max_size=40,
)  # seconds after the one before, seconds until it arrives, boxes


@pytest.mark.slow
@few
@given(stories, st.integers(0, 10**9).map(random.Random))
def test_the_same_pictures_give_the_same_revisions_whatever_the_chunks_restarts_and_rollbacks(story, rnd):
    at, shots = 1000, []
    for wait, late, boxes in story:
        at += wait
        shots.append((at, at + late, [box(kind, x) for kind, x in boxes]))
    shots.sort(key=lambda shot: shot[1])
    assert Run(shots).anyhow(rnd) == Run(shots).one_by_one()
