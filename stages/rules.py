"""The rules' verdict: a pure function of what was seen, how many, for how long and at what hour.

First version, deliberately small; every number stands in a table below. The score is a sum:
the most alarming kind of object (`KIND`), `MORE` for each further one of that kind seen at once, `STAYS` for how long the
event lasts, and for people and vehicles `NIGHT` when most people sleep. It never says more than was detected: the summary
counts, the reasoning names each term, the evidence are ids of the surest detections.
"""

from __future__ import annotations

from datetime import datetime, tzinfo

from record.events import Facts, Sighting
from schemas.items import Verdict, from_microseconds

KIND = {
    "person": 25, "car": 12, "truck": 14, "bus": 12, "motorcycle": 14, "bicycle": 12, "package": 15, "backpack": 12,
    "handbag": 12, "suitcase": 15, "dog": 8, "cat": 4, "bird": 2, "horse": 8, "bear": 60,
}  # fmt: skip
OTHER = 5
MORE, MORE_MAX = 6, 18
STAYS = ((60, 18), (30, 10), (10, 4))  # seconds at least, points
NIGHT, NIGHT_FROM, NIGHT_UNTIL = 30, 23, 5  # hours of the camera's clock
NIGHT_KINDS = {"person", "car", "truck", "bus", "motorcycle", "bicycle"}
EVIDENCE_PER_KIND = 3

PLURAL = {"person": "people", "bus": "buses"}


def judge(facts: Facts, zone: tzinfo | None = None) -> Verdict:
    """Score, summary and reasons for one event. `zone` is that of the camera's clock; None: the system's."""
    start = from_microseconds(facts.started_at).astimezone(zone)
    objects, seconds = facts.objects, (facts.last_at - facts.started_at) / 1e6
    terms = _terms(objects, seconds, start.hour)
    score = min(100, sum(points for points, _ in terms))
    return Verdict(
        score,
        summary(objects, seconds, facts.camera_name, start),
        " + ".join(f"{points} {why}" for points, why in terms) + f" = {score} of 100, by the rules",
        evidence(facts.sightings),
    )


def _terms(objects: dict[str, int], seconds: float, hour: int) -> list[tuple[int, str]]:
    worst = max(objects, key=lambda kind: (KIND.get(kind, OTHER), kind))
    terms = [(KIND.get(worst, OTHER), worst)]
    if (more := objects[worst] - 1) > 0:
        terms.append((min(MORE_MAX, MORE * more), f"{more} more at once"))
    stays = next((points for least, points in STAYS if seconds >= least), 0)
    if stays:
        terms.append((stays, f"stays {_duration(seconds)}"))
    if (hour >= NIGHT_FROM or hour < NIGHT_UNTIL) and NIGHT_KINDS & set(objects):
        terms.append((NIGHT, f"at night ({NIGHT_FROM}–{NIGHT_UNTIL} h)"))
    return terms


def summary(objects: dict[str, int], seconds: float, camera: str, start: datetime) -> str:
    """`2 people and 1 dog for 45 s at the front door, 02:13`: only what was counted."""
    seen = [f"{n} {kind if n == 1 else PLURAL.get(kind, kind + 's')}" for kind, n in _by_weight(objects)]
    listed = seen[0] if len(seen) == 1 else f"{', '.join(seen[:-1])} and {seen[-1]}"
    lasting = f" for {_duration(seconds)}" if seconds >= 1 else ""
    return f"{listed}{lasting} {place(camera)}, {start:%H:%M}"


def place(camera: str) -> str:
    """`Front_Door` → `at the front door`; a name that is no plain words stays as it is."""
    words = camera.replace("_", " ").replace("-", " ").strip()
    return f"at the {words.lower()}" if words.replace(" ", "").isalpha() else f"at {camera}"


def evidence(sightings: tuple[Sighting, ...]) -> tuple[int, ...]:
    """The surest detections of each kind, at most three, as ids in order."""
    chosen: list[int] = []
    for kind in {s.object_type for s in sightings}:
        surest = sorted((s for s in sightings if s.object_type == kind), key=lambda s: (-s.confidence, s.id))
        chosen += [s.id for s in surest[:EVIDENCE_PER_KIND]]
    return tuple(sorted(chosen))


def _by_weight(objects: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(objects.items(), key=lambda item: (-KIND.get(item[0], OTHER), item[0]))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
