"""Simulate weeks of six households with four cameras each: daily habits with jitter, one alarming story a week, an owner who answers.

Boxes are made without pictures. Three alarming stories in ten have the very signature (camera, own door, hour, workday) of what
the owner called fine. The owner answers every other false high with `fine`, in the evening; baselines are built at midnight.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, timedelta
from random import Random
from typing import Any, NamedTuple

from hearthwatch.demo.evaluate import HIGH, MONDAY, Picture, Scenario, Simulation
from hearthwatch.demo.stories import PLACE
from hearthwatch.record.feedback import write_answer
from hearthwatch.record.retention.visits import build_baselines
from hearthwatch.record.units import DAY
from hearthwatch.schemas.case import Signature
from hearthwatch.schemas.items import RISK_FLOORS, Detection, to_microseconds
from hearthwatch.stages.darkness import by_sun

SIZE, STEP = (1280, 720), 2.0  # pixels; seconds between pictures
MISSED = 0.08  # share of the boxes that a detector misses
REVIEW_SECONDS = 10  # for an incident at medium or above
IN_SIGNATURE = 0.3
SHAPES = {"person": (1.0, 0.4), "dog": (0.4, 1.4), "car": (0.9, 2.2)}  # height in people; width in heights

ZONES = {
    kind: {"kind": kind, "points": [[a, b], [c, b], [c, d], [a, d]]}
    for kind, a, b, c, d in (("own_door", 0.38, 0.84, 0.62, 1), ("private", 0, 0.5, 1, 1), ("public", 0, 0.3, 1, 0.47))
}
CAMERAS = {"street": ["public"], "front": [*ZONES], "drive": [*ZONES], "back": ["own_door", "private"]}

Way = Sequence[tuple[float, float, float]]
"""Where something walks, in shares of the picture, and how many seconds it stays there."""
DOOR, LEFT, GATE = (0.5, 0.9), (-0.02, 0.42, 0), (0.5, 0.45, 0)
HOME: Way = [LEFT, GATE, (*DOOR, 6)]
SCRIPTS: Mapping[str, tuple[str, str, Way]] = {  # camera, kinds, way; no kind: a spider close to the lens
    "passes": ("front", "person", [LEFT, (1.02, 0.42, 0)]), "traffic": ("street", "car", [LEFT, (1.02, 0.42, 0)]),
    "home": ("front", "person", HOME), "out": ("front", "person", HOME[::-1]),
    "home with dog": ("front", "person dog", HOME), "out with dog": ("front", "person dog", HOME[::-1]),
    "courier": ("front", "person", [*HOME, GATE, LEFT]), "spider": ("front", "", []),
    "parks": ("drive", "car", [(1.02, 0.46, 0), (0.6, 0.7, 20)]), "from car": ("drive", "person", [(0.55, 0.72, 2), (*DOOR, 8)]),
    "smokes": ("back", "person", [(*DOOR, 0), (0.6, 0.8, 280), (*DOOR, 2)]),
    "plays": ("back", "person person", [(*DOOR, 0), (0.3, 0.7, 60), (0.7, 0.6, 120), (0.4, 0.75, 90), (*DOOR, 0)]),
    "dog out": ("back", "dog", [(*DOOR, 0), (0.2, 0.6, 10), (0.8, 0.7, 20), (*DOOR, 0)]),
    "breaks in": ("back", "person", [(1.02, 0.52, 0), (0.75, 0.7, 8), (*DOOR, 50), (0.6, 0.8, 10), (*DOOR, 25)]),
    "tries the door": ("front", "person", [LEFT, GATE, (*DOOR, 45), (0.4, 0.75, 10), (*DOOR, 30)]),
    "at the car": ("drive", "person", [LEFT, (0.45, 0.72, 12), (0.7, 0.7, 14), (0.55, 0.75, 8)]),
}  # fmt: skip
ALARMS = {"back": "breaks in", "front": "tries the door", "drive": "at the car"}


class Habit(NamedTuple):
    """A script at about this hour, so many times a day, on these days of the week."""

    script: str
    hour: float
    spread: float = 0.3
    times: float = 1
    days: Sequence[int] = range(7)


WORK, FREE = range(5), range(5, 7)
ALL = Habit("passes", 14, 4, 5), Habit("traffic", 14, 4, 4), Habit("courier", 11, 1.5, 0.6, range(6))
WORKERS = Habit("out", 7.5, days=WORK), Habit("home", 17.5, 0.7, 1, WORK), Habit("home", 23, 1, 0.5, FREE)
SHIFT = Habit("out", 4.8, 0.1, 1, WORK), Habit("parks", 22.6, 0, 1, WORK), Habit("from car", 22.61, 0, 1, WORK)
HOUSEHOLDS: Mapping[str, Sequence[Habit]] = {
    "dog owner": [Habit(f"{way} with dog", h + n, 0.2) for h in (6.2, 12.5, 18, 22.8) for way, n in (("out", 0), ("home", 0.4))],
    "shift worker": SHIFT,
    "smoker": [*WORKERS, *(Habit("smokes", hour, 0.2, 0.9) for hour in (6.7, 18, 19.5, 21, 22.3, 23.5, 0.6))],
    "family": [*WORKERS, Habit("plays", 16, 1, 2), Habit("dog out", 22, 0.5), Habit("home", 15, 0.5, 2, WORK)],
    "street-facing": [*WORKERS, Habit("passes", 13, 4, 30), Habit("passes", 23.5, 1, 4), Habit("traffic", 15, 5, 20)],
    "spiders of September": [*WORKERS, Habit("spider", 23.5, 2.5, 8)],
}  # fmt: skip


def follow(r: Random, kind: str, way: Way, speed: float) -> Iterator[tuple[float, Detection]]:
    """Yield seconds and boxes of something that walks `speed` heights of a person a second."""
    (width, height), (tall, wide), second, (x, y, _) = SIZE, SHAPES[kind], 0.0, way[0]
    for to_x, to_y, stays in way:
        until = math.inf
        while second <= until:
            h = height * max(0.06, 0.85 * (y - 0.32))
            if r.random() >= MISSED:
                at_x, at_y = x * width + r.gauss(0, 0.02 * h), y * height + r.gauss(0, 0.01 * h)
                s = h * tall * r.gauss(1, 0.02)
                box = round(at_x - s * wide / 2), round(at_y - s), round(s * wide), round(s)
                yield second, Detection(kind, round(r.uniform(0.5, 0.9), 2), box)
            second += STEP
            dx, dy, step = (to_x - x) * width, (to_y - y) * height, speed * STEP * h * (3 if kind == "car" else 1)
            share = min(1.0, step / (math.hypot(dx, dy) or 1))
            x, y = x + share * dx / width, y + share * dy / height
            until = second + stays if share == 1 and until == math.inf else until


def play_script(r: Random, script: str, hour: float, from_door: bool = False) -> Iterator[Picture]:
    """Yield the pictures of a script at this hour; `from_door`: it begins at the own door."""
    camera, kinds, way = SCRIPTS[script]
    way = [(*DOOR, 0), *way[1:]] if from_door else way
    boxes: dict[float, list[Detection]] = {}
    for n in range(0 if kinds else r.randrange(1, 8)):
        box = r.randrange(900), r.randrange(300), r.randrange(100, 600), r.randrange(150, 420)
        boxes[n * STEP] = [Detection("person", round(r.uniform(0.36, 0.55), 2), box)]
    for n, kind in enumerate(kinds.split()):
        mine = [(x + 0.06 * n, y, stays * r.uniform(0.7, 1.3)) for x, y, stays in way]
        for second, found in follow(r, kind, mine, r.uniform(0.7, 1)):
            boxes.setdefault(second, []).append(found)
    if script in ALARMS.values():  # … and runs away
        after = max(boxes) + STEP
        boxes |= {after + second: [found] for second, found in follow(r, "person", [mine[-1], (1.02, 0.5, 0)], 2.2)}
    for second, all_found in sorted(boxes.items()):
        yield hour * 3600 + second, camera, tuple(all_found), SIZE


class Household:
    """Its habits, its record, and what its owner did."""

    def __init__(self, name: str, every: float = 0) -> None:
        self.habits, self.every, self.r = (*ALL, *HOUSEHOLDS[name]), every, Random(name)
        self.simulation, self.false_highs = Simulation(), 0
        zones = {camera: [ZONES[kind] for kind in kinds] for camera, kinds in CAMERAS.items()}
        self.about = {"zones": zones, "dark": by_sun(PLACE)}

    def play_week(self, week: int) -> tuple[int, ...]:
        """Return how many false highs, alarming stories found, incidents to review, and notifications there were."""
        alarm, on = self._alarm()
        totals: tuple[int, ...] = (0, 0, 0, 0)
        for day in range(7):
            start, pictures = MONDAY + timedelta(7 * week + day), alarm if day == on else []
            for habit in (h for h in self.habits if day in h.days):
                for _ in range(int(habit.times + self.r.random())):
                    hour = min(23.5, max(0.3, self.r.gauss(habit.hour, habit.spread) % 24))
                    pictures = [*pictures, *play_script(self.r, habit.script, hour)]
            scenario = Scenario(start, tuple(sorted(pictures, key=lambda p: p[0])), self.about)
            self.simulation.play(scenario, self.every)
            found = self._review(to_microseconds(start), [p[0] for p in alarm] if day == on else [])
            totals = tuple(map(sum, zip(totals, (*found, len(self.simulation.alerts)), strict=True)))
        return totals

    def _alarm(self) -> tuple[list[Picture], int]:
        """Make the alarming story of a week, any or one as the owner called fine; and its day."""
        sql = "SELECT signature FROM feedback WHERE signature NOT LIKE '%street%' ORDER BY id DESC LIMIT 1"
        if (row := self.simulation.record.one(sql)) and self.r.random() < IN_SIGNATURE:
            s = Signature(**json.loads(row[0]))
            day, hour = self.r.choice(WORK if s.workday else FREE), min(23.5, s.hour + self.r.random())
            return [*play_script(self.r, ALARMS[s.camera_id], hour, s.from_own_door)], day
        return [*play_script(self.r, self.r.choice([*ALARMS.values()]), self.r.uniform(0.5, 4.5))], self.r.randrange(7)

    def _review(self, zero: int, alarm: Sequence[float]) -> tuple[int, bool, int]:
        """Look through a day, answer, and build baselines; false highs, whether the alarming story is high, incidents."""
        record, is_found = self.simulation.record, False
        first, last = (zero + round(f(alarm, default=-1) * 1e6) for f in (min, max))
        for _, event in self.simulation.revisions if alarm else ():
            is_found |= event.verdict.risk_score >= HIGH and first <= to_microseconds(event.started_at) <= last
        sql = "SELECT gravest_event_id, started_at, last_at, risk_score FROM incidents WHERE status <> 'merged' AND started_at >= ?"
        rows = [row for row in record.rows(sql, zero) if row[3] >= RISK_FLOORS["medium"]]
        false = [event for event, start, end, score in rows if score >= HIGH and not (start <= last and end >= first)]
        for event in false:
            self.false_highs += 1
            if self.false_highs % 2:
                write_answer(record, event, "fine", zero + DAY - 1)
        build_baselines(record, zero + DAY, UTC)
        return len(false), is_found, len(rows)


def simulate(weeks: int, every: float = 0) -> list[dict[str, Any]]:
    """Play so many weeks of all households; return a row for each week, over all of them."""
    houses, rows = [Household(name, every) for name in HOUSEHOLDS], []
    cameras, days = len(CAMERAS) * len(houses), 7 * len(houses)
    for week in range(weeks):
        false, found, medium, rang = map(sum, zip(*(house.play_week(week) for house in houses), strict=True))
        rows.append({
            "week": week + 1, "false_high_per_camera": round(false / cameras, 3), "recall_high": round(found / len(houses), 3),
            "notifications_per_day": round(rang / days, 2), "review_minutes_per_day": round(medium * REVIEW_SECONDS / 60 / days, 2),
        })  # fmt: skip
    return rows
