"""Measure how well the rules or the language model separate alarming stories from the others.

The frames of all labelled stories go through the ledger and the real batching (a record in memory, one day per story);
a judge gets the `Facts` of each closed event. A story's score is the highest of its events, 0 if it has none.
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
STORIES_PER_CAMERA_DAY = 24  # an assumption (one story an hour), printed with each number that depends on it
BUCKETS = (0, 30, 60, 85, 101)  # the levels: low, medium, high, critical
HIGH = 60
ATTEMPTS = 3  # a request without a valid verdict is repeated at once

NO_FLOOR = Verdict(0, "", "")


class StoryResult(NamedTuple):
    """A story, its closed events and the verdicts on them."""

    story: Story
    facts: tuple[Facts, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def score(self) -> int:
        return max((v.risk_score for v in self.verdicts), default=0)


def judge_by_rules(stories: Sequence[Story], every: int = 1) -> list[StoryResult]:
    """Play the stories with one picture in `every` seconds and judge each closed event by the rules."""
    parts = zip(stories, play(stories, every), strict=True)
    return [StoryResult(story, events, tuple(judge(facts, UTC) for facts in events)) for story, events in parts]


def judge_by_model(results: Sequence[StoryResult], url: str) -> list[StoryResult]:
    """Judge the same events by the language model at `url`, without the floor that the rules set.

    Model, timeout and concurrency are those of the settings. An event without a valid answer keeps its verdict.

    Raises:
        UserError: no server answers there, or it gives no valid verdict at all.
    """
    events = [facts for result in results for facts in result.facts]
    answers = iter(asyncio.run(_ask(url, events)))
    return [
        result._replace(verdicts=tuple(next(answers) or before for before in result.verdicts)) for result in results
    ]


def apply_floors(alone: Sequence[StoryResult], rules: Sequence[StoryResult]) -> list[StoryResult]:
    """Raise the model's verdicts to the floor that the rules set, as the pipeline does."""
    return [
        a._replace(verdicts=tuple(apply_floor(v, by_rules) for v, by_rules in zip(a.verdicts, r.verdicts, strict=True)))
        for a, r in zip(alone, rules, strict=True)
    ]


def apply_floor(verdict: Verdict, rules: Verdict) -> Verdict:
    return replace(verdict, risk_score=max(verdict.risk_score, FLOOR[rules.risk_level]))


async def _ask(url: str, events: Sequence[Facts]) -> list[Verdict | None]:
    from hearthwatch.stages.llm_client import Client

    given = settings()
    model, n = given.hearthwatch_nemotron_model, given.hearthwatch_nemotron_concurrency
    client, places = Client(url, model, given.hearthwatch_nemotron_timeout_seconds, n), asyncio.Semaphore(n)
    try:
        if not await client.is_alive():
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
    """Send the stories' frames through ledger and batching; return the facts of each story's closed events."""
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
    """The number of stories with a score from `low` to `high`, by label."""

    low: int
    high: int
    labels: Mapping[Label, int]

    @property
    def alarming(self) -> float | None:
        """Return the share that is alarming; None if there are no stories."""
        n = sum(self.labels.values())
        return self.labels["alarming"] / n if n else None


class Report(NamedTuple):
    """The figures that `hearthwatch evaluate` prints."""

    stories: Mapping[Label, int]
    auroc: float
    auroc_error: float
    """Standard error (Hanley and McNeil 1982)."""
    auroc_people: float
    """Of stories with a person only."""
    recall: float
    """Share of alarming stories at level high or critical."""
    false_highs: float
    """Stories that are not alarming at level high or critical, per camera and day of 24 such stories."""
    evidence: float
    """Share of verdicts that cite at least one detection, and only ones that exist in their event."""
    unanswered: int
    """Events without a valid answer of the language model; the rules' verdict counts."""
    buckets: tuple[Bucket, ...]

    def as_dict(self) -> dict[str, Any]:
        return self._asdict() | {"buckets": [b._asdict() | {"alarming": b.alarming} for b in self.buckets]}


def report(results: Sequence[StoryResult], analyzer: Analyzer = "rules") -> Report:
    """Compute the figures for `analyzer` from at least one alarming story and one other."""
    alarming, rest = _scores(results, True), _scores(results, False)
    people = [
        result for result in results if any(d.object_type == "person" for frame in result.story.frames for d in frame)
    ]
    area = auroc(alarming, rest)
    cited = [
        has_evidence(facts, given)
        for result in results
        for facts, given in zip(result.facts, result.verdicts, strict=True)
    ]
    return Report(
        _labels(results),
        area,
        auroc_error(area, len(alarming), len(rest)),
        auroc(_scores(people, True), _scores(people, False)),
        sum(score >= HIGH for score in alarming) / len(alarming),
        STORIES_PER_CAMERA_DAY * sum(score >= HIGH for score in rest) / len(rest),
        sum(cited) / len(cited),
        sum(given.analyzer != analyzer for result in results for given in result.verdicts),
        tuple(
            Bucket(a, b - 1, _labels([result for result in results if a <= result.score < b]))
            for a, b in pairwise(BUCKETS)
        ),
    )


def auroc(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the probability that one of `above` scores higher than one of `below`; a tie is half."""
    return sum((a > b) + (a == b) / 2 for a in above for b in below) / (len(above) * len(below))


def auroc_error(area: float, above: int, below: int) -> float:
    """Return the standard error of an AUROC (Hanley and McNeil, Radiology 143, 1982)."""
    q1, q2, square = area / (2 - area), 2 * area**2 / (1 + area), area**2
    return sqrt((area - square + (above - 1) * (q1 - square) + (below - 1) * (q2 - square)) / (above * below))


def has_evidence(facts: Facts, given: Verdict) -> bool:
    """Whether the verdict cites evidence and all of it exists."""
    return bool(given.evidence) and set(given.evidence) <= {s.id for s in facts.sightings}


def _scores(results: Sequence[StoryResult], alarming: bool) -> list[int]:
    return [result.score for result in results if (result.story.label == "alarming") is alarming]


def _labels(results: Sequence[StoryResult]) -> dict[Label, int]:
    counts: dict[Label, int] = dict.fromkeys(get_args(Label), 0)
    for result in results:
        counts[result.story.label] += 1
    return counts
