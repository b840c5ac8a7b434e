"""Promise: the score is a sum of printed terms about facts, says only what was detected, and is the same for the same facts."""

import random
from collections import Counter
from datetime import timedelta, timezone
from functools import partial
from itertools import groupby, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hearthwatch.schemas.case import Facts, Sighting, Surroundings, Term
from hearthwatch.schemas.items import risk_level
from hearthwatch.schemas.zones import Zone
from hearthwatch.stages import rules as module
from hearthwatch.stages.rules import RulesJudge, evidence, judge, place, total
from tests.support.walks import DOOR, EVENING, NIGHT, NOON, PAVEMENT, UTC, facts, rules, sightings, stand, walk

ZONES = (PAVEMENT, DOOR)
PASSES = walk((0, 300), (1280, 300), 12)
CROSSES = walk((400, 470), (40, 700), 7)
COMES_HOME = walk((0, 500), (1000, 640), 9)
GOES_OUT = walk((1000, 640), (40, 500), 9)


def level(start, *objects, zones=ZONES, **known):
    return risk_level(rules(sightings(start, *objects), zones=zones, **known).score())


def test_who_crosses_own_ground_at_night_is_graver_than_who_passes_or_who_comes_by_day():
    assert level(NIGHT, ("person", CROSSES)) == "high"
    assert level(NIGHT, ("person", PASSES)) == "low"
    assert level(NOON, ("person", CROSSES)) == "low"
    assert level(EVENING, ("person", CROSSES), zones=(), dark=True) == "medium"


def test_a_resident_who_leaves_at_night_is_not_high():
    assert level(NIGHT, ("person", GOES_OUT)) != "high"
    assert "comes from the own door −32" in judged(NIGHT, ("person", GOES_OUT)).reasoning


def score(start, *objects, sure=0.9, zones=ZONES, **known):
    return rules(sightings(start, *objects, sure=sure), zones=zones, **known).score()


def test_one_sure_sighting_deep_on_own_ground_is_high_and_a_faint_or_unmoved_one_stays_low():
    once, bush = ("person", [(0, 400, 600)]), ("person", stand((400, 600), 8))
    assert score(NIGHT, once) >= 60 > 30 > score(NIGHT, once, sure=0.7) == score(NIGHT, bush, sure=0.7)
    assert score(NIGHT, ("person", CROSSES), sure=0.6) < 30, "beams, rain and spiders"
    assert score(NIGHT, ("person", CROSSES), sure=0.65) >= 60
    assert score(EVENING, once, dark=True) < 60, "by the hour"


def test_who_is_first_seen_a_few_steps_from_the_own_door_lives_here_and_may_stand_about():
    parked = ("car", stand((300, 300), 20))
    paces = [*stand((650, 640), 4, first=3), *walk((650, 640), (300, 640), 5, first=8), *stand((300, 640), 6, first=14)]
    verdict = judged(NIGHT, parked, ("person", paces))
    assert "comes from near the own door −18" in verdict.reasoning and verdict.risk_score < 60
    assert "stops" not in verdict.reasoning


@pytest.mark.parametrize("every", [1.0, 0.5])
def test_who_is_first_seen_near_the_own_door_and_goes_to_it_does_not_come_from_there(every):
    first = walk((640, 640), (1000, 640), 3, every=every)
    to_it = [*first, *stand((1000, 640), 10, first=4, every=every)]
    away = walk((640, 640), (300, 640), 6, every=every)
    assert "near the own door" not in str(rules(sightings(NIGHT, ("person", to_it)), zones=ZONES).terms())
    assert "near the own door" in str(rules(sightings(NIGHT, ("person", away)), zones=ZONES).terms())


WINDOW = Zone("window", "window", ((0.3, 0.75), (0.5, 0.75), (0.5, 0.95), (0.3, 0.95)))
RINGS_AND_LOOKS_IN = [
    *walk((40, 500), (1000, 640), 8),
    *stand((1000, 640), 9, first=9),
    *walk((1000, 640), (520, 620), 4, first=19),
    *stand((520, 620), 9, first=24),
]


@pytest.mark.parametrize("start", [NOON, EVENING, NIGHT])
def test_who_was_at_the_door_and_looks_in_at_a_window_is_high_and_who_only_does_one_by_day_is_not(start):
    zones = (*ZONES, WINDOW)
    verdict = judged(start, ("person", RINGS_AND_LOOKS_IN), zones=zones)
    assert verdict.risk_score >= 60 and "at the door and at a window" in verdict.reasoning
    for some in (RINGS_AND_LOOKS_IN[:17], RINGS_AND_LOOKS_IN[-15:]):
        assert "at the door and" not in judged(NOON, ("person", some), zones=zones).reasoning
        assert level(NOON, ("person", some), zones=zones) in ("low", "medium")


def test_who_stands_behind_a_door_in_a_wall_is_not_at_it():
    wall = Zone("door", "own_door", ((0.5, 0.4), (0.6, 0.4), (0.6, 0.8), (0.5, 0.8)))
    far, near = (("person", walk((704, y), (300, y), 6)) for y in (300, 570))
    assert "comes from the own door" not in judged(NIGHT, far, zones=(wall,)).reasoning
    assert "comes from the own door" in judged(NIGHT, near, zones=(wall,)).reasoning


def test_who_is_first_seen_beside_a_car_that_came_arrives_by_car():
    comes = [*walk((40, 640), (400, 640), 4), *stand((400, 640), 20, first=5)]
    out = [*stand((440, 650), 2, first=9), *walk((440, 650), (100, 600), 6, first=12)]
    assert "arrives by car −14" in judged(NIGHT, ("car", comes), ("person", out)).reasoning
    stands = ("car", stand((400, 640), 25))
    assert "by car" not in judged(NIGHT, stands, ("person", out)).reasoning


def test_who_comes_with_a_moving_bicycle_arrives_by_it_and_who_takes_one_that_stood_does_not():
    rides, locks = walk((40, 640), (400, 640), 4), stand((400, 640), 12, first=5)
    assert (
        "arrives by bicycle −14" in judged(NIGHT, ("person", [*rides, *locks]), ("bicycle", [*rides, *locks])).reasoning
    )
    away = walk((400, 640), (1100, 700), 7, first=17)
    stood, comes = stand((400, 640), 16), [*walk((40, 640), (400, 640), 8, first=6), *away]
    assert "arrives by" not in judged(NIGHT, ("bicycle", [*stood, *away]), ("person", comes)).reasoning


RINGS = [
    *walk((300, 300), (1000, 640), 9),
    *stand((1000, 640), 20, first=10),
    *walk((1000, 640), (300, 300), 9, first=31),
]
WORKS = [*walk((300, 300), (1000, 640), 9), *stand((1000, 640), 60, first=10)]


def test_who_works_at_the_door_while_people_are_asleep_is_high_and_no_answer_changes_that():
    assert {level(NIGHT, ("person", RINGS)), level(EVENING, ("person", WORKS))} <= {"low", "medium"}
    fine = Term(-25, "you called 5 of 5 such visits fine")
    terms = rules(sightings(NIGHT, ("person", WORKS)), zones=ZONES, learned=lambda signature: fine).terms()
    assert any(term.is_hard and term.why.startswith("at the door for") for term in terms)
    assert level(NIGHT, ("person", WORKS)) == "high"


def test_who_stands_about_on_the_way_to_the_door_is_on_own_ground():
    pauses = [
        *walk((300, 300), (650, 470), 5),
        *stand((650, 470), 12, first=6),
        *walk((650, 470), (1000, 640), 5, first=19),
    ]
    assert _place(EVENING, ("person", pauses)) == "private"
    assert _place(EVENING, ("person", walk((300, 300), (1000, 640), 9))) == "own_door"


def _place(start, *objects):
    return rules(sightings(start, *objects), zones=ZONES).signature().place


def test_who_came_out_of_the_door_in_the_last_event_still_lives_here_and_who_climbed_in_does_not():
    seen = sightings(NIGHT + timedelta(seconds=60), ("person", stand((500, 600), 30)))
    alone = rules(seen, zones=ZONES)
    for came, terms in (((1000, 640), "comes from the own door"), ((40, 600), "")):
        last = sightings(NIGHT, ("person", [*walk(came, (500, 600), 9), *stand((500, 600), 45, first=10)]))
        before = rules(last, zones=ZONES).handover()
        now = rules(seen, zones=ZONES, before=before)
        assert ("comes from the own door" in str(now.terms())) == bool(terms)
        assert "was there before" not in str(now.terms())
    assert risk_level(now.score()) == "high" and risk_level(alone.score()) == "low", "without it, a statue"
    glimpse = sightings(NIGHT + timedelta(seconds=56), ("person", [(0, 500, 600)]), sure=0.4)
    between = rules(glimpse, zones=ZONES, before=before).handover()
    assert rules(seen, zones=ZONES, before=between).score() == now.score(), "a weak sighting hands on who it was"


VISITS = [*walk((100, 500), (500, 600), 6), *stand((500, 600), 4, first=7), *walk((500, 600), (100, 520), 6, first=12)]


@pytest.mark.parametrize(
    ("visit", "after", "back", "returns"),
    [
        (VISITS, 200, (110, 520), True),  # nearer than a step from where the visitor disappeared behind a hedge
        (VISITS, 200, (110, 470), True),
        (VISITS, 20, (110, 520), False),  # a bush hid it for a moment
        (VISITS, 400, (110, 520), False),
        (VISITS, 200, (600, 400), False),  # from elsewhere
        (walk((1200, 500), (100, 520), 18), 200, (110, 520), False),  # it only passed
    ],
)
def test_who_came_nearer_and_comes_again_from_there_in_the_next_event_returns(visit, after, back, returns):
    before = rules(sightings(NIGHT, ("person", visit)), zones=ZONES).handover()
    seen = sightings(NIGHT + timedelta(seconds=17 + after), ("person", walk(back, (300, 560), 8)))
    now = rules(seen, zones=ZONES, before=before)
    assert ("returns" in str(now.terms())) == returns


def judged(start, *objects, zones=ZONES, **known):
    seen = sightings(start, *objects)
    return rules(seen, zones=zones, **known).verdict(facts(seen))


def test_a_verdict_reads_like_a_sentence():
    verdict = judged(NIGHT, ("person", CROSSES))
    assert verdict.summary == "1 person for 7 s at the porch, 02:13"
    assert verdict.reasoning.startswith("person +20, on own ground in the dark +37, while people are asleep +6")
    assert verdict.reasoning.endswith(f": {verdict.risk_score} of 100, by the rules")


LOW = (80, 110)  # of one who crouches where it would stand 60 wide and 160 high


@pytest.mark.parametrize("posture", [None, LOW])
def test_a_stranger_who_crouches_in_the_dark_is_graver_and_by_day_it_is_work_in_the_garden(posture):
    comes = [*walk((40, 600), (500, 600), 5), *stand((500, 600), 3, first=6)]
    stays = [(second, x, y, posture or (60, 160)) for second, x, y in stand((500, 600), 9, first=10)]
    for start, dark in ((EVENING, True), (NOON, False)):
        reasoning = judged(start, ("person", [*comes, *stays]), dark=dark).reasoning
        assert ("crouches +12" in reasoning) == (dark and posture is not None)
    seconds = 7  # too short
    assert "crouches" not in judged(EVENING, ("person", [*comes, *stays[:seconds]]), dark=True).reasoning
    resident = ("person", [*walk((1000, 640), (500, 600), 5), *stays])
    assert "crouches" not in judged(EVENING, resident, dark=True).reasoning


def test_who_stays_about_on_own_ground_in_the_dark_is_graver_than_who_crosses_it():
    paces = [*walk((40, 600), (600, 600), 8), *walk((600, 600), (100, 600), 8, first=9), *walk((100, 600), (600, 600), 14, first=18)]  # fmt: skip
    assert "stays about +8" in judged(EVENING, ("person", paces), dark=True).reasoning
    assert "stays about" not in judged(EVENING, ("person", paces[:20]), dark=True).reasoning
    assert "stays about" not in judged(NOON, ("person", paces), dark=False).reasoning


def test_a_visitor_who_goes_on_from_the_door_over_own_ground_is_graver_than_one_who_goes_back():
    rings = [*walk((300, 300), (1000, 640), 9), *stand((1000, 640), 8, first=10)]
    on = [*rings, *walk((1000, 640), (400, 680), 5, first=19), *walk((400, 680), (60, 690), 9, first=25)]
    back = [*rings, *walk((1000, 640), (300, 300), 9, first=19)]
    for start in (NOON, EVENING):
        assert "goes elsewhere from the door +16" in judged(start, ("person", on), dark=start == EVENING).reasoning
        assert "elsewhere" not in judged(start, ("person", back), dark=start == EVENING).reasoning


def test_by_day_a_long_stay_at_the_own_door_counts_but_not_of_one_who_lives_here_or_came_by_car():
    waits = [*walk((300, 300), (1000, 640), 9), *stand((1000, 640), 45, first=10)]
    assert "at the door for 48 s +20" in judged(NOON, ("person", waits)).reasoning
    assert level(NOON, ("person", waits)) == "medium"
    assert "at the door for" not in judged(NOON, ("person", waits[:45])).reasoning
    lives = ("person", [*stand((1000, 640), 50), *walk((1000, 640), (300, 640), 9, first=51)])
    assert "at the door for" not in judged(NOON, lives).reasoning
    comes = ("car", [*walk((40, 640), (300, 640), 4), *stand((300, 640), 60, first=5)])
    out = [*stand((340, 650), 2, first=9), *walk((340, 650), (1000, 640), 6, first=12), *stand((1000, 640), 45, first=19)]  # fmt: skip
    assert "at the door for" in judged(NOON, ("person", out)).reasoning
    assert "at the door for" not in judged(NOON, comes, ("person", out)).reasoning


def test_two_by_day_are_less_grave_than_one():
    one, other = ("person", CROSSES), ("person", [(t, x + 150, y) for t, x, y in CROSSES])
    assert score(NOON, one, other) == score(NOON, one) - 8
    assert "in company" not in judged(EVENING, one, other, dark=True).reasoning


def test_who_falls_on_public_ground_is_high_and_stays_so_whatever_was_answered():
    falls = [*walk((40, 300), (500, 300), 5), *[(6 + n, 540, 305, (150, 50)) for n in range(9)]]
    fine = Term(-25, "you called 5 of 5 such visits fine")
    judge = rules(sightings(NOON, ("person", falls)), zones=ZONES, learned=lambda signature: fine)
    assert any(term == Term(45, "lies down", True) for term in judge.terms()) and judge.score() >= 60
    spot = [*stand((500, 560), 3), *[(4 + n, 500, 562, (150, 50)) for n in range(12)]]
    assert score(NOON, ("person", spot)) >= 60, "on the spot, so it is no statue"


def test_a_bear_is_one_that_is_mostly_seen_as_a_bear_and_moves():
    size = (120, 80)
    way = [(n, 300 + 30 * n, 600, size) for n in range(12)]

    def seen(bears, sure, path=way):
        kinds = {"bear": [at for at in path if at[0] in bears], "dog": [at for at in path if at[0] not in bears]}
        return rules(sightings(NOON, *kinds.items(), sure=sure), zones=ZONES).score()

    assert seen({0, 1, 2, 4, 5, 7, 8}, 0.5) == seen({0}, 0.9, way[:1]) == 65
    assert seen({0}, 0.5, way[:1]) == seen({0}, 0.5) == seen({3, 9}, 0.9) == 8, "a dog, now and then"
    carved = [(5 * n, 300, 600, size) for n in range(5)]
    assert seen({5 * n for n in range(5)}, 0.6, carved) < 30


def test_a_bag_at_the_own_door_is_taken_when_it_is_carried_away_and_not_when_it_goes_in():
    bag = ("suitcase", stand((1000, 650), 12))
    comes = [*walk((300, 300), (990, 640), 9), *stand((990, 640), 4, first=10)]
    home = [*comes, *stand((1000, 640), 5, first=15)]
    off = [*comes, *walk((990, 640), (300, 300), 8, first=15)]
    carried = ("suitcase", [*stand((1000, 650), 13), *[(t, x + 30, y) for t, x, y in off if t >= 15]])
    assert level(NOON, ("person", off), carried) == "high"
    inside = ("suitcase", [*stand((1000, 650), 13), *[(15 + n, 1035 + 2 * n, 640) for n in range(4)]])
    assert level(NOON, ("person", home), inside) == "low"
    assert level(NOON, ("person", comes), bag) == "low"


def test_what_a_person_brought_is_not_taken_by_the_same_person():
    brings = [*walk((300, 300), (900, 560), 7), *stand((900, 560), 6, first=8), *walk((900, 560), (300, 300), 7, first=15)]  # fmt: skip
    box = ("suitcase", [*stand((980, 565), 5, first=3), *[(10 + n, 860 - 70 * n, 540 - 30 * n) for n in range(4)]])
    assert "takes" not in judged(NOON, ("person", brings), box).reasoning


THEFT = (
    ("person", [*walk((40, 500), (600, 500), 7), *stand((610, 500), 3, first=8), *walk((560, 500), (40, 480), 7, first=12)]),
    ("bicycle", [*stand((600, 500), 11), *walk((560, 500), (40, 480), 7, first=12)]),
)  # fmt: skip


def test_a_bicycle_that_is_taken_is_told_by_day_and_cites_the_bicycle_and_the_person():
    verdict = judged(NOON, *THEFT)
    assert verdict.risk_level == "high" and "takes a bicycle +45" in verdict.reasoning
    assert verdict.summary.startswith("Bicycle taken at the porch, 12:00 (1 person")
    kinds = {s.object_type for s in sightings(NOON, *THEFT) if s.id in verdict.evidence}
    assert kinds == {"person", "bicycle"}
    stays = THEFT[0], ("bicycle", stand((600, 500), 19))
    assert level(NOON, *stays) == "low"


@pytest.mark.parametrize("start", [NIGHT, NOON])
def test_cars_that_pass_are_low(start):
    assert level(start, ("car", walk((100, 300), (1100, 300), 4))) == "low"


def test_dark_is_what_the_factory_says_and_else_the_clock_of_the_camera():
    crosses = sightings(NOON, ("person", CROSSES))
    by_day, dark = (rules(crosses, zones=ZONES, dark=dark) for dark in (False, True))
    assert by_day.score() < dark.score()
    sofia = timezone(timedelta(hours=2))
    seen = facts(sightings(EVENING, ("person", CROSSES)))
    assert judge(seen, sofia).risk_score > judge(seen, UTC).risk_score
    assert judge(seen, sofia).summary.endswith("23:00")


@given(st.integers(-18, 12), st.integers(-30, 15), st.booleans())
def test_what_is_normal_and_what_was_answered_are_terms_that_never_cancel_hard_ones(usual, answer, lies):
    path = [*walk((100, 500), (400, 560), 4), *[(5 + i, 420, 560, (150, 50)) for i in range(12)]]
    objects = ("person", path if lies else CROSSES)
    known = {"normal": lambda _: Term(usual, "usual"), "learned": lambda _: Term(answer, "answered", True)}
    plain, heard = (rules(sightings(NIGHT, objects), zones=ZONES, **k) for k in ({}, known))
    assert {t for t in plain.terms() if "hard sign" not in t.why} <= set(heard.terms())
    assert not any(term.is_hard for term in heard.terms() if term.why == "answered")
    hard = sum(term.points for term in heard.terms() if term.is_hard)
    assert hard or not lies
    assert heard.score() >= min(100, hard)
    if not lies:
        assert heard.score() == max(0, plain.score() + usual + answer) or heard.score() > module.SOFT


def test_events_are_alike_by_place_kind_own_door_hour_and_workday():
    leaving, passing = (rules(sightings(NIGHT, ("person", way)), zones=ZONES).signature() for way in (GOES_OUT, PASSES))
    assert leaving == passing._replace(place="own_door", from_own_door=True)
    assert passing[1:5] == ("public", "person", False, NIGHT.hour)


def test_a_score_is_the_sum_clipped_and_at_least_the_kind_and_the_hard_terms():
    assert total([Term(20, "person"), Term(-50, "usual")]) == 0
    assert total([Term(20, "person"), Term(45, "lies", True), Term(-50, "usual")]) == 65
    assert total([Term(20, "person"), Term(90, "much")]) == 100


def test_a_camera_name_that_is_no_plain_words_stays_as_it_is():
    assert place("back_yard") == "at the back yard"
    assert place("CAM-3") == "at CAM-3"


def test_evidence_is_the_surest_of_each_kind_and_what_is_decisive():
    seen = sightings(NOON, ("person", stand((300, 400), 5)), ("car", stand((800, 400), 5)))
    assert evidence(seen) == (512, 513, 1024, 1025, 1536, 1537)
    assert evidence(seen, {6 * 512, 99}) == (512, 513, 1024, 1025, 1536, 1537, 3072)


PLACES = st.tuples(st.integers(0, 1200), st.integers(200, 719))
ANY = st.tuples(
    st.sampled_from(["person", "person", "car", "bicycle", "package"]),
    st.builds(walk, PLACES, PLACES, st.integers(1, 20), first=st.integers(0, 10)),
)
OBJECTS = st.lists(ANY, min_size=1, max_size=6)
few = settings(max_examples=40, deadline=None)


@few
@given(OBJECTS, st.booleans(), st.randoms())
def test_every_verdict_is_in_bounds_cites_the_event_and_ignores_the_order_of_boxes(objects, dark, rnd):
    seen = sightings(NIGHT, *objects)
    verdict = rules(seen, zones=ZONES, dark=dark).verdict(facts(seen))
    assert 0 <= verdict.risk_score <= 100 and verdict.summary and verdict.reasoning
    assert verdict.evidence and set(verdict.evidence) <= {s.id for s in seen}
    assert {s.object_type for s in seen if s.id in verdict.evidence} == {s.object_type for s in seen}
    shuffled = sorted(seen, key=lambda s: (s.at, rnd.random()))
    assert rules(shuffled, zones=ZONES, dark=dark).terms() == rules(seen, zones=ZONES, dark=dark).terms()


@few
@given(OBJECTS, st.integers(2, 3))
def test_the_score_does_not_depend_on_the_size_of_the_picture(objects, times):
    seen = sightings(NIGHT, *objects)
    larger = [s._replace(x=s.x * times, y=s.y * times, width=s.width * times, height=s.height * times) for s in seen]
    size = (1280 * times, 720 * times)
    assert rules(larger, zones=ZONES, size=size).terms() == rules(seen, zones=ZONES).terms()


@few
@given(OBJECTS, st.integers(0, 23))
def test_darkness_never_lowers_a_score(objects, hour):
    seen = sightings(NIGHT.replace(hour=hour), *objects)
    assert rules(seen, zones=ZONES, dark=True).score() >= rules(seen, zones=ZONES, dark=False).score()


BRIEF = st.tuples(st.just("person"), st.builds(stand, PLACES, st.just(0), first=st.integers(0, 20)))


CAR = ("car", stand((150, 650), 20))
# what a person's terms depend on changes while the person is not seen
HOME = [CAR, ("person", COMES_HOME)]
JOINED = [CAR, ("person", walk((420, 650), (520, 650), 2, first=2)), ("person", stand((1100, 700), 2, first=18))]
RAIN = [
    ("person", walk((300, 600), (500, 600), 4)),
    *(("person", stand((200 * n, 650), 0, first=20)) for n in range(1, 7)),
]
TRIED = [("person", stand((460, 660), 3, every=3)), *(("car", stand((x, 650), 12, every=3)) for x in (300, 620))]
BICYCLE = ("bicycle", stand((600, 600), 8))
TAKEN = [BICYCLE, ("person", walk((100, 600), (560, 600), 4, first=4)), ("person", stand((1200, 250), 10, first=9))]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(ANY, BRIEF), min_size=1, max_size=10), st.sampled_from([0.6, 0.9]))
@example(HOME, 0.9)
@example(JOINED, 0.9)
@example(RAIN, 0.6)
@example(TRIED, 0.9)
@example(TAKEN, 0.9)
def test_asked_after_every_picture_it_says_what_a_new_judge_says(objects, sure):
    seen = sightings(NIGHT, *objects, sure=sure)
    asked = RulesJudge(Surroundings("porch", seen[0].at, 1280, 720, zones=tuple(ZONES)), UTC)
    for frame, boxes in groupby(seen, key=lambda s: s.frame_id):
        picture = list(boxes)
        asked.add(picture[0].at, Counter(s.object_type for s in picture), partial(list, picture))
        assert asked.terms() == rules([s for s in seen if s.frame_id <= frame], zones=ZONES).terms()


@few
@given(OBJECTS)
def test_what_bounds_the_work_changes_no_verdict_of_an_ordinary_event(objects):
    seen = sightings(NIGHT, *objects)
    bounded = rules(seen).terms()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAIR_MICROSECONDS", 0)
        assert bounded == rules(seen).terms()


def test_of_a_crowd_at_ten_pictures_a_second_fewer_pictures_are_read():
    seen = sightings(NOON, *[("person", walk((60 * n, 400), (60 * n + 30, 400), 90, every=0.1)) for n in range(20)])
    judge, read = RulesJudge(Surroundings("street", seen[0].at, 1280, 720), UTC), []
    pictures = [seen[20 * n : 20 * n + 20] for n in range(900)]
    for n, boxes in enumerate(pictures):
        judge.add(boxes[0].at, {"person": 20}, lambda n=n, boxes=boxes: read.append(n) or boxes)
    least = (module.PICTURE_PAIRS + 20**2) * module.PAIR_MICROSECONDS
    assert (len(read) - 2) * least <= 90e6 + module.CREDIT_MICROSECONDS
    assert max(b - a for a, b in pairwise([*read, 900])) <= 120, "a track is lost after twelve seconds"


@pytest.mark.parametrize("seed", range(3))
def test_however_much_is_seen_there_is_a_verdict_over_it(seed):
    chance = random.Random(seed)
    kinds = ["person", "package", "kite"]
    seen = [
        Sighting((i + 1) * 512 + n, i * 30_000, chance.choice(kinds), 0.9, chance.randrange(600), chance.randrange(300), 30, 1 + i % 99)
        for i in range(600) for n in range(chance.randrange(1, 60))
    ]  # fmt: skip
    rare = Sighting(100 * 512 + 80, 100 * 30_000, "bear", 0.9, 1, 1, 30, 30)  # in a picture that is passed over
    heard = judge(Facts(1, "c", "Porch", 0, seen[-1].at, 600, 640, 360, tuple(sorted([*seen, rare]))), UTC)
    assert heard.reasoning.startswith("bear +65") and rare.id in heard.evidence
