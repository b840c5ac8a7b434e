"""Promise: a visit is longer than an event: its judge is given who was there before, the same live, restarted and replayed."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearthwatch.record.batching import Batching
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas.case import Signature
from hearthwatch.schemas.items import Detected, Detection, Tick, Verdict, from_microseconds
from tests.support.memory_record import MemoryRecord

S = 1_000_000


class Chain:
    """Hands over who handed over to it, and which pictures it has seen."""

    def __init__(self, surroundings):
        self.before, self.seen = surroundings.before, []

    def add(self, at, objects, boxes):
        self.seen.append(at // S)

    def score(self):
        return 20

    def verdict(self, facts):
        return Verdict(20, "", self.handover(), ())

    def signature(self):
        return Signature("a", None, "person", False, 0, True)

    def handover(self):
        return f"{self.before}({' '.join(map(str, self.seen))})"[-300:]


class Camera:
    def __init__(self):
        self.record, self.n = MemoryRecord(), 0
        self.ledger = Ledger(self.record)
        self.restart()

    def restart(self):
        self.batching = Batching(self.record, Chain)
        return self

    def see(self, *seconds, late=0):
        for at in seconds:
            self.n += 1
            arrived = max(self.ledger.clock.at, (at + late) * S)
            self.ledger.discover([FoundFile("a", "a", f"{self.n}.jpg", 0, 1, at * S, arrived)], 1 << 60)
            (entry,) = self.ledger.todo(0, 10)
            box = Detection("person", 0.9, (self.n * 97 % 600, 2, 30, 40))
            self.batching.write([Detected(entry.frame, 640, 360, (box,))])
        return self

    def tick(self, seconds):
        self.batching.write([Tick(from_microseconds(seconds * S))])
        return self

    def verdicts(self):
        sql = "SELECT started_at / 1000000, reasoning FROM events WHERE status <> 'merged' ORDER BY started_at"
        return dict(self.record.rows(sql))


def test_the_next_event_is_given_what_the_last_one_hands_over():
    camera = Camera().see(1000, 1020, 1040, 1060, 1080, 1091, 1111).tick(2000)
    assert camera.verdicts() == {1000: "(1000 1020 1040 1060 1080)", 1091: "(1000 1020 1040 1060 1080)(1091 1111)"}


def test_who_comes_back_after_minutes_comes_anew():
    assert Camera().see(1000, 1301, 1602).tick(2500).verdicts() == {1000: "(1000)", 1301: "(1301)", 1602: "(1602)"}


def test_a_late_picture_of_the_last_event_reaches_the_judge_of_the_next():
    camera = Camera().see(1000, 1020, 1051).see(1010, late=42).tick(2000)
    assert camera.verdicts() == {1000: "(1000 1010 1020)", 1051: "(1000 1010 1020)(1051)"}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([0, 0, 0, 3, 9, 40]), st.booleans()), min_size=1, max_size=25
    )
)
def test_restarts_change_nothing(steps):
    live, restarted, at = Camera(), Camera(), 1000
    for gap, late, dies in steps:
        at += gap
        for camera in (live, restarted):
            camera.see(at - late, late=late)
        if dies:
            restarted.restart()
    assert live.tick(5000).verdicts() == restarted.tick(5000).verdicts()
