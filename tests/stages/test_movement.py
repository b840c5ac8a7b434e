"""Promise: who stops, who goes on and what was taken is read from boxes alone, near or far, at any camera."""

from itertools import groupby, pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from hearthwatch.record.events import Sighting
from hearthwatch.stages import movement
from hearthwatch.stages.movement import Packages, Track, Tracks, distance, overlap

TALL, WIDE = 120, 40  # a person's box; a step of 40 pixels a second is a walk


def pictures(seen):
    return [list(group) for _, group in groupby(seen, key=lambda s: s.frame_id)]


def tracks(seen):
    """The sightings of each object, as they are followed picture by picture."""
    followed, found = Tracks(), {}
    for picture in pictures(seen):
        followed.add(picture)
        for track in followed.live:
            if track.last in picture:
                found.setdefault(id(track), (track, []))[1].append(track.last)
    return [track for _, track in found.values()]


def count_stops(sightings):
    track = Track(sightings[0])
    for s in sightings[1:]:
        track.add(s)
    return track.stops


def find_taken_package(packages, people):
    places = Packages()
    for picture in pictures(sorted([*packages, *people], key=lambda s: s.id)):
        both = [[s for s in picture if (s.object_type == "package") == wanted] for wanted in (True, False)]
        places.add(*both)
    return places.taken()


def walk(*xs, every=1.0, kind="person", first=0, y=100, height=TALL):
    """One box a picture, its left edge at these pixels; None: not seen in that picture."""
    return [
        Sighting((first + n + 1) * 512, round(n * every * 1e6), kind, 0.9, x, y, WIDE, height)
        for n, x in enumerate(xs)
        if x is not None
    ]


def merged(*walks):
    """Several walks in the same pictures, each box with an id of its own."""
    boxes = [s._replace(id=s.id + number) for number, one in enumerate(walks) for s in one]
    return sorted(boxes, key=lambda s: (s.at, s.id))


PASSES = range(0, 640, 40)
VISITS = [*range(0, 300, 40), *[290] * 8, *range(280, -1, -40)]
PACES = [*range(0, 200, 40), *[200] * 5, *range(200, 400, 40), *[400] * 5, *range(400, 200, -40), *[200] * 5, 160, 120]


def test_a_passer_never_stops_a_visitor_once_and_who_paces_several_times():
    assert [count_stops(walk(*xs)) for xs in (PASSES, VISITS, PACES)] == [0, 1, 3]


@given(st.integers(2, 5), st.integers(0, 300), st.sampled_from([PASSES, VISITS, PACES]))
def test_a_person_farther_away_is_seen_to_do_the_same(far, moved, xs):
    near = walk(*(x * far for x in xs), height=TALL * far)
    distant = [s._replace(x=s.x // far + moved, y=s.y // far, width=WIDE // far, height=TALL) for s in near]
    assert len(tracks(near)) == len(tracks(distant)) == 1
    assert count_stops(near) == count_stops(distant)


def test_two_who_cross_are_two_and_stay_who_they_are_apart_from_each_other():
    left, right = walk(*range(0, 640, 40)), walk(*range(620, -20, -40), y=140)
    found = tracks(merged(left, right))
    assert sorted(len(track) for track in found) == [16, 16]
    assert {tuple(s.y for s in track) for track in found} == {(100,) * 16, (140,) * 16}


def test_the_nearest_boxes_go_together_in_whatever_order_the_detector_names_them():
    boxes = [(100, 160), (165, 105), (110, 170)]
    seen = [
        Sighting(n * 512 + i, n * 1_000_000, "person", 0.9, x, 100, WIDE, TALL)
        for n, xs in enumerate(boxes)
        for i, x in enumerate(xs)
    ]
    assert {tuple(s.x for s in track) for track in tracks(seen)} == {(100, 105, 110), (160, 165, 170)}


def test_a_gap_of_some_pictures_does_not_make_two_of_one():
    (track,) = tracks(walk(0, 40, None, None, 160, 200))
    assert track[-1].at - track[0].at == 5_000_000


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 600)), max_size=60))
def test_every_sighting_is_in_exactly_one_track_in_order_of_capture(boxes):
    seen = [Sighting(at * 512 + n, at * 1_000_000, "person", 0.9, x, 0, WIDE, TALL) for n, (at, x) in enumerate(boxes)]
    seen.sort(key=lambda s: (s.at, s.id))
    found = tracks(seen)
    assert sorted(s.id for track in found for s in track) == sorted(s.id for s in seen)
    assert all(a.at < b.at for track in found for a, b in pairwise(track))


def package(*numbers):
    """Seen in these pictures, on the ground at x = 300."""
    return [Sighting((n + 1) * 512 + 9, n * 1_000_000, "package", 0.8, 300, 200, 30, 20) for n in numbers]


COMES_AND_GOES = [*range(0, 281, 40), 290, 290, *range(240, -1, -40)]  # at the package in pictures 7 to 9


def test_a_package_that_is_gone_after_somebody_stood_beside_it_was_taken():
    last, who = find_taken_package(package(*range(9)), walk(*COMES_AND_GOES))
    assert (last.at, who.at) == (8_000_000, 8_000_000)
    assert distance(last, who) < 1


def test_a_package_that_is_brought_hidden_or_only_carried_was_not():
    courier, arrives = walk(*COMES_AND_GOES), package(*range(9, 20))
    assert find_taken_package(arrives, courier) is None
    hidden = walk(*COMES_AND_GOES[:10], *[290] * 6)  # still stands in front of it when the event ends
    assert find_taken_package(package(*range(9)), hidden) is None
    assert find_taken_package(package(8, 9), courier) is None


def test_one_of_two_packages_is_taken_and_the_other_stays():
    stays = [s._replace(id=s.id + 1, x=100, y=260) for s in package(*range(20))]
    seen = sorted([*package(*range(9)), *stays], key=lambda s: s.id)
    last, _ = find_taken_package(seen, walk(*COMES_AND_GOES))
    assert last.x == 300
    assert find_taken_package(stays, walk(*COMES_AND_GOES)) is None


def test_a_package_that_vanishes_with_nobody_near_is_a_box_that_the_detector_missed():
    assert find_taken_package(package(*range(9)), walk(*[600] * 16)) is None
    assert find_taken_package(package(*range(9)), []) is None


# -- the definitions, over a whole event at once


def defined_stops(track):
    """At how many places one after the other it stood still for three seconds."""
    places, begin = [], 0
    while begin < len(track):
        end = begin
        while end + 1 < len(track) and distance(track[begin], track[end + 1]) <= movement.STOP_REACH:
            end += 1
        if (track[end].at - track[begin].at) / 1e6 < movement.STOP_SECONDS:
            begin += 1
            continue
        if not places or distance(places[-1], track[begin]) > movement.STOP_REACH:
            places.append(track[begin])
        begin = end + 1
    return len(places)


def defined_theft(packages, people):
    """The last sight of a package that lay there and was gone after a person had been near it, and that person."""
    places = []
    for s in packages:
        near = next((p for p in places if distance(p[-1], s) <= movement.PLACE_REACH), None)
        places.append([s]) if near is None else near.append(s)
    for place in places:
        last = place[-1]
        near = [p for p in people if abs(p.at - last.at) <= 5_000_000 and distance(p, last) <= movement.NEAR_REACH]
        views = [v[0].at for v in pictures(p for p in people if p.at > last.at) if not any(overlap(p, last) for p in v)]
        lay = len(place) >= movement.LAID_PICTURES or last.at - place[0].at >= 4_000_000
        if lay and near and (len(views) >= movement.GONE_PICTURES or (views and views[-1] - last.at >= 3_000_000)):
            return last, min(near, key=lambda p: (abs(p.at - last.at), p.id))
    return None


steps = st.lists(
    st.tuples(st.sampled_from([0.2, 1, 1, 2.9, 3]), st.sampled_from([0, 0, 5, 20, 29, 31, 60])), max_size=25
)


@example([(3, 20), (1, 20), (3, 0)])
@given(steps)
def test_stops_are_counted_picture_by_picture_as_the_definition_counts_them_afterwards(steps):
    """Whatever the pace: a step of less than 30 pixels is within the reach of a stop, several are not."""
    at, x, track, seen = 0, 0, None, []
    for wait, step in [(0, 0), *steps]:
        at, x = at + round(wait * 1e6), x + step
        seen.append(Sighting(len(seen) * 512, at, "person", 0.9, x, 100, WIDE, TALL))
        track = track or Track(seen[0])
        if len(seen) > 1:
            track.add(seen[-1])
        assert track.stops == defined_stops(seen)


scenes = st.lists(
    st.tuples(
        st.sampled_from([0.3, 1, 1, 3, 6]),
        st.lists(st.sampled_from([100, 105, 300]), max_size=2),
        st.lists(st.sampled_from([0, 80, 290, 310, 600]), max_size=2),
    ),
    max_size=25,
)


@given(scenes)
def test_a_theft_is_found_at_the_picture_at_which_the_definition_finds_it(scenes):
    at, packages, people, places = 0, [], [], Packages()
    for n, (wait, there, about) in enumerate(scenes):
        at += round(wait * 1e6)
        new = [Sighting(n * 512 + i, at, "package", 0.8, x, 200, 30, 20) for i, x in enumerate(there)]
        walkers = [Sighting(n * 512 + 9 + i, at, "person", 0.9, x, 100, WIDE, TALL) for i, x in enumerate(about)]
        packages, people = packages + new, people + walkers
        places.add(new, walkers)
        assert places.taken() == defined_theft(packages, people)
