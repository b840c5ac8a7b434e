"""Build the prompt about an event, and read the model's answer as a verdict, as far as it follows from the prompt. Pure.

A prompt version is a static text in `prompts/`, byte for byte the same for every event, so that the server keeps it in its
prefix cache; all that differs is one line of JSON behind it. Texts of people (names, notes) come in that line only, as
escaped ASCII without control characters, `<` and `>`, so that they can neither end the line nor pose as a chat template's
marks. To change a word, add a version: verdicts name the one they were made with.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, NamedTuple

from hearthwatch.schemas.case import Case, Facts, Sighting, Surroundings
from hearthwatch.schemas.items import RISK_FLOORS, Verdict, from_microseconds
from hearthwatch.stages import picture_verdict
from hearthwatch.stages.acts import TrackFacts
from hearthwatch.stages.claims import check
from hearthwatch.stages.crops import Drawn, Exposure, Shown, as_dict, choose, describe_tracks
from hearthwatch.stages.picture_verdict import Ground
from hearthwatch.stages.rules import RulesJudge, replay, surroundings_of

NAME_MAX, NOTES_MAX = 60, 400  # characters
KINDS_MAX = 8  # classes in the line, those with the most detections first
BEST_MAX = 3  # detections per class that can be cited
ACTS_MAX, TERMS_MAX, WHY_MAX = 20, 10, 70  # of all tracks together, of the rules; characters
REASONING_MAX, SUMMARY_MAX, EVIDENCE_MAX = (
    400,
    140,
    6,
)  # characters, characters, ids: well within the 400 tokens of an answer

LEVELS = (*RISK_FLOORS,)
ORDERS = re.compile(
    r"[{}<>\[\]|`#=]|\b(scor|puntu|punte|bewert|risi[ck]|risqu|rischi|riesgo|rating|niveau|instru[ckz]|anweis|istruz|prompt|system|assist|json|ignor\w* (all|any|every|previous|above|the (rules|above))"
    r"|rules|rate (everything|all|this)|regeln|reglas|r[eè]gles|regole|admin|developer|critical|always answer)|оцен|риск|инструк|правил|игнор|评分|分数|风险|指令|规则|忽略|指示|無視|スコア|リスク|위험|점수|지시|تعليم|خطر|تجاهل|स्कोर|निर्देश",
    re.IGNORECASE,
)
"""Text of people that speaks of scores, rules or instructions, not of the place."""

PROMPTS = {
    file.stem: file.read_text(encoding="utf-8").removesuffix("\n")
    for file in sorted(Path(__file__).with_name("prompts").glob("*.txt"))
}
LATEST, WITHOUT_PICTURES = "v3", "v2"
"""`v3` shows pictures; where there are none, and to a model that takes none, the question is that of `v2`."""
V1_KEYS = frozenset("camera from to seconds part_of_day frames objects usual owner_notes".split())

POSITIONS = (("top", "middle", "bottom"), ("left", "centre", "right"))
SIZES = ((0.02, "small"), (0.12, "medium"), (1.1, "large"))  # share of the picture, below
PARTS_OF_DAY = ((5, "night"), (9, "early morning"), (12, "morning"), (17, "afternoon"), (22, "evening"), (24, "night"))


# -- the question


class Question(NamedTuple):
    """What is asked about one event, and what the answer is checked against."""

    facts: Facts
    line: dict[str, Any]
    """What the model is given, before it is written as one line."""
    rules: Verdict
    floor: int
    """The lowest score that is stored."""
    version: str = LATEST
    shots: tuple[Exposure, ...] = ()
    """Pictures to draw for it."""
    shown: tuple[Shown, ...] = ()
    """The tracks that the level rests on."""
    ground: Ground | None = None
    drawn: tuple[Drawn, ...] = ()
    """Pictures that are sent."""

    def picture_numbers(self) -> dict[int, list[int]]:
        """Return for each track that is shown the numbers of its pictures: its crops, else the scene."""
        numbers: dict[int, list[int]] = {}
        for n, drawn in enumerate(self.drawn, 1):
            if drawn.shot.track:
                numbers.setdefault(drawn.shot.track, []).append(n)
        scene = next((d.shot.boxes for d in self.drawn if not d.shot.track), ())
        for track, _ in scene[:1] if not numbers else ():
            numbers[track] = [1]
        return numbers


def question(
    case: Case, rules: Callable[[Surroundings], RulesJudge], zone: tzinfo | None = None, version: str = LATEST, pictures: int = 0
) -> Question:  # fmt: skip
    """Judge an event by the rules, and describe it; `rules` makes their judge, as for the pipeline.

    `pictures`: how many may be shown.
    """
    paths: dict[int, list[Sighting]] = {}
    judge = replay(case.facts, rules(case.surroundings or surroundings_of(case.facts)), paths)
    line, verdict = describe(case, judge, zone), judge.verdict(case.facts)
    if version == "v1":
        line = {key: value for key, value in line.items() if key in V1_KEYS}
    asked = Question(case.facts, line, verdict, floor(case, judge, verdict), version)
    if version != LATEST or not pictures:
        return asked._replace(version=min(version, WITHOUT_PICTURES))
    tracks, terms = judge.tracks(), judge.terms()
    ground = Ground(
        verdict.risk_score, asked.floor, any(term.is_hard for term in terms), frozenset(a.what for t in tracks for a in t.acts),
        judge.signature().place or "", judge.is_dark, bool(case.usual and case.usual.points < 0),
    )  # fmt: skip
    shots, shown = choose(case.facts, paths, tracks, pictures), describe_tracks(paths, tracks)
    return asked._replace(shots=shots, shown=shown, ground=ground)


def floor(case: Case, judge: RulesJudge, rules: Verdict) -> int:
    """Return the lowest score that a text may lead to.

    With a hard sign one level below the rules' at least, and if people's texts could give orders, the rules' level; else any.
    """
    is_hard = any(term.is_hard for term in judge.terms())
    gives_orders = any(ORDERS.search(text) for text in (case.notes, case.facts.camera_name))
    is_plain = not case.notes and re.fullmatch(r"[\w'-]+( [\w'-]+){0,3}", case.facts.camera_name)
    below = 0 if gives_orders or (is_hard and not is_plain) else 1 if is_hard else len(LEVELS)
    return RISK_FLOORS[LEVELS[max(0, LEVELS.index(rules.risk_level) - below)]]


def messages(asked: Question) -> list[dict[str, Any]]:
    """Return the static text, then the line of ASCII, then each picture behind its note."""
    text = PROMPTS[asked.version if asked.drawn else min(asked.version, WITHOUT_PICTURES)]
    content: Any = write_line(asked.line)
    if asked.drawn:
        content = [_text(content)]
        for n, drawn in enumerate(asked.drawn, 1):
            content += [
                _text(f"Picture {n}: {drawn.shot.note}"),
                {"type": "image_url", "image_url": {"url": drawn.url()}},
            ]
    return [{"role": "system", "content": text}, {"role": "user", "content": content}]


def _text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def write_line(line: dict[str, Any]) -> str:
    """Write a description as one line of ASCII."""
    text = json.dumps(line, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def describe(case: Case, judge: RulesJudge, zone: tzinfo | None = None) -> dict[str, Any]:
    """Describe an event: what was seen, what happened, what the rules make of it, what is known besides."""
    facts, tracks, terms = case.facts, judge.tracks(), judge.terms()
    start, end = (from_microseconds(at).astimezone(zone) for at in (facts.started_at, facts.last_at))
    acts_max = max(2, ACTS_MAX // max(1, sum(bool(t.acts) for t in tracks)))
    data: dict[str, Any] = {
        "camera": plain(facts.camera_name, NAME_MAX),
        "from": f"{start:%Y-%m-%d %H:%M:%S}",
        "to": f"{end:%Y-%m-%d %H:%M:%S}",
        "seconds": _seconds(facts.started_at, facts.last_at),
        "part_of_day": part_of_day(start),
        "dark": judge.is_dark,
        "frames": facts.frame_count,
        "objects": [_object(kind, facts) for kind in _kinds(facts)],
        "tracks": [_track(t, acts_max, zone) for t in tracks],
        "rules": {
            "level": judge.verdict(facts).risk_level,
            "terms": [[t.points, t.why[:WHY_MAX], *(["hard"] if t.is_hard else [])] for t in terms[:TERMS_MAX]],
        },
    }
    if case.before:
        data["incident"] = [
            {"camera": plain(e.camera, NAME_MAX), "from": _clock(e.started_at, zone), "seconds": _seconds(e.started_at, e.last_at), "level": e.level}
            for e in case.before
        ]  # fmt: skip
    if usual := case.usual:
        data["usual"] = {"visits": usual.visits, "of_days": usual.of_days, "words": usual.words}
    if owner_notes := plain(case.notes, NOTES_MAX):
        data["owner_notes"] = owner_notes
    return data


def _track(t: TrackFacts, acts_max: int, zone: tzinfo | None) -> dict[str, Any]:
    acts = t.acts if len(t.acts) <= acts_max else (*t.acts[: acts_max - 1], t.acts[-1])
    data = {
        "n": t.number, "type": plain(t.kind, NAME_MAX), "from": _clock(t.began, zone), "seconds": _seconds(t.began, t.last),
        "places": [*t.places], "acts": [f"{_clock(act.at, zone)} {act.what} {act.where}".strip() for act in acts],
    }  # fmt: skip
    return {key: value for key, value in data.items() if value != []} | ({} if t.is_plausible else {"doubtful": True})


def _clock(at: int, zone: tzinfo | None) -> str:
    return f"{from_microseconds(at).astimezone(zone):%H:%M:%S}"


def plain(text: str, longest: int) -> str:
    """Reduce a person's text to one line without control, format and surrogate characters, not too long."""
    kept = "".join(" " if c.isspace() or unicodedata.category(c)[0] == "C" else c for c in text)
    return " ".join(kept.split())[:longest]


def part_of_day(when: datetime) -> str:
    return next(name for until, name in PARTS_OF_DAY if when.hour < until)


def _kinds(facts: Facts) -> list[str]:
    counts = Counter(s.object_type for s in facts.sightings)
    return sorted(counts, key=lambda kind: (-counts[kind], kind))[:KINDS_MAX]


def _object(kind: str, facts: Facts) -> dict[str, Any]:
    seen = [s for s in facts.sightings if s.object_type == kind]
    best = _best(seen)
    return {
        "type": plain(kind, NAME_MAX),
        "frames": len({s.frame_id for s in seen}),
        "most_at_once": facts.objects[kind],
        "best_confidence": round(best[0].confidence, 2),
        "seconds": _seconds(min(s.at for s in seen), max(s.at for s in seen)),
        "where": where(best[0], facts),
        "size": size(best[0], facts),
        "detections": sorted(s.id for s in best),
    }


def _best(seen: Iterable[Sighting]) -> list[Sighting]:
    return sorted(seen, key=lambda s: (-s.confidence, s.id))[:BEST_MAX]


def _seconds(first: int, last: int) -> int:
    return round((last - first) / 1e6)


def where(s: Sighting, facts: Facts) -> str:
    """`bottom left`: the third of the picture, down and across, that the middle of the box lies in."""
    if not facts.width or not facts.height:
        return "unknown"
    across, down = (s.x + s.width / 2) / facts.width, (s.y + s.height / 2) / facts.height
    return " ".join(
        words[min(2, max(0, int(share * 3)))] for words, share in zip(POSITIONS, (down, across), strict=True)
    )


def size(s: Sighting, facts: Facts) -> str:
    """`small`, `medium` or `large`: the share of the picture that the box takes."""
    if not facts.width or not facts.height:
        return "unknown"
    share = s.width * s.height / (facts.width * facts.height)
    return next((name for below, name in SIZES if share < below), "large")


# -- the answer


def schema(asked: Question) -> dict[str, Any]:
    """Return the JSON schema of an answer, in the order in which it is written: reasons first, the score last.

    Only detections in the line can be cited. What a grammar cannot promise is checked again in `verdict`.
    """
    if asked.drawn:
        return picture_verdict.schema(asked.picture_numbers(), SUMMARY_MAX)
    ids = citable_ids(asked.facts)
    return {
        "type": "object",
        "properties": {
            "reasoning": {"type": "string", "minLength": 1, "maxLength": REASONING_MAX},
            "evidence": {
                "type": "array",
                "items": {"type": "integer", "enum": ids},
                "minItems": 1,
                "maxItems": min(EVIDENCE_MAX, len(ids)),
            },
            "summary": {"type": "string", "minLength": 1, "maxLength": SUMMARY_MAX},
            "risk_score": {"type": "integer", "minimum": 0, "maximum": 100},
        },
        "required": ["reasoning", "evidence", "summary", "risk_score"],
        "additionalProperties": False,
    }


def citable_ids(facts: Facts) -> list[int]:
    """Return the ids of the detections that the line names."""
    return sorted(s.id for kind in _kinds(facts) for s in _best(s for s in facts.sightings if s.object_type == kind))


def verdict(answer: dict[str, Any], asked: Question) -> Verdict:
    """Read the model's verdict, without what does not follow from the line, raised to the floor.

    Raises:
        ValueError: the answer is no verdict.
    """
    if asked.drawn:
        return _with_pictures(answer, asked)
    verdict = _by_boxes(answer, asked)
    if asked.version == LATEST:  # pictures were wanted
        words = f"{verdict.reasoning} (No picture of it was left: judged by its boxes.)"
        verdict = replace(verdict, reasoning=words, picture_verdict="unverified")
    return verdict


def _by_boxes(answer: dict[str, Any], asked: Question) -> Verdict:
    score, reasoning, summary = answer.get("risk_score"), answer.get("reasoning"), answer.get("summary")
    if type(score) is not int or not 0 <= score <= 100:
        raise ValueError(f"risk_score = {_short(score)} is no whole number from 0 to 100")
    if not isinstance(reasoning, str) or not (reasons := plain(reasoning, REASONING_MAX)):
        raise ValueError("there is no reasoning")
    if not isinstance(summary, str) or not (sentence := plain(summary, SUMMARY_MAX)):
        raise ValueError("there is no summary")
    cited = evidence(answer.get("evidence"), asked.facts)
    if not cited:
        raise ValueError(f"evidence = {_short(answer.get('evidence'))} names no detection of this event")
    kept, struck = check(reasons, asked.line)
    if not kept:
        raise ValueError(f"nothing in the boxes supports its reasoning: {_short(reasons)}")
    if struck:
        were = "1 sentence was" if struck == 1 else f"{struck} sentences were"
        kept += f" ({were} struck: nothing in the boxes supports {'it' if struck == 1 else 'them'}.)"
    if check(sentence, asked.line)[1]:
        sentence = asked.rules.summary
        kept += " (The summary is the rules': the model's did not follow from the boxes.)"
    if score < asked.floor:
        kept += f" (Raised from {score} to {asked.floor}: the rules say {asked.rules.risk_level}, and no text lowers what they rest on.)"
    return Verdict(max(score, asked.floor), sentence, kept, cited, analyzer="nemotron")


def _with_pictures(answer: dict[str, Any], asked: Question) -> Verdict:
    """Read an answer about pictures: the score is computed, what the model writes is quoted as far as the boxes support it."""
    assert asked.ground
    score, numbers = answer.get("risk_score"), asked.picture_numbers()
    if type(score) is not int or not 0 <= score <= 100:
        raise ValueError(f"risk_score = {_short(score)} is no whole number from 0 to 100")
    if not isinstance(answer.get("summary"), str) or not (sentence := plain(answer["summary"], SUMMARY_MAX)):
        raise ValueError("there is no summary")
    picture_verdict.check_answer(answer, numbers)
    outcome = picture_verdict.judge(answer, asked.shown, asked.ground, bool(ORDERS.search(answer["writing"])))
    tracks = {str(n): answer["tracks"][str(n)] for n in numbers}
    for track in tracks.values():
        track["because"] = plain(track["because"], picture_verdict.BECAUSE_MAX)
    if outcome.raised_by:
        sentence = f"{asked.rules.summary}: {', '.join(outcome.raised_by)}"[:SUMMARY_MAX]
    elif outcome.verdict == "rejected" or check(sentence, asked.line)[1]:
        sentence = asked.rules.summary
    seen = "; ".join(f"track {n} is {given['is']}" for n, given in tracks.items())
    against = check(plain(answer["against"], picture_verdict.AGAINST_MAX), asked.line)[0]
    reasons = f"{outcome.words}: {outcome.score} of 100. Pictures: {outcome.verdict} ({seen}). {against}".rstrip()
    cited = {asked.drawn[n - 1].shot.detection for n in outcome.cited or range(1, len(asked.drawn) + 1)}
    kept = {
        "shown": as_dict(asked.drawn), "tracks": tracks, "acts": answer["acts"], "writing": plain(answer["writing"], NAME_MAX),
        "resident_likely": answer["resident_likely"], "cue": plain(answer["cue"], picture_verdict.CUE_MAX),
    }  # fmt: skip
    return Verdict(
        outcome.score, sentence, reasons, evidence(sorted(cited), asked.facts), analyzer="nemotron",
        picture_verdict=outcome.verdict, analysis=kept,
    )  # fmt: skip


def _short(value: object) -> str:
    """Shorten what the model wrote for a line of a log."""
    return repr(value)[:120]


def evidence(cited: object, facts: Facts) -> tuple[int, ...]:
    """Those of the cited ids that are detections of this event, each once."""
    known = {s.id for s in facts.sightings}
    ids = cited if isinstance(cited, list) else []
    return tuple(sorted({i for i in ids if type(i) is int and i in known}))
