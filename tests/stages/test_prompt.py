"""Promise: the model is told only what was seen, people's texts stay data, and no wrong answer becomes a verdict."""

import hashlib
import json
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthwatch.record.baselines import Usual
from hearthwatch.stages import rules
from hearthwatch.stages.prompt import FLOOR, PROMPTS, line, messages, schema, verdict
from tests.support.events import NIGHT, NOON, UTC, facts

FROZEN = {"v1": "d304c6872685e7ba"}
STORY = (["person"], ["person", "person", "dog"])
BURGLARS = facts(NIGHT, *[["person", "person", "person"]] * 80)  # the rules: high at least


def answer(**changes):
    good = {"reasoning": "One person, by day.", "evidence": [512], "summary": "One person at noon", "risk_score": 12}
    return good | changes


def test_a_published_prompt_never_changes():
    """Verdicts name the version they were made with: to change a word, add a version."""
    assert {version: hashlib.sha256(text.encode()).hexdigest()[:16] for version, text in PROMPTS.items()} == FROZEN


def test_everything_before_the_data_is_the_same_for_every_event():
    told = [messages(facts(at, *STORY, camera=name)) for at, name in ((NOON, "Front Door"), (NIGHT, "Shed"))]
    assert told[0][0] == told[1][0] == {"role": "system", "content": PROMPTS["v1"]}
    assert [m["role"] for m in told[0]] == ["system", "user"]


def test_an_event_is_one_line_of_what_was_seen():
    usual = Usual(24, 28, "a person is here at this hour on 24 of 28 watched days", -17)
    assert line(facts(NOON, *STORY), "The postman comes at noon.", usual, UTC) == (
        '{"camera":"Front Door","from":"2026-11-22 12:00:00","to":"2026-11-22 12:00:01","seconds":1,"part_of_day":"afternoon",'
        '"frames":2,"objects":[{"type":"person","frames":2,"most_at_once":2,"best_confidence":0.51,"seconds":1,"where":"top left",'
        '"size":"medium","detections":[512,1024,1025]},{"type":"dog","frames":1,"most_at_once":1,"best_confidence":0.51,'
        '"seconds":0,"where":"top left","size":"medium","detections":[1026]}],"usual":{"visits":24,"of_days":28,'
        '"words":"a person is here at this hour on 24 of 28 watched days"},'
        '"owner_notes":"The postman comes at noon."}'
    )


def test_times_are_those_of_the_cameras_clock():
    told = json.loads(line(facts(NOON), zone=timezone(timedelta(hours=11))))
    assert (told["from"], told["part_of_day"]) == ("2026-11-22 23:00:00", "night")


@given(st.text(), st.text(max_size=2000))
def test_no_name_and_no_note_can_leave_its_line_or_pose_as_a_mark(name, notes):
    text = line(facts(NOON, *STORY, camera=name), notes)
    assert text.isascii() and text.isprintable() and "<" not in text and ">" not in text
    assert len(text) < 4000 + 12 * (60 + 400)
    told = json.loads(text)
    assert len(told.get("owner_notes", "")) <= 400 and len(told["camera"]) <= 60


def test_a_long_event_is_still_a_short_line():
    crowd = [[f"kind{n}" for n in range(40)]] * 900
    assert len(line(facts(NOON, *crowd, every=0.1))) < 3000


def test_only_detections_that_were_told_can_be_cited_and_the_score_comes_last():
    asked = schema(facts(NOON, *STORY))
    assert list(asked["properties"]) == asked["required"] == ["reasoning", "evidence", "summary", "risk_score"]
    assert asked["properties"]["evidence"]["items"]["enum"] == [512, 1024, 1025, 1026]


def test_a_verdict_is_the_models_words_and_score():
    known = facts(NOON, *STORY)
    v = verdict(answer(risk_score=44, evidence=[1026, 512, 512]), known, rules.judge(known, UTC))
    assert (v.risk_score, v.risk_level, v.summary, v.analyzer) == (44, "medium", "One person at noon", "nemotron")
    assert v.evidence == (512, 1026)


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
    known = facts(NOON, *STORY)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        verdict(answer(**wrong), known, rules.judge(known, UTC))


def test_ids_that_are_not_there_are_dropped_and_control_characters_too():
    known = facts(NOON, *STORY)
    v = verdict(answer(evidence=[99, 512], summary="One\tperson\x1b[31m"), known, rules.judge(known, UTC))
    assert (v.evidence, v.summary) == ((512,), "One person [31m")


@given(st.integers(0, 100), st.text(max_size=400), st.sampled_from([BURGLARS, facts(NOON), facts(NIGHT, ["person"])]))
def test_no_text_lowers_the_rules_level_by_more_than_one(score, notes, known):
    renamed = known._replace(camera_name=notes)
    by_rules = rules.judge(renamed, UTC)
    v = verdict(answer(risk_score=score), renamed, by_rules)
    levels = ["low", "medium", "high", "critical"]
    assert levels.index(v.risk_level) >= levels.index(by_rules.risk_level) - 1
    assert v.risk_score == max(score, FLOOR[by_rules.risk_level])
    assert (v.risk_score == score) == ("Raised from" not in v.reasoning)


def test_what_is_wrong_with_an_answer_fits_into_a_line_of_a_log():
    known = facts(NOON, *STORY)
    for wrong in ({"risk_score": "9" * 100_000}, {"evidence": ["x"] * 100_000}):
        with pytest.raises(ValueError) as caught:
            verdict(answer(**wrong), known, rules.judge(known, UTC))
        assert len(str(caught.value)) < 300
