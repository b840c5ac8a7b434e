"""How well a judge tells alarming stories from the rest: the labelled stories, cut into events as in production, scored.

Pure but for a record in memory. The frames of all stories go through the ledger and the real batching, each story on a
day of its own; what a judge sees are the `Facts` that a closed event has there. A story counts with the highest score
of its events; one in which the detector saw nothing opens no event and counts with 0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from hearthwatch.demo.stories import Label, Story
from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.events import Facts
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import Analyzer, Detected, Tick, Verdict, to_microseconds
from hearthwatch.schemas.settings import settings
from hearthwatch.stages.prompt import FLOOR, messages, schema, verdict
from hearthwatch.stages.rules import judge

if TYPE_CHECKING:
    from hearthwatch.stages.llm_client import Client

log = logging.getLogger(__name__)

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)  # the cameras' clocks run on UTC here
SIZE = 640, 360
STORIES_PER_CAMERA_DAY = 24  # an assumption, said wherever the number built on it is: one story an hour
BUCKETS = (0, 30, 60, 85, 101)  # the levels: low, medium, high, critical
HIGH = 60
ATTEMPTS = 3  # a question that brings no verdict is asked again at once

NO_FLOOR = Verdict(0, "", "")


class Told(NamedTuple):
    """A story, the closed events that came of it, and the verdicts on them."""

    story: Story
    facts: tuple[Facts, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def score(self) -> int:
        return max((v.risk_score for v in self.verdicts), default=0)


def tell(stories: Sequence[Story], every: int = 1) -> list[Told]:
    """Play the stories with one picture in `every` seconds; the rules' verdict on each closed event."""
    parts = zip(stories, play(stories, every), strict=True)
    return [Told(story, events, tuple(judge(facts, UTC) for facts in events)) for story, events in parts]


def ask(told: Sequence[Told], url: str) -> list[Told]:
    """The verdicts of the language model behind `url` on the same events, its own, without the floor that rules set.

    Model, time-out and questions in flight are those of the settings. An event that it gives no verdict on keeps the one
    it had. Raises UserError if nobody answers there.
    """
    events = [facts for t in told for facts in t.facts]
    answers = iter(asyncio.run(_ask(url, events)))
    return [t._replace(verdicts=tuple(next(answers) or before for before in t.verdicts)) for t in told]


def stored(alone: Sequence[Told], rules: Sequence[Told]) -> list[Told]:
    """What the pipeline makes of the model's verdicts: none lies below the floor that the rules set."""
    return [
        a._replace(verdicts=tuple(floored(v, by_rules) for v, by_rules in zip(a.verdicts, r.verdicts, strict=True)))
        for a, r in zip(alone, rules, strict=True)
    ]


def floored(verdict: Verdict, rules: Verdict) -> Verdict:
    return replace(verdict, risk_score=max(verdict.risk_score, FLOOR[rules.risk_level]))


async def _ask(url: str, events: Sequence[Facts]) -> list[Verdict | None]:
    from hearthwatch.stages.llm_client import Client

    given = settings()
    model, n = given.hearthwatch_nemotron_model, given.hearthwatch_nemotron_concurrency
    client, places = Client(url, model, given.hearthwatch_nemotron_timeout_seconds, n), asyncio.Semaphore(n)
    try:
        if not await client.alive():
            raise UserError(f"{url}: no language model answers there; `hearthwatch llm` starts one")
        answers = await asyncio.gather(*(_verdict(client, facts, places) for facts in events))
    finally:
        await client.close()
    if not any(answers):
        raise UserError(f"{url} gave no verdict on any of {len(events)} events; the warnings say why")
    return answers


async def _verdict(client: Client, facts: Facts, places: asyncio.Semaphore) -> Verdict | None:
    from hearthwatch.stages.llm_client import NemotronError

    async with places:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return verdict(await client.ask(messages(facts, zone=UTC), schema(facts)), facts, NO_FLOOR)
            except (NemotronError, ValueError) as error:
                log.warning("event %d, attempt %d of %d: %s", facts.event_id, attempt, ATTEMPTS, error)
    return None


def play(stories: Sequence[Story], every: int = 1) -> list[tuple[Facts, ...]]:
    """The stories' frames through ledger and batching; -> the facts of each story's closed events."""
    record, last = Record(":memory:"), {}

    def watch(facts: Facts) -> Verdict:
        last[facts.event_id] = facts  # a closed event was judged over all its frames, and last
        return judge(facts, UTC)

    end = FIRST_DAY + timedelta(days=len(stories) + 1)
    shots = [shot for number, story in enumerate(stories) for shot in _shots(number, story)[::every]]
    ledger = Ledger(record)
    ledger.discover([found for found, _ in shots], to_microseconds(end))
    frames = [entry.frame for entry in ledger.todo(0, len(shots))]
    seen = [Detected(frame, *SIZE, shot[1]) for frame, shot in zip(frames, shots, strict=True)]
    Batching(record, watch).write([*seen, Tick(end)])
    parts: list[list[Facts]] = [[] for _ in stories]
    for event, path in record.rows("SELECT e.id, f.path FROM events e JOIN frames f ON f.id = e.id ORDER BY e.id"):
        parts[int(path.split("/")[1])].append(last[event])
    record.close()
    return [tuple(part) for part in parts]


def _shots(number: int, story: Story) -> list[tuple[FoundFile, tuple[Any, ...]]]:
    day = FIRST_DAY + timedelta(days=number)
    start = datetime.combine(day, story.start.time(), UTC)
    times = [to_microseconds(start + timedelta(seconds=second)) for second in range(len(story.frames))]
    folder = story.camera.replace("_", " ").title()
    return [
        (FoundFile(story.camera, folder, f"{folder}/{number}/{second}.jpg", at * 1000, 1, at, at), boxes)
        for second, (at, boxes) in enumerate(zip(times, story.frames, strict=True))
    ]


class Bucket(NamedTuple):
    """The stories with a score from `low` to `high`, counted by label."""

    low: int
    high: int
    labels: Mapping[Label, int]

    @property
    def alarming(self) -> float | None:
        """Share that is alarming; None if there are no stories."""
        n = sum(self.labels.values())
        return self.labels["alarming"] / n if n else None


class Report(NamedTuple):
    """What `hearthwatch evaluate` prints."""

    stories: Mapping[Label, int]
    auroc: float
    auroc_error: float
    """Standard error (Hanley and McNeil 1982)."""
    auroc_people: float
    """Only among stories with a person in them: the hard part."""
    recall: float
    """Share of alarming stories at level high or critical."""
    false_highs: float
    """Stories that are not alarming at level high or critical, per camera and day of 24 such stories."""
    evidence: float
    """Share of verdicts that cite at least one detection, and only ones that exist in their event."""
    unanswered: int
    """Events on which the language model gave no verdict: they count with that of the rules."""
    buckets: tuple[Bucket, ...]

    def as_dict(self) -> dict[str, Any]:
        return self._asdict() | {"buckets": [b._asdict() | {"alarming": b.alarming} for b in self.buckets]}


def report(told: Sequence[Told], analyzer: Analyzer = "rules") -> Report:
    """Add up for `analyzer`. Needs at least one alarming story and one that is not."""
    alarming, rest = _scores(told, True), _scores(told, False)
    people = [t for t in told if any(d.object_type == "person" for frame in t.story.frames for d in frame)]
    area = auroc(alarming, rest)
    cited = [cites(facts, given) for t in told for facts, given in zip(t.facts, t.verdicts, strict=True)]
    return Report(
        _labels(told),
        area,
        auroc_error(area, len(alarming), len(rest)),
        auroc(_scores(people, True), _scores(people, False)),
        sum(score >= HIGH for score in alarming) / len(alarming),
        STORIES_PER_CAMERA_DAY * sum(score >= HIGH for score in rest) / len(rest),
        sum(cited) / len(cited),
        sum(given.analyzer != analyzer for t in told for given in t.verdicts),
        tuple(Bucket(a, b - 1, _labels([t for t in told if a <= t.score < b])) for a, b in pairwise(BUCKETS)),
    )


def auroc(above: Sequence[float], below: Sequence[float]) -> float:
    """The chance that one of `above` scores higher than one of `below`; a tie is half."""
    return sum((a > b) + (a == b) / 2 for a in above for b in below) / (len(above) * len(below))


def auroc_error(area: float, above: int, below: int) -> float:
    """Standard error of an AUROC; Hanley and McNeil, Radiology 143 (1982)."""
    q1, q2, square = area / (2 - area), 2 * area**2 / (1 + area), area**2
    return sqrt((area - square + (above - 1) * (q1 - square) + (below - 1) * (q2 - square)) / (above * below))


def cites(facts: Facts, given: Verdict) -> bool:
    """Whether the verdict names its evidence and all of it exists."""
    return bool(given.evidence) and set(given.evidence) <= {s.id for s in facts.sightings}


def _scores(told: Sequence[Told], alarming: bool) -> list[int]:
    return [t.score for t in told if (t.story.label == "alarming") is alarming]


def _labels(told: Sequence[Told]) -> dict[Label, int]:
    counts: dict[Label, int] = dict.fromkeys(get_args(Label), 0)
    for t in told:
        counts[t.story.label] += 1
    return counts
