"""Promise: boxes of one object are one track, and what it did is noted, whatever was missed and in whatever order boxes come."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hearthwatch.stages.tracks import Tracker
from tests.support.walks import DOOR, NOON, PAVEMENT, rules, sightings, stand, walk

ZONES = (PAVEMENT, DOOR)


def tracks(*objects, width=1280):
    """How many objects there were, and the last picture's tracks."""
    tracker, seen = Tracker(width), sightings(NOON, *objects)
    for at in sorted({s.at for s in seen}):
        last, _ = tracker.add(at, [s for s in seen if s.at == at])
    return tracker.count, last


def acts(*objects, **known):
    """What the first object did, as [(what, where)]."""
    facts = rules(sightings(NOON, *objects), zones=ZONES, **known).tracks()
    return [(act.what, act.where) for act in min(facts, key=lambda f: f.number).acts]


WAY = walk((40, 400), (1200, 420), 14)


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(1, 13), max_size=6), st.lists(st.integers(-6, 6), min_size=15, max_size=15))
def test_one_person_is_one_track_through_misses_and_jitter(missed, jitter):
    way = [(t, x + dx, y) for (t, x, y), dx in zip(WAY, jitter, strict=True) if t not in missed]
    count, (track,) = tracks(("person", way))
    assert count == 1 and track.seen == len(way)


def test_two_who_cross_stay_two():
    count, last = tracks(("person", WAY), ("person", walk((1200, 440), (40, 430), 14)))
    assert count == 2
    assert {t.number for t in last if t.first.x < 600} == {t.number for t in last if t.last.x > 600}


def test_a_van_that_is_a_truck_now_and_then_and_boxed_twice_is_one_vehicle():
    parked = stand((600, 500), 8)
    odd = [at for at in parked if at[0] % 2], [at for at in parked if at[0] % 2 == 0]
    assert tracks(("car", odd[0]), ("truck", [(*at, (310, 155)) for at in odd[1]]))[0] == 1
    assert tracks(("car", parked), ("truck", [(t, x + 8, y, (290, 150)) for t, x, y in parked]))[0] == 1


def test_one_who_stood_still_is_the_same_after_half_a_minute_and_who_walked_is_not():
    still = [*stand((300, 500), 5), *stand((302, 500), 3, first=35)]
    assert tracks(("person", still))[0] == 1
    assert tracks(("person", [*walk((40, 400), (400, 400), 5), (40, 460, 400)]))[0] == 2


def test_who_enters_where_runs_stops_and_approaches():
    assert acts(("person", walk((20, 500), (600, 520), 7)))[0] == ("enters", "left")
    later = ("car", stand((900, 300), 20)), ("person", walk((1000, 650), (300, 600), 9, first=3))
    assert ("enters", "own_door") in [
        (a.what, a.where) for f in rules(sightings(NOON, *later), zones=ZONES).tracks() for a in f.acts
    ]
    assert ("runs", "private") in acts(("person", walk((20, 600), (900, 520), 3)))
    assert ("runs", "private") not in acts(("person", walk((20, 600), (900, 520), 8)))
    assert ("stops", "private") in acts(("person", [*walk((20, 550), (400, 550), 4), *stand((400, 550), 6, first=5)]))
    nearer = [(t, 500, 400 + 20 * t, (50 + 4 * t, 140 + 12 * t)) for t in range(8)]
    assert "approaches" in [what for what, _ in acts(("person", nearer))]


def test_who_goes_down_and_stays_down_lies():
    down = [(4 + n, 420, 560, (160, 50)) for n in range(9)]
    assert ("lies", "private") in acts(("person", [*walk((100, 550), (400, 560), 3), *down]))
    assert ("lies", "private") not in acts(("person", walk((100, 550), (700, 560), 12)))


def test_who_stands_beside_a_parked_car_and_who_brings_a_package():
    beside = [*walk((40, 520), (500, 520), 5), *stand((520, 520), 6, first=6)]
    car = ("car", stand((640, 510), 12))
    assert ("stands beside", "car") in acts(("person", beside), car)
    way = [*walk((40, 520), (500, 520), 5), *walk((450, 520), (40, 520), 5, first=6)]
    assert ("leaves behind", "package") in acts(("person", way), ("package", stand((500, 520), 6, first=5)))


def test_what_never_moves_and_what_flickers_is_no_person():
    statue = rules(sightings(NOON, ("person", stand((500, 500), 60))), zones=ZONES).tracks()
    assert [f.is_plausible for f in statue] == [False]
    person = rules(sightings(NOON, ("person", WAY)), zones=ZONES).tracks()
    assert [f.is_plausible for f in person] == [True]
    rain = [("person", [(n, 100 + 170 * (n * 5 % 7), 300 + 60 * (n % 5), (30, 400))]) for n in range(8)]
    assert rules(sightings(NOON, *rain, sure=0.45), zones=ZONES, dark=True).score() < 30
