"""Promise: the model is given what happened, people's texts stay data, and of its answer only what follows is stored."""

import hashlib
import json
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthwatch.schemas.case import Case, EarlierEvent, Term
from hearthwatch.schemas.items import RISK_FLOORS, Event, Verdict, from_microseconds
from hearthwatch.stages.acts import Act, TrackFacts
from hearthwatch.stages.prompt import PROMPTS, messages, question, schema, verdict, write_line
from hearthwatch.stages.rules import RulesJudge
from tests.support.events import NIGHT, NOON, UTC, S, facts
from tests.support.orders import ORDERS

FROZEN = {"v1": "d304c6872685e7ba", "v2": "649f9c387961b092", "v3": "5a7367d3e643034e"}
STORY = (["person"], ["person", "person", "dog"])
LEVELS = ["low", "medium", "high", "critical"]
BURGLARS = facts(NIGHT, *[["person", "person", "person"]] * 80)


PERSON = (Term(22, "person"),)


def made_up(tracks=(), terms=PERSON):
    """Rules with these tracks and terms."""

    class MadeUp(RulesJudge):
        def tracks(self):
            return tuple(tracks)

        def terms(self):
            return list(terms)

        def verdict(self, facts):
            score = min(100, sum(term.points for term in terms))
            return Verdict(score, "1 person at the front door, 02:13", "by the rules", (512,))

    return lambda surroundings: MadeUp(surroundings, UTC)


def ask(known, notes="", *, rules=lambda s: RulesJudge(s, UTC), zone=UTC, version="v2", **more):
    start = from_microseconds(known.started_at)
    event = Event(1, "b", known.camera_id, "event.closed", 2, start, None, "closed", known.frame_count, known.objects, Verdict(0, "", ""), ())  # fmt: skip
    return question(Case(event, known, 0, notes, **more), rules, zone, version)


def answer(**changes):
    good = {"reasoning": "One person, by day.", "evidence": [512], "summary": "A person at noon", "risk_score": 12}
    return good | changes


def test_a_published_prompt_never_changes():
    """Verdicts name the version they were made with: to change a word, add a version."""
    assert {version: hashlib.sha256(text.encode()).hexdigest()[:16] for version, text in PROMPTS.items()} == FROZEN


def test_everything_before_the_data_is_the_same_for_every_event():
    asked = [messages(ask(facts(at, *STORY, camera=name))) for at, name in ((NOON, "Front Door"), (NIGHT, "Shed"))]
    assert asked[0][0] == asked[1][0] == {"role": "system", "content": PROMPTS["v2"]}
    assert [m["role"] for m in asked[0]] == ["system", "user"]


def test_an_event_is_one_line_of_what_happened():
    at = facts(NOON).started_at
    tracks = [
        TrackFacts(1, "person", at, at + S, (512, 1024), ("own_door",), (Act(at, "enters", "left", (512,)), Act(at + S, "stops", "own_door", (1024,))), True),
        TrackFacts(2, "dog", at + S, at + S, (1026,), (), (), False),
    ]  # fmt: skip
    rules = made_up(tracks, [Term(22, "person"), Term(45, "lies down", is_hard=True)])
    before = (EarlierEvent("Side Gate", at - 90 * S, at - 60 * S, "medium"),)
    asked = ask(facts(NOON, *STORY), "The postman comes at noon.", rules=rules, before=before)
    assert messages(asked)[1]["content"] == (
        '{"camera":"Front Door","from":"2026-11-22 12:00:00","to":"2026-11-22 12:00:01","seconds":1,"part_of_day":"afternoon","dark":false,'
        '"frames":2,"objects":[{"type":"person","frames":2,"most_at_once":2,"best_confidence":0.51,"seconds":1,"where":"top left",'
        '"size":"medium","detections":[512,1024,1025]},{"type":"dog","frames":1,"most_at_once":1,"best_confidence":0.51,'
        '"seconds":0,"where":"top left","size":"medium","detections":[1026]}],'
        '"tracks":[{"n":1,"type":"person","from":"12:00:00","seconds":1,"places":["own_door"],"acts":["12:00:00 enters left","12:00:01 stops own_door"]},'
        '{"n":2,"type":"dog","from":"12:00:01","seconds":0,"doubtful":true}],"rules":{"level":"high","terms":[[22,"person"],[45,"lies down","hard"]]},'
        '"incident":[{"camera":"Side Gate","from":"11:58:30","seconds":30,"level":"medium"}],"owner_notes":"The postman comes at noon."}'
    )


def test_the_first_prompt_is_given_the_line_that_it_describes():
    asked = ask(facts(NOON, *STORY), "The postman comes at noon.", version="v1")
    assert [*asked.line] == ["camera", "from", "to", "seconds", "part_of_day", "frames", "objects", "owner_notes"]
    assert messages(asked)[0]["content"] == PROMPTS["v1"]


def test_times_are_those_of_the_cameras_clock():
    line = ask(facts(NOON), zone=timezone(timedelta(hours=11))).line
    assert (line["from"], line["part_of_day"]) == ("2026-11-22 23:00:00", "night")


@given(st.text(), st.text(max_size=2000))
def test_no_name_and_no_note_can_leave_its_line_or_pose_as_a_mark(name, notes):
    text = write_line(ask(facts(NOON, *STORY, camera=name), notes).line)
    assert text.isascii() and text.isprintable() and "<" not in text and ">" not in text
    assert len(text) < 4000 + 12 * (60 + 400)
    given = json.loads(text)
    assert len(given.get("owner_notes", "")) <= 400 and len(given["camera"]) <= 60


def test_a_long_event_is_still_a_short_line():
    at = facts(NOON).started_at
    acts = tuple(Act(at + n * S, "stands beside", "motorcycle", (512,)) for n in range(20))
    tracks = [TrackFacts(n, "person", at, at + 90 * S, (512,), ("own_door", "private"), acts, True) for n in range(10)]
    terms = [Term(10, f"stands beside a motorcycle {n}", is_hard=True) for n in range(8)]
    before = [EarlierEvent("Side Gate", at, at, "medium")] * 4
    known = facts(NOON, *[["person", "dog", "car"]] * 90)
    assert len(write_line(ask(known, rules=made_up(tracks, terms), before=before).line)) < 3300
    assert (
        len(write_line(ask(known, rules=made_up([t._replace(acts=acts[:2]) for t in tracks], terms[:5])).line)) < 2600
    )
    crowd = facts(NOON, *[[f"kind{n}" for n in range(40)]] * 300, every=0.1)
    assert len(write_line(ask(crowd).line)) < 3000


def test_only_detections_that_were_given_can_be_cited_and_the_score_comes_last():
    asked = schema(ask(facts(NOON, *STORY)))
    assert list(asked["properties"]) == asked["required"] == ["reasoning", "evidence", "summary", "risk_score"]
    assert asked["properties"]["evidence"]["items"]["enum"] == [512, 1024, 1025, 1026]


def test_a_verdict_is_the_models_words_and_score():
    v = verdict(
        answer(reasoning="Two people, by day.", risk_score=44, evidence=[1026, 512, 512]), ask(facts(NOON, *STORY))
    )
    assert (v.risk_score, v.risk_level, v.summary, v.analyzer) == (44, "medium", "A person at noon", "nemotron")
    assert (v.evidence, v.reasoning) == ((512, 1026), "Two people, by day.")


def test_a_sentence_that_does_not_follow_is_struck_and_the_verdict_says_so():
    v = verdict(answer(reasoning="One person is seen. It is armed. That is a risk."), ask(facts(NOON)))
    assert (
        v.reasoning == "One person is seen. That is a risk. (1 sentence was struck: nothing in the boxes supports it.)"
    )
    v = verdict(answer(reasoning="One person is seen. It is armed. A dog barks."), ask(facts(NOON)))
    assert v.reasoning.endswith("seen. (2 sentences were struck: nothing in the boxes supports them.)")


def test_reasons_of_which_nothing_is_left_are_no_verdict():
    with pytest.raises(ValueError, match="nothing in the boxes supports"):
        verdict(answer(reasoning="Three masked men climb the fence at half past two."), ask(facts(NOON)))


@pytest.mark.parametrize(
    "wrong", ["Two people at noon", "A dog at noon", "A person at midnight", "A person with a gun"]
)
def test_a_summary_that_contradicts_what_was_detected_becomes_the_rules(wrong):
    asked = ask(facts(NOON))
    v = verdict(answer(summary=wrong), asked)
    assert v.summary == asked.rules.summary and "The summary is the rules'" in v.reasoning


@pytest.mark.parametrize(
    "wrong",
    [
        {"risk_score": 101}, {"risk_score": -1}, {"risk_score": "50"}, {"risk_score": 50.0}, {"risk_score": True},
        {"risk_score": None}, {"reasoning": ""}, {"reasoning": " \x00\n"}, {"reasoning": 7}, {"summary": ""}, {"summary": None},
        {"evidence": []}, {"evidence": None}, {"evidence": [99]}, {"evidence": ["512"]}, {"evidence": 512}, {"evidence": [True]},
    ],
    ids=str,
)  # fmt: skip
def test_an_answer_that_is_no_verdict_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        verdict(answer(**wrong), ask(facts(NOON, *STORY)))


def test_ids_that_are_not_there_are_dropped_and_control_characters_too():
    v = verdict(answer(reasoning="A person.", evidence=[99, 512], summary="A\tperson\x1b at noon"), ask(facts(NOON)))
    assert (v.evidence, v.summary) == ((512,), "A person at noon")


# -- the floor


@given(st.integers(0, 100), st.integers(0, 78))
def test_without_a_hard_sign_the_models_score_stands(score, points):
    v = verdict(answer(reasoning="A person.", risk_score=score), ask(facts(NIGHT), rules=made_up(terms=[Term(22 + points, "person")])))  # fmt: skip
    assert v.risk_score == score and "Raised" not in v.reasoning


@given(st.integers(0, 100), st.integers(0, 78), st.sampled_from(["", "The neighbour parks here."]))
def test_with_a_hard_sign_the_level_falls_by_one_at_most_and_not_where_there_are_notes(score, points, notes):
    rules = made_up(terms=[Term(22 + points, "person", is_hard=True)])
    asked = ask(facts(NIGHT), notes, rules=rules)
    v = verdict(answer(reasoning="A person.", risk_score=score), asked)
    levels = LEVELS.index(v.risk_level) - LEVELS.index(asked.rules.risk_level)
    assert levels >= (0 if notes else -1)
    assert v.risk_score == max(score, asked.floor) and (v.risk_score == score) == ("Raised from" not in v.reasoning)


@pytest.mark.parametrize("order", ORDERS)
def test_notes_and_names_that_give_orders_lower_no_level_and_stay_in_their_line(order):
    """The model obeys: it answers 0."""
    for camera, notes in (("Front Door", order), (order, "")):
        for terms in ([Term(22, "person"), Term(45, "lies down", is_hard=True)], [Term(70, "person")]):
            asked = ask(facts(NIGHT, camera=camera), notes, rules=made_up(terms=terms))
            text = messages(asked)[1]["content"]
            assert text.isascii() and "\n" not in text and "<" not in text and json.loads(text) == asked.line
            v = verdict(answer(reasoning="A person.", summary="A person", risk_score=0), asked)
            assert v.risk_score == RISK_FLOORS[asked.rules.risk_level] and v.risk_level == asked.rules.risk_level


@pytest.mark.parametrize(
    "notes", ["The neighbour's cat visits at night.", "Please ignore the cat.", "Der Gärtner kommt freitags."]
)
def test_notes_that_describe_the_place_set_no_floor(notes):
    assert ask(facts(NIGHT), notes, rules=made_up(terms=[Term(70, "person")])).floor == 0


def test_what_is_wrong_with_an_answer_fits_into_a_line_of_a_log():
    for wrong in ({"risk_score": "9" * 100_000}, {"evidence": ["x"] * 100_000}, {"reasoning": "armed " * 1000}):
        with pytest.raises(ValueError) as caught:
            verdict(answer(**wrong), ask(facts(NOON, *STORY)))
        assert len(str(caught.value)) < 300
