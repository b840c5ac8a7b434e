"""Build the prompt about an event, and read the model's answer as a verdict. Pure.

A prompt version is a static text in `prompts/`, byte for byte the same for every event, so that the server keeps it in its
prefix cache; all that differs is one line of JSON behind it. Texts of people (names, notes) come in that line only, as
escaped ASCII without control characters, `<` and `>`, so that they can neither end the line nor pose as a chat template's
marks. To change a word, add a version: verdicts name the one they were made with.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from hearthwatch.record.baselines import Usual
from hearthwatch.record.events import Facts, Sighting
from hearthwatch.schemas.items import Verdict, from_microseconds

NAME_MAX, NOTES_MAX = 60, 400  # characters
KINDS_MAX = 8  # classes in the line, those with the most detections first
BEST_MAX = 3  # detections per class that can be cited
REASONING_MAX, SUMMARY_MAX, EVIDENCE_MAX = (
    400,
    140,
    6,
)  # characters, characters, ids: well within the 400 tokens of an answer

FLOOR = {"low": 0, "medium": 0, "high": 30, "critical": 60}
"""The lowest score by the rules' level: a text may lower that level by one, never by more."""

PROMPTS = {
    file.stem: file.read_text(encoding="utf-8").removesuffix("\n")
    for file in sorted(Path(__file__).with_name("prompts").glob("*.txt"))
}
LATEST = "v1"

POSITIONS = (("top", "middle", "bottom"), ("left", "centre", "right"))
SIZES = ((0.02, "small"), (0.12, "medium"), (1.1, "large"))  # share of the picture, below
PARTS_OF_DAY = ((5, "night"), (9, "early morning"), (12, "morning"), (17, "afternoon"), (22, "evening"), (24, "night"))


# -- the question


def messages(
    facts: Facts, notes: str = "", usual: Usual | None = None, version: str = LATEST, zone: tzinfo | None = None
) -> list[dict[str, str]]:
    """Return the static text, then the line."""
    return [
        {"role": "system", "content": PROMPTS[version]},
        {"role": "user", "content": line(facts, notes, usual, zone)},
    ]


def line(facts: Facts, notes: str = "", usual: Usual | None = None, zone: tzinfo | None = None) -> str:
    """Describe an event in one line of ASCII."""
    start, end = (from_microseconds(at).astimezone(zone) for at in (facts.started_at, facts.last_at))
    data: dict[str, Any] = {
        "camera": plain(facts.camera_name, NAME_MAX),
        "from": f"{start:%Y-%m-%d %H:%M:%S}",
        "to": f"{end:%Y-%m-%d %H:%M:%S}",
        "seconds": _seconds(facts.started_at, facts.last_at),
        "part_of_day": part_of_day(start),
        "frames": facts.frame_count,
        "objects": [_object(kind, facts) for kind in _kinds(facts)],
    }
    if usual:
        data["usual"] = {"visits": usual.visits, "of_days": usual.of_days, "words": usual.words}
    if owner_notes := plain(notes, NOTES_MAX):
        data["owner_notes"] = owner_notes
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


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


def schema(facts: Facts) -> dict[str, Any]:
    """Return the JSON schema of an answer, in the order in which it is written: reasons first, the score last.

    Only detections in the line can be cited. What a grammar cannot promise is checked again in `verdict`.
    """
    ids = citable_ids(facts)
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


def verdict(answer: dict[str, Any], facts: Facts, rules: Verdict) -> Verdict:
    """Read the model's verdict, raised to the floor that the rules set.

    Raises:
        ValueError: the answer is no verdict.
    """
    score, reasoning, summary = answer.get("risk_score"), answer.get("reasoning"), answer.get("summary")
    if type(score) is not int or not 0 <= score <= 100:
        raise ValueError(f"risk_score = {_short(score)} is no whole number from 0 to 100")
    if not isinstance(reasoning, str) or not (reasons := plain(reasoning, REASONING_MAX)):
        raise ValueError("there is no reasoning")
    if not isinstance(summary, str) or not (sentence := plain(summary, SUMMARY_MAX)):
        raise ValueError("there is no summary")
    cited = evidence(answer.get("evidence"), facts)
    if not cited:
        raise ValueError(f"evidence = {_short(answer.get('evidence'))} names no detection of this event")
    floor = FLOOR[rules.risk_level]
    if score < floor:
        reasons += f" (Raised from {score} to {floor}: the rules say {rules.risk_level}, and no text lowers that by more than one level.)"
    return Verdict(max(score, floor), sentence, reasons, cited, analyzer="nemotron")


def _short(value: object) -> str:
    """Shorten what the model wrote for a line of a log."""
    return repr(value)[:120]


def evidence(cited: object, facts: Facts) -> tuple[int, ...]:
    """Those of the cited ids that are detections of this event, each once."""
    known = {s.id for s in facts.sightings}
    ids = cited if isinstance(cited, list) else []
    return tuple(sorted({i for i in ids if type(i) is int and i in known}))
