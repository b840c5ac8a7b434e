"""Promise: zones are suggested where people come out of a door or pass by, and nowhere else; the owner decides."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.read.zone_suggestions import DAYS, TRACKS_MIN, Step, find_doors, find_public, suggest
from hearthwatch.record.units import DAY, SECOND
from hearthwatch.schemas import Detected, Detection, Tick
from hearthwatch.schemas.items import Verdict, from_microseconds
from hearthwatch.schemas.zones import KINDS, Zone, foot_point, parse_zones
from tests.support.judges import whole

WIDTH, HEIGHT = 640, 360
TALL = 90  # pixels of a person
NOW = 1_800_000_000 * SECOND


def step(x, y, tall=TALL):
    """A person whose feet are at this pixel."""
    box = (x - tall / 6, y - tall, tall / 3, tall)
    shares = (box[0] / WIDTH, box[1] / HEIGHT, box[2] / WIDTH, box[3] / HEIGHT)
    return Step(shares, foot_point(box, WIDTH, HEIGHT), shares[3], HEIGHT / WIDTH)


def walk(start, end, pictures=8, wobble=0, random=None):
    (x, y), (x2, y2) = start, end
    off = [random.uniform(-wobble, wobble) if random else 0 for _ in range(pictures * 2)]
    shares = [n / (pictures - 1) for n in range(pictures)]
    return [step(x + (x2 - x) * s + off[2 * n], y + (y2 - y) * s + off[2 * n + 1] / 4) for n, s in enumerate(shares)]


def area(suggestion):
    return Zone(suggestion["name"], suggestion["kind"], tuple(map(tuple, suggestion["points"])))


DOOR = (400, 200)
OUT = [walk((DOOR[0] + n % 7 - 3, DOOR[1] + n % 3), (20 if n % 2 else 620, 330)) for n in range(7)]
PAST = [walk((2, 120 + n), (638, 130 + n), 6)[:: 1 if n % 2 else -1] for n in range(6)]


def test_a_door_is_where_several_tracks_begin():
    (door,) = find_doors(OUT + PAST)
    assert door["kind"] == "own_door" and door["why"] == f"7 people were first seen here in {DAYS} days"
    assert all(area(door).contains(track[0].foot) for track in OUT)
    assert not area(door).contains(OUT[0][3].foot)
    assert find_doors(OUT[: TRACKS_MIN - 1] + PAST) == []


def test_public_ground_is_where_people_cross_and_do_not_stop():
    (street,) = find_public(OUT + PAST)
    assert street["kind"] == "public"
    assert all(area(street).contains(s.foot) for track in PAST for s in track[1:-1])
    assert not area(street).contains(step(*DOOR).foot)
    stands = [[*track[:3], track[2], *track[3:]] for track in PAST]
    turns = [[*track[:4], *track[:3][::-1]] for track in PAST]
    assert find_public(OUT + stands + turns + PAST[: TRACKS_MIN - 1]) == []


@given(st.integers(0, 1 << 30), st.sampled_from([1, 2, 4]))
def test_people_who_come_from_the_border_make_no_door(seed, seconds):
    """At any rate of pictures: the first one may show them several steps inside."""
    random = Random(seed)
    stride = 0.8 * TALL * seconds  # pixels from picture to picture at 1.4 m/s
    tracks = []
    for _ in range(40):
        x = random.uniform(0, stride)
        right = [step(x + stride * n, 250 + random.uniform(-5, 5)) for n in range(8) if x + stride * n < WIDTH]
        tracks.append(right if random.random() < 0.5 else [step(WIDTH - s.foot[0] * WIDTH, 250) for s in right])
    assert find_doors(tracks) == []


feet = st.tuples(st.integers(-50, WIDTH + 50), st.integers(0, HEIGHT + 50), st.integers(1, HEIGHT))
tracks_of = st.lists(st.lists(feet.map(lambda f: step(*f)), min_size=1, max_size=6), max_size=40)


@settings(max_examples=60, deadline=None)
@given(tracks_of, st.randoms(use_true_random=False))
def test_any_tracks_give_valid_zones_whatever_their_order(tracks, random):
    found = [*find_doors(tracks), *find_public(tracks)]
    for suggestion in found:
        assert suggestion["kind"] in KINDS and len(suggestion["points"]) == 4
        assert all(0 <= v <= 1 for point in suggestion["points"] for v in point)
    for door in find_doors(tracks):
        assert int(door["why"].split()[0]) >= TRACKS_MIN
    if tracks:
        again = random.sample(tracks, len(tracks))
        assert len(find_public(again)) == len(find_public(tracks))
        assert bool(find_doors(again)) == bool(find_doors(tracks))


def record_of(walks, pause=600):
    """A record of one camera on which these walks were seen, one picture a second: [(days ago, [[boxes]])]."""
    record = Record(":memory:")
    ledger = Ledger(record)
    batching = Batching(record, whole(lambda facts: Verdict(10, "", "", ())))
    pictures = []
    for number, (days, boxes) in enumerate(walks):
        begin = NOW - round(days * DAY) + number * pause * SECOND
        pictures += [(begin + n * SECOND, found) for n, found in enumerate(boxes)]
    ledger.discover([FoundFile("c", "C", f"{at}.jpg", 0, 1, at, at) for at, _ in pictures], 1 << 60)
    frames = [entry.frame for entry in ledger.todo(0, 100_000)]
    batching.write([Detected(f, WIDTH, HEIGHT, tuple(b)) for f, (_, b) in zip(frames, pictures, strict=True)])
    batching.write([Tick(from_microseconds(4_000_000_000 * SECOND))])
    return record


def seen(track, kind="person"):
    boxes = [tuple(round(v * side) for v, side in zip(s.box, (WIDTH, HEIGHT) * 2, strict=True)) for s in track]
    return [[Detection(kind, 0.9, box)] for box in boxes]


def test_the_record_suggests_what_is_not_drawn_yet():
    record = record_of([(3, seen(track)) for track in OUT + PAST])
    door, street = suggest(record, "c", [], NOW)
    assert (door["kind"], street["kind"]) == ("own_door", "public")
    assert suggest(record, "other", [], NOW) == []
    assert [s["kind"] for s in suggest(record, "c", [street], NOW)] == ["own_door"]
    everything = {"name": "", "kind": "private", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}
    assert len(suggest(record, "c", [everything], NOW)) == 2, "a door leads to private ground"
    assert suggest(record, "c", [everything | {"kind": kind} for kind in ("public", "own_door")], NOW) == []
    assert len(suggest(record, "c", [{k: door[k] for k in ("name", "kind", "points")}], NOW)) == 1


@pytest.mark.parametrize(
    ("walks", "pause"),
    [
        ([(DAYS + 1, seen(track)) for track in OUT + PAST], 600),  # long ago
        ([(3, seen(track, "dog")) for track in OUT + PAST], 600),
        ([(3, [a + b for a, b in zip(seen(track), seen(track[::-1]), strict=True)]) for track in OUT + PAST], 600),
        ([(3, seen(PAST[0])), *[(3, seen(track)) for track in OUT]], 45),  # each is the rest of the one before
    ],
)
def test_what_is_old_or_unsure_suggests_nothing(walks, pause):
    assert suggest(record_of(walks, pause), "c", [], NOW) == []


def test_a_suggestion_can_be_saved_as_it_is():
    import json

    (door,) = find_doors(OUT)
    assert parse_zones(json.dumps([door]))[0].kind == "own_door"
