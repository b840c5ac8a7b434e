"""Promise: a parked car opens one event, not one per picture, and nothing that was detected is thrown away."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.events import Facts
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.suppression import Stillness, inside, iou, parse_zones
from hearthwatch.schemas.items import PER_FRAME, Detected, Detection, Tick, Verdict, from_microseconds

S = 1_000_000
CAR = Detection("car", 0.9, (100, 100, 200, 100))
PERSON = Detection("person", 0.9, (10, 10, 20, 60))


def judge(facts: Facts) -> Verdict:
    return Verdict(10, str(facts.objects), "", tuple(s.id for s in facts.sightings[:1]))


class Night:
    """A camera whose pictures are given as [(seconds, boxes)], live."""

    def __init__(self, story, *, chunk=1, ignore_zones=None, stillness=None):
        self.record = Record(":memory:")
        ledger = Ledger(self.record)
        ledger.discover([FoundFile("c", "C", f"{t}.jpg", 0, 1, round(t * S), round(t * S)) for t, _ in story], 1 << 60)
        if ignore_zones:
            self.record.execute("UPDATE cameras SET ignore_zones = ?", json.dumps(ignore_zones))
        frames = [e.frame for e in ledger.todo(0, 100_000)]
        items = [Detected(f, 640, 360, tuple(boxes)) for f, (_, boxes) in zip(frames, story, strict=True)]
        for start in range(0, len(items), chunk):
            batching = Batching(self.record, judge, stillness=stillness)  # a restart before every chunk
            batching.write(items[start : start + chunk])
        Batching(self.record, judge).write([Tick(from_microseconds(4_000_000_000 * S))])

    def events(self):
        return self.record.rows("SELECT started_at / 1000000, frame_count, objects FROM events ORDER BY started_at")

    def suppressed(self):
        return self.record.one("SELECT count(*) FROM suppressed")[0]


def jitter(box, n):
    x, y, w, h = box.bbox
    return Detection(box.object_type, box.confidence, (x + n % 3 - 1, y + (n // 3) % 3 - 1, w + n % 2, h - n % 2))


ARRIVES = [(1000 + t, [Detection("car", 0.9, (t * 20, 100, 200, 100))]) for t in range(5)]


def test_a_car_that_parks_opens_one_event_however_long_it_stays():
    stays = [(1005 + t, [jitter(CAR, t)]) for t in range(10)]
    all_night = [(1015 + 300 * n, [jitter(CAR, n)]) for n in range(1, 100)]
    night = Night(ARRIVES + stays + all_night)
    assert [start for start, _, _ in night.events()] == [1000]
    assert night.suppressed() == 99


def test_what_is_suppressed_is_stored_with_its_reason_and_numbered_like_a_detection():
    night = Night([(1000 + t * 30, [CAR, PERSON]) for t in range(5)])
    rows = night.record.rows("SELECT id, frame_id, reason FROM suppressed ORDER BY id")
    assert rows == [(4 * PER_FRAME, 4, "has stood still for 2 min"), (5 * PER_FRAME, 5, "has stood still for 2 min")]
    assert night.record.rows("SELECT id FROM detections WHERE frame_id = 5") == [(5 * PER_FRAME + 1,)]
    again = Ledger(night.record).todo(0, 10, replay_after=4)[0].frame.recorded
    assert again.detections == (CAR, PERSON)  # a sink that is replayed sees what it saw


def test_a_person_beside_a_parked_car_opens_an_event_of_the_person_alone():
    parked = [(1000 + t * 20, [CAR]) for t in range(10)]
    night = Night([*parked, (2000, [CAR, PERSON]), (2010, [CAR])])
    assert night.events()[-1] == (2000, 1, '{"person": 1}')


def test_a_person_who_stands_still_is_never_suppressed():
    night = Night([(1000 + t, [PERSON]) for t in range(600)])
    assert night.suppressed() == 0 and sum(n for _, n, _ in night.events()) == 600


def test_a_car_that_leaves_is_seen():
    parked = [(1000 + t * 20, [CAR]) for t in range(10)]
    leaves = [(2000 + t, [Detection("car", 0.9, (100 + 60 * t, 100, 200, 100))]) for t in range(1, 4)]
    assert Night(parked + leaves).events()[-1] == (2001, 3, '{"car": 1}')


def test_an_empty_spot_is_forgotten():
    parked = [(1000 + t * 20, [CAR]) for t in range(10)]
    night = Night([*parked, (1180 + 7300, [PERSON, Detection("car", 0.5, (400, 0, 9, 9))]), (1180 + 7400, [CAR])])
    assert night.events()[-1][0] == 1180 + 7400


def test_a_busy_street_does_not_fill_the_table_of_spots():
    street = [(1000 + t, [Detection("car", 0.9, (t * 37 % 600, t * 11 % 300, 40, 20))]) for t in range(3000)]
    night = Night(street, chunk=500)
    assert night.record.one("SELECT count(*) FROM spots")[0] <= 700


def test_it_can_be_switched_off():
    night = Night([(1000 + t * 20, [CAR]) for t in range(10)], stillness=Stillness(kinds=()))
    assert night.suppressed() == 0


steps = st.lists(
    st.tuples(st.sampled_from([0, 1, 25, 60, 400]), st.sampled_from([(CAR,), (CAR, PERSON), (PERSON,), ()])),
    max_size=30,
)


@pytest.mark.slow
@given(steps, st.integers(1, 7))
def test_chunks_and_restarts_do_not_change_what_is_suppressed(gaps, chunk):
    at, story = 1000, []
    for gap, boxes in gaps:
        at += gap
        story.append((at + len(story) / 1000, boxes))
    one, two = Night(story, chunk=chunk), Night(story, chunk=1000)
    assert one.record.rows("SELECT * FROM suppressed") == two.record.rows("SELECT * FROM suppressed")
    assert one.events() == two.events()


def test_a_detection_in_an_ignored_zone_is_stored_and_opens_nothing():
    road = [{"name": "road", "points": [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]}]
    below, above = Detection("person", 0.9, (10, 200, 20, 60)), PERSON
    night = Night([(1000, [below]), (2000, [above])], ignore_zones=road)
    assert [start for start, _, _ in night.events()] == [2000]
    assert night.record.rows("SELECT reason FROM suppressed") == [("in ignored zone road",)]


def test_a_zone_that_makes_no_sense_is_ignored_and_said(caplog):
    night = Night([(1000, [PERSON])], ignore_zones=[{"points": [[0, 0], [2, 2]]}])
    assert len(night.events()) == 1
    assert "at least three [x, y] in 0..1" in caplog.text


@pytest.mark.parametrize(
    "text", ['{"points": []}', '[{"points": [[0,0],[1,1]]}]', "[7]", "not json", '[{"points": [[0,0],[1,1],[0,"x"]]}]']
)
def test_zones_are_checked(text):
    with pytest.raises(ValueError):
        parse_zones(text)


boxes = st.tuples(*[st.integers(0, 500)] * 2, *[st.integers(1, 500)] * 2)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_bounded(a, b):
    assert iou(a, b) == iou(b, a) and 0 <= iou(a, b) <= 1 and iou(a, a) == 1


def test_inside_a_polygon_with_a_dent():
    dent = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.2), (0.0, 1.0)]
    assert inside((0.5, 0.1), dent) and inside((0.1, 0.5), dent)
    assert not inside((0.5, 0.5), dent) and not inside((1.5, 0.5), dent)
