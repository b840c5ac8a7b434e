"""Judge an event with what a vision model saw in its pictures. Pure.

The score is arithmetic as the rules' is: their points, plus those of acts that the model saw and the rules did not, weighted by
place, light and habit; the model's number is one input. A model that obeys a sign in a picture may hide that it read one. So the
model lowers no alarm below high, and nothing by more than one level unless it sees what the detector did, except that it may
reject an event whose boxes are doubtful themselves. Hard signs stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from hearthwatch.schemas.items import RISK_FLOORS, PictureVerdict, risk_level
from hearthwatch.stages.crops import Shown, expected

Seen = Literal["person", "animal", "vehicle", "object", "nothing", "unclear"]
BECAUSE_MAX, WRITING_MAX, CUE_MAX, AGAINST_MAX, ACTS_MAX = 100, 120, 80, 160, 4  # characters; acts
RESIDENT, MODEL_SHARE = -12, 1 / 3  # points; of the model's number in the score
MOVING_MIN = 3  # pictures: a model that is wrong in one of ten is so in all three of one event in a thousand
PLACES = {"window": 1.2, "vehicle": 1.2, "public": 0.5}
DARK, USUAL = 1.2, 0.8
LEVELS = (*RISK_FLOORS,)
HIGH = LEVELS.index("high")


class ActMeaning(NamedTuple):
    """What an act counts."""

    points: int
    rules: str = ""
    """The act of the rules that is the same."""


ACTS = {
    "breaks in": ActMeaning(65), "damages something": ActMeaning(50), "carries a weapon": ActMeaning(65),
    "tries a door, window or vehicle": ActMeaning(40), "looks into a window or vehicle": ActMeaning(25), "climbs": ActMeaning(30),
    "hides": ActMeaning(25), "takes something away": ActMeaning(45, "takes"), "lies on the ground": ActMeaning(45, "lies"),
    "waits": ActMeaning(4, "stops"), "delivers": ActMeaning(-14), "rings or knocks": ActMeaning(-6), "unlocks with a key": ActMeaning(-25),
    "works": ActMeaning(-10), "walks a dog": ActMeaning(-12), "plays": ActMeaning(-12), "passes by": ActMeaning(-8),
}  # fmt: skip


class Ground(NamedTuple):
    """What the rules make of an event."""

    score: int
    floor: int
    """The lowest score that texts may lead to."""
    is_hard: bool
    acts: frozenset[str]
    """What the rules saw the tracks do."""
    place: str
    is_dark: bool
    is_usual: bool


class PictureOutcome(NamedTuple):
    """The score with the pictures, how it was made, and what the pictures say of the rules' case."""

    score: int
    words: str
    verdict: PictureVerdict
    cited: tuple[int, ...]
    """Numbers of pictures."""
    raised_by: tuple[str, ...]
    """Grave acts that the rules did not see."""


def schema(pictures: Mapping[int, Sequence[int]], summary_max: int) -> dict[str, Any]:
    """Return the JSON schema of an answer; `pictures`: track → the numbers of its pictures."""

    def text(longest: int, least: int = 0) -> dict[str, Any]:
        return {"type": "string", "minLength": least, "maxLength": longest}

    kind = {"type": "string", "enum": [*get_args(Seen)]}
    numbers = list(range(1, max((n for some in pictures.values() for n in some), default=1) + 1))
    tracks = {
        str(track): _object(
            {"sees": _object({str(n): kind for n in some}), "is": kind, "because": text(BECAUSE_MAX, 1)}
        )
        for track, some in pictures.items()
    }
    act = _object({"act": {"type": "string", "enum": [*ACTS]}, "picture": {"type": "integer", "enum": numbers}})
    return _object(
        {
            "writing": text(WRITING_MAX),
            "tracks": _object(tracks),
            "acts": {"type": "array", "items": act, "maxItems": ACTS_MAX},
            "resident_likely": {"type": "boolean"},
            "cue": text(CUE_MAX),
            "against": text(AGAINST_MAX),
            "summary": text(summary_max, 1),
            "risk_score": {"type": "integer", "minimum": 0, "maximum": 100},
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def check_answer(answer: Mapping[str, Any], pictures: Mapping[int, Sequence[int]]) -> None:
    """Check what a grammar may not have enforced.

    Raises:
        ValueError: it is no answer about these pictures; the text says why.
    """
    kinds = get_args(Seen)
    tracks, acts = answer.get("tracks"), answer.get("acts")
    if not isinstance(tracks, dict) or {*tracks} != {str(track) for track in pictures}:
        raise ValueError("tracks are not those that were shown")
    for track, numbers in pictures.items():
        given = tracks[str(track)]
        if (
            not isinstance(given, dict)
            or not isinstance(sees := given.get("sees"), dict)
            or {*sees} != {*map(str, numbers)}
        ):
            raise ValueError(f"track {track} is not judged by its pictures {', '.join(map(str, numbers))}")
        if (
            given.get("is") not in kinds
            or not isinstance(given.get("because"), str)
            or not {*sees.values()} <= {*kinds}
        ):
            raise ValueError(f"track {track} is none of {', '.join(kinds)}")
    last = max((n for numbers in pictures.values() for n in numbers), default=1)
    if not isinstance(acts, list) or not all(_is_act(act, last) for act in acts):
        raise ValueError(f"acts are not of the list, or of pictures beyond {last}")
    for name in ("writing", "cue", "against"):
        if not isinstance(answer.get(name), str):
            raise ValueError(f"{name} is no text")
    if not isinstance(answer.get("resident_likely"), bool):
        raise ValueError("resident_likely is not true or false")


def _is_act(act: object, last: int) -> bool:
    return (
        isinstance(act, dict) and act.get("act") in ACTS and type(act.get("picture")) is int and 1 <= act["picture"] <= last
    )  # fmt: skip


def compare(answer: Mapping[str, Any], shown: Sequence[Shown], is_hard: bool) -> PictureVerdict:
    """Return what the pictures say of the tracks that the level rests on. Hard signs, and tracks not shown, are not rejected."""
    given = answer["tracks"]
    known = [t for t in shown if str(t.number) in given]
    if any(_is_confirmed(t, given[str(t.number)]) for t in known):
        return "confirmed"
    if shown and len(known) == len(shown) and not is_hard and all(_is_rejected(t, given[str(t.number)]) for t in shown):
        return "rejected"
    return "unclear"


def _is_confirmed(t: Shown, given: Mapping[str, Any]) -> bool:
    return expected(t.kind) == given["is"] and given["is"] in given["sees"].values()


def _is_rejected(t: Shown, given: Mapping[str, Any]) -> bool:
    """Check that all pictures show nothing of it, and that its boxes are doubtful. Of what moved, several pictures are needed."""
    nothing = {"nothing"} | ({"object"} - {expected(t.kind)})
    is_empty = {given["is"], *given["sees"].values()} <= nothing
    return is_empty and not t.is_sure and len(given["sees"]) >= (1 if t.is_still else MOVING_MIN)


def judge(answer: Mapping[str, Any], shown: Sequence[Shown], ground: Ground, gives_orders: bool) -> PictureOutcome:
    """Return the score that a checked answer leads to; `gives_orders`: writing in the pictures gives orders."""
    verdict = compare(answer, shown, ground.is_hard)
    if verdict == "rejected" and (gives_orders or ground.floor):
        verdict = "unclear"
    if verdict == "rejected":
        return PictureOutcome(
            min(answer["risk_score"], 29), "the pictures show nothing of what the boxes claim", verdict, (), ()
        )
    acts = {act["act"]: act["picture"] for act in answer["acts"] if ACTS[act["act"]].rules not in ground.acts}
    weight = PLACES.get(ground.place, 1.0) * (DARK if ground.is_dark else 1) * (USUAL if ground.is_usual else 1)
    terms = [(f"{ground.score} by the rules", ground.score)]
    for act in acts:
        points = ACTS[act].points
        terms.append((f"{act} in picture {acts[act]}", round(points * weight) if points > 0 else points))
    if answer["resident_likely"] and answer["cue"].strip():
        terms.append(("seems to be expected", RESIDENT))
    total = max(0, min(100, sum(points for _, points in terms)))
    grave = tuple(act for act in acts if ACTS[act].points >= 20)
    number = answer["risk_score"]
    score = round(total + (number - total) * MODEL_SHARE)
    level = LEVELS.index(risk_level(ground.score))
    above = RISK_FLOORS[LEVELS[level + 2]] - 1 if level + 2 < len(LEVELS) else 100
    score = max(score, total) if grave else min(score, above)
    least = ground.floor if verdict == "confirmed" else max(ground.floor, RISK_FLOORS[LEVELS[max(0, level - 1)]])
    if gives_orders or level >= HIGH:
        least = max(least, RISK_FLOORS[LEVELS[level if gives_orders else HIGH]])
    listed = ", ".join([terms[0][0], *(f"{why} {points:+d}".replace("-", "−") for why, points in terms[1:])])
    words = f"{listed}, the model's number is {number}"
    if score < least:
        words += f", no text lowers it below {least}"
    return PictureOutcome(max(score, least), words, verdict, tuple(sorted({*acts.values()})), grave)
