"""Promise: the rules' verdict says only what was detected, and is the same for the same facts."""

import random
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthwatch.record.events import Facts, Sighting
from hearthwatch.record.surroundings import Surroundings
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.stages import movement, rules
from hearthwatch.stages.rules import Features, RulesJudge, evidence, judge, place, score_terms

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NIGHT = datetime(2026, 11, 22, 2, 13, tzinfo=UTC)


def facts(start, *frames, every=1.0, camera="Front Door"):
    """Each frame is a list of labels; frame n is captured `every` seconds after frame n-1."""
    first = to_microseconds(start)
    times = [first + round(i * every * 1e6) for i in range(len(frames))]
    seen = [
        Sighting((i + 1) * 512 + n, times[i], label, 0.5 + 0.01 * i, 0, 0, 10, 10)
        for i, labels in enumerate(frames)
        for n, label in enumerate(labels)
    ]
    return Facts(1, "front_door", camera, first, times[-1], len(frames), 640, 360, tuple(seen))


def test_two_people_at_night_read_like_a_sentence_and_score_higher_than_by_day():
    story = [["person"], ["person", "person"]] * 23
    night, day = judge(facts(NIGHT, *story), UTC), judge(facts(NOON, *story), UTC)
    assert night.summary == "2 people for 45 s at the front door, 02:13"
    assert night.reasoning == "person +22, 1 more at once +4, stays 45 s +9, in the dark +25: 60 of 100, by the rules"
    assert (night.risk_level, day.risk_level, day.analyzer) == ("high", "medium", "rules")


def test_objects_count_the_most_seen_at_once_not_the_sum_over_frames():
    assert facts(NOON, ["cat"], ["cat", "dog"], ["cat"]).objects == {"cat": 1, "dog": 1}
    assert (
        judge(facts(NOON, ["cat"], ["cat", "dog"], ["cat"]), UTC).summary
        == "1 dog and 1 cat for 2 s at the front door, 12:00"
    )


def test_a_camera_name_that_is_no_plain_words_stays_as_it_is():
    assert place("back_yard") == "at the back yard"
    assert place("CAM-3") == "at CAM-3"


labels = st.sampled_from(["person", "car", "cat", "dog", "bear", "kite"])
stories = st.lists(st.lists(labels, min_size=1, max_size=6), min_size=1, max_size=20)


@given(stories, st.integers(0, 23), st.floats(0, 29))
def test_every_verdict_is_in_bounds_and_cites_detections_of_the_event(story, hour, every):
    known = facts(NOON.replace(hour=hour), *story, every=every)
    verdict = judge(known, UTC)
    assert 0 <= verdict.risk_score <= 100 and verdict.summary and verdict.reasoning
    ids = {s.id for s in known.sightings}
    assert verdict.evidence and set(verdict.evidence) <= ids
    assert {s.object_type for s in known.sightings if s.id in verdict.evidence} == set(known.objects)
    assert verdict == judge(known, UTC)


@given(stories, st.integers(0, 23))
def test_night_never_lowers_a_score(story, hour):
    assert judge(facts(NIGHT, *story), UTC).risk_score >= judge(facts(NOON.replace(hour=hour), *story), UTC).risk_score


def test_evidence_is_the_surest_of_each_kind():
    assert evidence(facts(NOON, ["person"], ["person"], ["person"], ["person", "car"]).sightings) == (
        1024,
        1536,
        2048,
        2049,
    )


def moving(start, *objects, camera="Front Door"):
    """Each object is (label, where its left edge is in each second or None); people 120 pixels tall, packages 20."""
    first, seen = to_microseconds(start), []
    for n, (label, xs) in enumerate(objects):
        size = (30, 20) if label == "package" else (40, 120)
        at = {second: x for second, x in enumerate(xs) if x is not None}
        seen += [
            Sighting((second + 1) * 512 + n, first + second * 1_000_000, label, 0.9, x, 220 - size[1], *size)
            for second, x in at.items()
        ]
    seen.sort(key=lambda s: (s.at, s.id))
    frames = len({s.frame_id for s in seen})
    return Facts(1, "front_door", camera, first, seen[-1].at, frames, 640, 360, tuple(seen))


COMES, GOES = range(0, 281, 40), range(240, -1, -40)
THEFT = ("person", [*COMES, 290, 290, *GOES]), ("package", [300] * 9)
PACES = [*range(0, 200, 40), *[200] * 5, *range(200, 400, 40), *[400] * 5]


def test_a_package_that_is_taken_is_told_by_day_and_cites_the_package_and_the_person():
    known = moving(NOON, *THEFT)
    verdict = judge(known, UTC)
    assert verdict.summary == "Package taken at the front door, 12:00 (1 person, 16 s)"
    assert "a package is gone after a person stood beside it +45" in verdict.reasoning
    assert verdict.risk_level == "high"
    assert {9 * 512, 9 * 512 + 1} <= set(verdict.evidence)
    brought = moving(NOON, THEFT[0], ("package", [None] * 9 + [300] * 12))
    assert judge(brought, UTC).risk_level == "low"


def test_who_stays_about_at_night_is_graver_than_who_comes_and_goes():
    visit = [*COMES, *[290] * 8, *GOES]
    scores = [judge(moving(NIGHT, ("person", xs)), UTC).risk_level for xs in (PACES, visit, [200] * 60)]
    assert scores == ["high", "medium", "high"]
    assert judge(moving(NOON, ("person", PACES)), UTC).risk_level == "medium"


@pytest.mark.parametrize(
    ("signs", "score"),
    [
        (Features({"person": 1}, "person", 0, 0, False, None, False), 22),
        (Features({"person": 3}, "person", 0, 0, False, None, False), 22 + 8),
        (Features({"person": 9}, "person", 0, 0, False, None, False), 22 + 12),
        (Features({"person": 1}, "person", 60, 1, True, None, False), 22 + 12 + 10),
        (Features({"person": 1}, "person", 10, 3, True, None, False), 22 + 4 + 12),
        (Features({"person": 1}, "person", 30, 9, True, None, True), 22 + 9 + 16 + 25 + 15),
        (Features({"car": 2, "cat": 1}, "car", 5, 0, False, None, True), 10 + 4 + 10),
        (Features({"cat": 1}, "cat", 5, 0, False, None, True), 4),
        (Features({"kite": 1}, "kite", 5, 0, False, None, True), 5),
    ],
)
def test_the_score_is_the_sum_of_the_terms_in_the_docs(signs, score):
    assert sum(n for n, _ in score_terms(signs)) == score


def test_only_one_and_the_same_person_stays():
    relay = moving(NOON, ("person", range(0, 300, 40)), ("person", [None] * 20 + list(range(600, 300, -40))))
    assert "stays" not in judge(relay, UTC).reasoning


def test_cars_that_pass_at_night_are_no_reason_to_get_up():
    assert judge(moving(NIGHT, ("car", range(0, 400, 100))), UTC).risk_level == "low"


@given(st.text(min_size=1, max_size=20), st.sampled_from([THEFT, (("person", PACES),)]))
def test_the_score_does_not_depend_on_the_cameras_name(name, story):
    named = moving(NIGHT, *story, camera=name)._replace(camera_id=name)
    assert judge(named, UTC).risk_score == judge(moving(NIGHT, *story), UTC).risk_score


def test_the_hour_is_that_of_the_cameras_clock():
    sofia = timezone(timedelta(hours=2))
    assert judge(facts(NOON, ["person"]), sofia).summary.endswith("14:00")
    assert (
        judge(facts(datetime(2026, 11, 22, 22, tzinfo=UTC), ["person"]), sofia).risk_score
        > judge(facts(NOON, ["person"]), sofia).risk_score
    )


UNBOUNDED = {"PAIR_MICROSECONDS": 0, "BOXES_MAX": 1 << 30, "LIVE_MAX": 1 << 30, "RECENT_MAX": 1 << 30}
PATHS = [*COMES, *GOES], PACES, list(range(600, 0, -40)), [200] * 60, [None] * 20 + [*range(0, 300, 40)] * 5


LAID = [200] * 60, [None] * 10 + [400] * 15  # packages do not fly, which would make each sight of one another one
OBJECTS = st.one_of(
    st.tuples(st.sampled_from(["person", "car"]), st.sampled_from(PATHS)),
    st.tuples(st.just("package"), st.sampled_from(LAID)),
)


@given(st.lists(OBJECTS, min_size=1, max_size=10))
def test_what_bounds_the_work_changes_no_verdict_of_an_ordinary_event(objects):
    known = moving(NIGHT, *objects)
    bounded = judge(known, UTC)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in UNBOUNDED.items():
            for module in (movement, rules):
                patch.setattr(module, name, value, raising=False)
        assert bounded == judge(known, UTC)


def test_a_crowd_at_ten_pictures_a_second_is_looked_at_in_fewer_pictures_and_says_the_same():
    crowd = [("person", [60 * n + 2 * second for second in range(90)]) for n in range(20)]
    often = moving(NOON, *[(label, [x for x in xs for _ in range(10)]) for label, xs in crowd])
    often = often._replace(
        sightings=tuple(s._replace(at=often.started_at + (s.frame_id - 1) * 100_000) for s in often.sightings)
    )
    assert len(often.sightings) == 900 * 20
    fold, read = RulesJudge(Surroundings("street", 0), UTC), []
    for n in range(900):
        boxes = often.sightings[20 * n : 20 * n + 20]
        fold.add(boxes[0].at, {"person": 20}, lambda n=n, boxes=boxes: read.append(n) or boxes)
    assert (len(read) - 2) * (
        movement.PICTURE_PAIRS + 20**2
    ) * movement.PAIR_MICROSECONDS <= 90e6 + movement.CREDIT_MICROSECONDS
    assert max(b - a for a, b in pairwise([*read, 900])) <= 60, "a track is lost after twelve seconds"
    assert fold.verdict(often) == judge(often, UTC)
    once_a_second = moving(NOON, *crowd)
    assert judge(often, UTC).risk_level == judge(once_a_second, UTC).risk_level


@pytest.mark.parametrize("seed", range(3))
def test_however_much_is_seen_there_is_a_verdict_over_it(seed):
    chance = random.Random(seed)
    kinds = ["person", "package", "kite"]
    seen = [
        Sighting((i + 1) * 512 + n, i * 30_000, chance.choice(kinds), 0.9, chance.randrange(600), chance.randrange(300), 30, 1 + i % 99)
        for i in range(600) for n in range(chance.randrange(1, 60))
    ]  # fmt: skip
    verdict = judge(Facts(1, "c", "Porch", 0, seen[-1].at, 600, 640, 360, tuple(seen)), UTC)
    assert 0 <= verdict.risk_score <= 100 and verdict.evidence
    rare = Sighting(100 * 512 + 80, 100 * 30_000, "bear", 0.9, 1, 1, 30, 30)  # in a picture that is passed over
    told = judge(Facts(1, "c", "Porch", 0, seen[-1].at, 600, 640, 360, tuple(sorted([*seen, rare]))), UTC)
    assert told.reasoning.startswith("bear +60") and rare.id in told.evidence
