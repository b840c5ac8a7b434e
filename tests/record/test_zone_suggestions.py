"""Promise: zones are suggested where people come out of a door or pass by, and nowhere else; the owner decides."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearthwatch.record.batching import Batching
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.read.zone_suggestions import DAYS, TRACKS_MIN, Step, find_zones, suggest
from hearthwatch.record.units import DAY, SECOND
from hearthwatch.schemas import Detected, Detection, Tick
from hearthwatch.schemas.items import Verdict, from_microseconds
from hearthwatch.schemas.zones import KINDS, parse_zones
from tests.support.judges import whole
from tests.support.memory_record import MemoryRecord

WIDTH, HEIGHT = 640, 360
TALL = 90  # pixels of a person
NOW = 1_800_000_000 * SECOND


def step(x, y, tall=TALL):
    """A person whose feet are at this pixel."""
    return Step(*(v / HEIGHT for v in (x - tall / 6, y - tall, tall / 3, tall, WIDTH)))


def walk(start, end, pictures=8, wobble=0, random=None):
    (x, y), (x2, y2) = start, end
    off = [random.uniform(-wobble, wobble) if random else 0 for _ in range(pictures * 2)]
    shares = [n / (pictures - 1) for n in range(pictures)]
    return [step(x + (x2 - x) * s + off[2 * n], y + (y2 - y) * s + off[2 * n + 1] / 4) for n, s in enumerate(shares)]


def zone(suggestion, **other):
    (found,) = parse_zones(json.dumps([suggestion | other]))
    return found


def holds(suggestion, at):
    """Whether the suggested zone contains where this person stands."""
    return zone(suggestion).contains((at.foot[0] * HEIGHT / WIDTH, at.foot[1]))


def find_doors(tracks):
    return [s for s in find_zones(tracks) if s["kind"] == "own_door"]


def find_public(tracks):
    return [s for s in find_zones(tracks) if s["kind"] == "public"]


DOOR = (400, 200)
OUT = [walk((DOOR[0] + n % 7 - 3, DOOR[1] + n % 3), (20 if n % 2 else 620, 330)) for n in range(7)]
PAST = [walk((2, 120 + n), (638, 130 + n), 6)[:: 1 if n % 2 else -1] for n in range(6)]


def test_a_door_is_where_several_tracks_begin():
    (door,) = find_doors(OUT + PAST)
    assert door["kind"] == "own_door" and door["why"] == f"7 people were first seen here in {DAYS} days"
    assert all(holds(door, track[0]) for track in OUT)
    assert not holds(door, OUT[0][3])
    assert find_doors(OUT[: TRACKS_MIN - 1] + PAST) == []


def test_the_next_door_is_suggested_once_the_first_is_drawn():
    side = [walk((160 + n, 280), (620, 330)) for n in range(5)]
    (first,) = find_doors(OUT + side)
    (second,) = [s for s in find_zones(OUT + side, [zone(first)]) if s["kind"] == "own_door"]
    assert holds(first, OUT[0][0]) and holds(second, side[0][0])
    assert find_zones(OUT + side, [zone(first), zone(second)]) == []


def test_public_ground_is_where_people_cross_and_do_not_stop():
    (street,) = find_public(OUT + PAST)
    assert street["kind"] == "public"
    assert all(holds(street, s) for track in PAST for s in track[1:-1])
    assert not holds(street, step(*DOOR))
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
        tracks.append(right if random.random() < 0.5 else [step(WIDTH - s.foot[0] * HEIGHT, 250) for s in right])
    assert find_doors(tracks) == []


feet = st.tuples(st.integers(-50, WIDTH + 50), st.integers(0, HEIGHT + 50), st.integers(1, HEIGHT))
tracks_of = st.lists(st.lists(feet.map(lambda f: step(*f)), min_size=2, max_size=6), max_size=40)


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
    record = MemoryRecord()
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
    boxes = [tuple(round(v * HEIGHT) for v in s[:4]) for s in track]
    return [[Detection(kind, 0.9, box)] for box in boxes]


def test_the_record_suggests_what_is_not_drawn_yet():
    record = record_of([(3, seen(track)) for track in OUT + PAST])
    door, street = suggest(record, "c", [], NOW)
    assert (door["kind"], street["kind"]) == ("own_door", "public")
    assert suggest(record, "other", [], NOW) == []
    assert [s["kind"] for s in suggest(record, "c", [zone(street)], NOW)] == ["own_door"]
    everything = [zone(door, kind=kind, points=[[0, 0], [1, 0], [1, 1], [0, 1]]) for kind in KINDS]
    assert len(suggest(record, "c", [z for z in everything if z.kind == "private"], NOW)) == 2, "doors lead there"
    assert suggest(record, "c", everything, NOW) == []


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
    (door,) = find_doors(OUT)
    assert zone(door).kind == "own_door"
