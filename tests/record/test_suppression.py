"""Promise: what stands still opens one event, not one per picture; people count; nothing that was detected is thrown away."""

import json
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hearthwatch.record.batching import Batching
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.suppression import (
    BOXES_MAX,
    SAME_IOU,
    SPOTS_MAX,
    Stillness,
    Suppression,
    iou,
)
from hearthwatch.schemas.case import Facts
from hearthwatch.schemas.items import PER_FRAME, Detected, Detection, Tick, Verdict, from_microseconds
from hearthwatch.schemas.zones import Zone, foot_point, parse_zones
from tests.support.judges import whole
from tests.support.memory_record import MemoryRecord

S = 1_000_000
CAR = Detection("car", 0.9, (100, 100, 200, 100))
PERSON = Detection("person", 0.9, (10, 10, 20, 60))


def judge(facts: Facts) -> Verdict:
    return Verdict(10, str(facts.objects), "", tuple(s.id for s in facts.sightings[:1]))


class Night:
    """A camera whose pictures are given as [(seconds, boxes)], live."""

    def __init__(self, story, *, chunk=1, zones=None, stillness=None):
        self.record = MemoryRecord()
        ledger = Ledger(self.record)
        ledger.discover([FoundFile("c", "C", f"{t}.jpg", 0, 1, round(t * S), round(t * S)) for t, _ in story], 1 << 60)
        if zones:
            self.record.execute("UPDATE cameras SET zones = ?", json.dumps(zones))
        frames = [e.frame for e in ledger.todo(0, 100_000)]
        items = [Detected(f, 640, 360, tuple(boxes)) for f, (_, boxes) in zip(frames, story, strict=True)]
        for start in range(0, len(items), chunk):
            batching = Batching(self.record, whole(judge), stillness=stillness)  # a restart before every chunk
            batching.write(items[start : start + chunk])
        Batching(self.record, whole(judge)).write([Tick(from_microseconds(4_000_000_000 * S))])

    def events(self):
        return self.record.rows("SELECT started_at / 1000000, frame_count, objects FROM events ORDER BY started_at")

    def suppressed(self):
        return self.record.one("SELECT count(*) FROM suppressed")[0]


def jitter(box, n):
    x, y, w, h = box.bbox
    return Detection(box.object_type, box.confidence, (x + n % 3 - 1, y + (n // 3) % 3 - 1, w + n % 2, h - n % 2))


def walker(step, x=10, y=10, stride=25):
    """A person 60 px tall on their way to the right."""
    return Detection("person", 0.9, (x + stride * step, y, 20, 60))


ARRIVES = [(1000 + t, [Detection("car", 0.9, (t * 20, 100, 200, 100))]) for t in range(5)]


def test_a_car_that_parks_opens_one_event_however_long_it_stays():
    stays = [(1005 + t, [jitter(CAR, t)]) for t in range(10)]
    all_night = [(1015 + 300 * n, [jitter(CAR, n)]) for n in range(1, 100)]
    night = Night(ARRIVES + stays + all_night)
    assert [start for start, _, _ in night.events()] == [1000]
    assert night.suppressed() == 99


def test_what_is_suppressed_is_stored_with_its_reason_and_numbered_like_a_detection():
    night = Night([(1000 + t * 30, [CAR, walker(t)]) for t in range(5)])
    rows = night.record.rows("SELECT id, frame_id, reason FROM suppressed ORDER BY id")
    assert rows == [(4 * PER_FRAME, 4, "has stood still for 2 min"), (5 * PER_FRAME, 5, "has stood still for 2 min")]
    assert night.record.rows("SELECT id FROM detections WHERE frame_id = 5") == [(5 * PER_FRAME + 1,)]
    again = Ledger(night.record).todo(0, 10, replay_after=4)[0].frame.recorded
    assert again.detections == (CAR, walker(4))  # a sink that is replayed sees what it saw


def test_a_person_beside_a_parked_car_opens_an_event_of_the_person_alone():
    parked = [(1000 + t * 20, [CAR]) for t in range(10)]
    night = Night([*parked, (2000, [CAR, PERSON]), (2010, [CAR])])
    assert night.events()[-1] == (2000, 1, '{"person": 1}')


STATUE = Detection("person", 0.5, (300, 100, 40, 120))


def noisy(box, random, share=0.03):
    """The box as a detector would draw it in another picture: each number differs by up to 3 % of its size."""
    x, y, w, h = box.bbox
    dx, dw = (round(random.uniform(-share, share) * w) for _ in "xw")
    dy, dh = (round(random.uniform(-share, share) * h) for _ in "yh")
    return Detection(box.object_type, box.confidence, (x + dx, y + dy, w + dw, h + dh))


@given(
    st.sampled_from(["person", "bird", "dog", "chair", "truck"]), st.sampled_from([0.5, 1, 2]), st.integers(0, 1 << 30)
)
@settings(max_examples=12, deadline=None)
def test_a_statue_that_is_seen_in_60_of_100_pictures_opens_no_event_but_the_first(kind, every, seed):
    statue, random = Detection(kind, 0.4, (300, 100, 80, 160)), Random(seed)
    pictures = [(1000 + n * every, [noisy(statue, random)] if random.random() < 0.6 else []) for n in range(250)]
    assert len(Night(pictures, chunk=50).events()) == 1


def test_one_box_in_hundreds_that_differs_more_opens_nothing():
    stray = Detection("person", 0.5, (308, 100, 40, 120))
    assert iou(stray.bbox, STATUE.bbox) < SAME_IOU
    night = Night([(1000 + t, [stray if t in (150, 260) else STATUE]) for t in range(300)], chunk=50)
    assert [start for start, _, _ in night.events()] == [1000]


SEEN_ALL_DAY = [(1000 + t, [STATUE]) for t in range(0, 300, 2)]


def test_a_person_beside_a_statue_counts_and_the_statue_does_not():
    beside = [(1300 + t, [STATUE, walker(min(t, 6), x=200, y=160)]) for t in range(100)]
    night = Night(SEEN_ALL_DAY + beside, chunk=50)
    assert sum(n for start, n, _ in night.events() if start >= 1300) == 100
    assert {objects for start, _, objects in night.events() if start >= 1300} == {'{"person": 1}'}


def test_a_person_who_walks_up_and_stands_in_front_of_a_statue_counts():
    comes = [(1300 + t, [STATUE, walker(t, x=100, y=160, stride=40)]) for t in range(5)]
    hides_it = [(1305 + t, [Detection("person", 0.9, (302, 101, 40, 120))]) for t in range(50)]
    again_alone = [(1500 + t, [STATUE]) for t in range(50)]
    night = Night([*SEEN_ALL_DAY, *comes, *hides_it, *again_alone], chunk=50)
    assert [(start, n) for start, n, _ in night.events() if start >= 1300] == [(1300, 55)]


legs = st.lists(
    st.tuples(st.integers(-80, -30) | st.integers(30, 80), st.integers(-40, 40), st.integers(1, 25)),
    min_size=1,
    max_size=8,
)


@given(legs, st.booleans(), st.integers(0, 1 << 30))
@example(
    [(-47, 26, 7), (-36, -26, 13), (36, 17, 23), (72, -5, 5)], True, 936729684
)  # stands where it was first seen, then walks
@settings(max_examples=20, deadline=None)
def test_people_who_walk_and_pause_near_a_statue_count_in_every_picture(legs, hides_it, seed):
    """`legs`: by how many pixels, and how many pictures at that place; half of them start where the statue is."""
    random, at, x, y, story = Random(seed), 1300, 180, 110, []
    for dx, dy, pictures in [(60, -5, 1), (60, -5, 2), *legs]:
        x, y = x + dx, y + dy
        for _ in range(pictures):
            person = noisy(Detection("person", 0.9, (x, y, 40, 120)), random, 0.02)
            is_hidden = hides_it and iou(person.bbox, STATUE.bbox) > 0.3
            story.append((at, [person] if is_hidden or random.random() < 0.4 else [person, STATUE]))
            at += 2
    night = Night(SEEN_ALL_DAY + story, chunk=50)
    seen = "SELECT DISTINCT detected_at / 1000000 FROM detections WHERE detected_at >= 1300000000 ORDER BY 1"
    assert night.record.rows(seen) == [(at,) for at, _ in story]


def test_a_passer_by_does_not_make_a_statue_count():
    passes = [(1300 + t, [STATUE, walker(t, x=100, y=160, stride=40)]) for t in range(13)]
    night = Night([*SEEN_ALL_DAY, *passes, *[(1313 + t, [STATUE]) for t in range(200)]], chunk=50)
    assert [(start, n) for start, n, _ in night.events() if start >= 1300] == [(1300, 13)]


def sits(at, seconds, x=235):
    return [(at + t, [jitter(Detection("person", 0.9, (x, 200, 40, 60)), t)]) for t in range(0, seconds, 3)]


def test_a_person_who_was_seen_to_come_counts_for_an_hour_and_again_after_a_move():
    comes = [(1000 + t, [walker(t, y=200)]) for t in range(9)]
    night = Night([*comes, *sits(1009, 7200), *sits(8209, 60, x=260)], chunk=500)
    held_back = night.record.one("SELECT min(detected_at) / 1000000, max(detected_at) / 1000000 FROM suppressed")
    assert held_back == (1009 + 3600, 8206)
    assert night.events()[-1][:2] == (8209, 20)


def test_a_visitor_counts_who_is_first_seen_where_another_one_stood():
    night = Night([*sits(1000, 90), *[(1090 + t, []) for t in range(300)], *sits(1390, 30)], chunk=500)
    assert night.suppressed() == 10, "the first one was not seen to come: after a minute it may be a statue"
    assert night.events()[-1][:2] == (1390, 10)


def test_only_the_kinds_that_are_named_are_held_back():
    night = Night([(1000 + t, [CAR, PERSON]) for t in range(300)], stillness=Stillness(kinds=("car",)), chunk=100)
    assert night.record.rows("SELECT DISTINCT object_type FROM suppressed") == [("car",)]
    assert sum(n for _, n, _ in night.events()) == 300


def test_a_car_that_leaves_is_seen():
    parked = [(1000 + t * 20, [CAR]) for t in range(10)]
    leaves = [(2000 + t, [Detection("car", 0.9, (100 + 60 * t, 100, 200, 100))]) for t in range(1, 4)]
    assert Night(parked + leaves).events()[-1] == (2001, 3, '{"car": 1}')


def test_of_two_cameras_that_were_merged_the_table_is_bounded_too():
    night = Night([(1000, [PERSON])])
    row = "INSERT INTO spots SELECT NULL, camera_id, object_type, x + ?, y, width, height, 3, first_at, last_at, NULL FROM spots"
    for n in range(6):
        night.record.execute(row, 1000 << n)  # as many again, elsewhere
    suppression = Suppression(night.record, Stillness())
    for t in range(1, 40):
        suppression.reasons("c", (1000 + t) * S, (640, 360), [walker(0, x=-5000 * t)])
    assert night.record.one("SELECT count(*) FROM spots")[0] == 64


def test_an_empty_spot_is_forgotten():
    parked = [(1000 + t * 20, [CAR]) for t in range(10)]
    night = Night([*parked, (1180 + 7300, [PERSON, Detection("car", 0.5, (400, 0, 9, 9))]), (1180 + 7400, [CAR])])
    assert night.events()[-1][0] == 1180 + 7400


def test_a_busy_street_does_not_fill_the_table_of_spots():
    street = [(1000 + t, [Detection("car", 0.9, (t * 37 % 600, t * 11 % 300, 40, 20))]) for t in range(3000)]
    night = Night(street, chunk=500)
    assert night.record.one("SELECT count(*) FROM spots")[0] <= SPOTS_MAX


def test_a_crowd_fills_no_table_and_what_is_beyond_the_bound_counts():
    crowd = [Detection("person", 0.9 - n / 1000, (n % 20 * 30, n // 20 * 60, 20, 50)) for n in range(100)]
    night = Night([(1000 + 10 * t, crowd) for t in range(10)], chunk=10)
    assert night.record.one("SELECT count(*) FROM spots")[0] == SPOTS_MAX
    assert night.suppressed() == 4 * BOXES_MAX


def test_it_can_be_switched_off():
    night = Night([(1000 + t * 20, [CAR]) for t in range(10)], stillness=Stillness(kinds=()))
    assert night.suppressed() == 0


steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 25, 60, 400]),
        st.sampled_from([(CAR,), (CAR, PERSON), (PERSON,), (walker(1),), (walker(2), PERSON), ()]),
    ),
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
    assert one.record.rows("SELECT * FROM spots") == two.record.rows("SELECT * FROM spots")
    assert one.events() == two.events()


def test_a_detection_in_an_ignored_zone_is_stored_and_opens_nothing():
    road = [{"name": "road", "kind": "ignore", "points": [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]}]
    below, above = Detection("person", 0.9, (10, 200, 20, 60)), PERSON
    night = Night([(1000, [below]), (2000, [above])], zones=road)
    assert [start for start, _, _ in night.events()] == [2000]
    assert night.record.rows("SELECT reason FROM suppressed") == [("in ignored zone road",)]


def test_a_zone_that_makes_no_sense_is_ignored_and_said(caplog):
    night = Night([(1000, [PERSON])], zones=[{"kind": "ignore", "points": [[0, 0], [2, 2]]}])
    assert len(night.events()) == 1
    assert "at least three [x, y] in 0..1" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        '{"points": []}',
        "[7]",
        "not json",
        '[{"kind": "ignore", "points": [[0,0],[1,1]]}]',
        "{}",
        '[{"kind": "ignore", "points": [[0,0],[1,1],[0,"x"]]}]',
        '[{"kind": "road", "points": [[0,0],[1,1],[0,1]]}]',
    ],
)
def test_zones_are_checked(text):
    with pytest.raises(ValueError):
        parse_zones(text)


boxes = st.tuples(*[st.integers(0, 500)] * 2, *[st.integers(1, 500)] * 2)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_bounded(a, b):
    assert iou(a, b) == iou(b, a) and 0 <= iou(a, b) <= 1 and iou(a, a) == 1


def test_a_polygon_with_a_dent_contains_what_lies_in_it():
    dent = Zone("dent", "public", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.2), (0.0, 1.0)))
    assert dent.contains((0.5, 0.1)) and dent.contains((0.1, 0.5))
    assert not dent.contains((0.5, 0.5)) and not dent.contains((1.5, 0.5))


def test_an_object_at_the_border_of_the_picture_stands_in_it():
    whole_picture = Zone("all", "ignore", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
    for box in ((-20, 300, 20, 60), (630, 340, 20, 20), (0, 0, 640, 360)):
        assert whole_picture.contains(foot_point(box, 640, 360)), box
