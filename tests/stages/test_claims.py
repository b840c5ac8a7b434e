"""Promise: of what a language model writes, only what follows from the line is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthwatch.stages.claims import check, unsupported
from tests.long import claims, claims_fourth, claims_held_back, claims_second, claims_third

LINE = {
    "camera": "Back Yard", "from": "2026-05-05 02:31:40", "to": "2026-05-05 02:32:52", "seconds": 72, "part_of_day": "night", "dark": True, "frames": 31,
    "objects": [
        {"type": "person", "frames": 31, "most_at_once": 2, "best_confidence": 0.91, "seconds": 72, "where": "middle left", "detections": [512]},
        {"type": "package", "frames": 9, "most_at_once": 1, "best_confidence": 0.8, "seconds": 30, "where": "bottom left", "detections": [513]},
    ],
    "tracks": [
        {"n": 1, "type": "person", "from": "02:31:40", "seconds": 72, "places": ["private", "window"], "acts": ["02:31:41 enters left", "02:31:59 stops window", "02:32:20 takes package", "02:32:50 leaves right"]},
        {"n": 2, "type": "person", "from": "02:31:44", "seconds": 60},
    ],
    "rules": {"level": "high", "terms": [[22, "person"], [45, "takes a package", "hard"], [-12, "a person is here at this hour on 24 of 28 watched nights"]]},
    "incident": [{"camera": "Side Gate", "from": "02:20:10", "seconds": 15, "level": "low"}],
    "owner_notes": "The gardener comes on Fridays.",
}  # fmt: skip


@pytest.mark.parametrize(
    "sentence",
    [
        "Two people in the back yard for 72 s at night, 02:31.", "Two people stay in the back yard for over a minute at half past two at night.",
        "One of the people stops at the window at 02:31:59.", "A person takes a package and leaves to the right.", "They were at the side gate before, at 02:20.",
        "This may be a resident who comes home late.", "A person is here at this hour on 24 of 28 watched nights.", "The rules add 45 points because it takes a package.",
        "No dog was seen.", "The owner notes say that the gardener comes on Fridays, but this is a Tuesday.", "No one runs.", "The person does not lie on the ground.",
        "The best confidence is 0.91, so the detections are sure.", "In all 31 frames there are people.", "Nothing suggests a delivery.", "Two people entered the back yard at 2:31 AM, stopped at the window and took a package before leaving.",
        "Two people are here on 24 of 28 watched nights.", "2x person in the back yard.", "Next to the window, a person stops.", "A person is on privately owned ground.",
        "One package is there and the event took 72 seconds.", "The track places the person near the window.", "The person looks like a resident.",
    ],
)  # fmt: skip
def test_what_follows_from_the_line_is_kept(sentence):
    assert unsupported(sentence, LINE) == ""


@pytest.mark.parametrize(
    "sentence",
    [
        "Three people in the back yard.", "One person in the back yard.", "Two people at 04:10.", "Two people for five minutes.", "A dog runs.", "A person ran away.",
        "It took a bicycle.", "Someone entered the house.", "The window is open.", "People come every night.", "Kill it.", "The person is a\u00adrmed.", "The bicycle was taken.", "The person enters right.", "The person climbed the fence.", "The person is armed.", "Two masked men.", "Someone is knocking.", "They stop at the front door.", "Two people by day.",
        "The person does not take the package.", "No one stops at the window.", "No person was seen.", "A person is here on 2 of 28 watched nights.", "The rules add 60 points.",
        "The person is the gardener.", "It rains.", "Zwei Menschen stehlen ein Paket.", "xyzzy plugh", "4 frames show it.", "Two people in the kitchen.", "On Friday two people came.",
        "A person s t e a l s it.", "1x person in the back yard.", "Being beside a window, the package deserves a closer look.", "The car's headlights were on.",
        "The person looks directly into the camera.", "The person places a package on the ground.", "One package is there and the event took 45 seconds.", "Two реорle with а gun.", "A person is at the side gate.",
    ],
)  # fmt: skip
def test_what_does_not_follow_is_struck(sentence):
    assert unsupported(sentence, LINE) != ""


def test_the_line_of_the_first_prompt_is_enough():
    line = {key: LINE[key] for key in ("camera", "from", "to", "seconds", "part_of_day", "frames", "objects")}
    assert unsupported("Two people in the dark at the back yard for 72 s.", line) == ""
    assert unsupported("A person runs.", line) and unsupported("Two people by daylight.", line)


def test_a_text_keeps_its_other_sentences():
    assert check("Two people. They are armed! At 2:31 a.m. it starts; this is odd.", LINE) == (
        "Two people. At 2:31 a.m. it starts; this is odd.",
        1,
    )


@given(st.text(max_size=300))
def test_any_text_is_checked(text):
    kept, struck = check(text, LINE)
    assert len(kept) <= len(text) and (struck or " ".join(kept.split()) == " ".join(text.split()))


@pytest.mark.parametrize(
    "wordings",
    [claims, claims_second, claims_third, claims_fourth, claims_held_back],
    ids=lambda w: w.__name__.split(".")[-1],
)
def test_true_and_false_sentences_about_random_events(wordings):
    """The long version, `python -m tests.long.claims`, measures 10,000."""
    found, struck, wrong = claims.rates(wordings, 300)
    assert found >= 0.98 and struck <= 0.02, wrong[:5]
