"""Measure what people would be notified of: labelled stories and incidents, through the product's own code on a virtual clock.

Each picture goes through ledger, suppression and batching, is judged by the rules; what it opens, raises or closes goes
through incidents and the notification policy (a record in memory, default settings, ticks while anything is open). What a
file says about sun, places, notes and habits reaches the rules as in production. A story's score is the highest that any
revision of its events had, 0 if it has no event.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
from PIL import Image

from hearthwatch.demo.stories import Label, Story, draw_picture, draw_start, sun
from hearthwatch.record import Record
from hearthwatch.record.baselines import BaselineRow, write_baselines
from hearthwatch.record.batching import Batching
from hearthwatch.record.incidents import Incidents
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.notifications import Sent, rank
from hearthwatch.record.units import DAY
from hearthwatch.record.verdicts import Verdicts
from hearthwatch.schemas.case import Facts, Surroundings
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import (
    RISK_FLOORS,
    Analyzer,
    Detected,
    Detection,
    Event,
    RiskLevel,
    Tick,
    Verdict,
    from_microseconds,
    risk_level,
    to_microseconds,
)
from hearthwatch.schemas.settings import settings
from hearthwatch.sinks.notification_policy import Rules, decide
from hearthwatch.stages.crops import PICTURES_MAX, Reader
from hearthwatch.stages.darkness import SUN_BELOW, by_picture
from hearthwatch.stages.incident import IncidentGrouping
from hearthwatch.stages.picture_verdict import ACTS
from hearthwatch.stages.prompt import WITHOUT_PICTURES, Question, question
from hearthwatch.stages.rules import KIND, RulesJudge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hearthwatch.stages.llm_client import Client

log = logging.getLogger(__name__)

MONDAY = datetime(
    2026, 1, 5, tzinfo=UTC
)  # a story a week, on its own day of the week; the cameras' clocks run on UTC here
SIZE = 640, 360
TICK_SECONDS = 5
HIGH = RISK_FLOORS["high"]
NOT_BOXES = {"picture", "identity", "pose"}  # boxes alone cannot say what a story is that needs one of these
ATTEMPTS = 3  # a request without a valid verdict is repeated at once
RESAMPLINGS, SEED = 2000, 1

NO_FLOOR = Verdict(0, "", "")
WEEKLY = 4  # of 28 days: neither usual nor new
HABITS = (
    ("empty|quiet|no ?(one|body)|never", 0),
    ("(every|each|most|on) (mon|tue|wed|thu|fri|sat|sun)", WEEKLY),
    ("this (hour|time)|every|each|most|daily|usual", 24),
)  # words for how often something is here at this hour; on how many of 28 days. Other words describe the place.
OPEN = "SELECT 1 WHERE EXISTS (SELECT 1 FROM events WHERE status = 'open') OR EXISTS (SELECT 1 FROM incidents WHERE status = 'open')"


Picture = tuple[float, str, tuple[Detection, ...], tuple[int, int]]
"""Second, camera, what was detected, and the size in pixels."""


class Scenario(NamedTuple):
    """A labelled story of one camera, or an incident over several."""

    start: datetime
    """When its second 0 is, by the cameras' clock."""
    pictures: tuple[Picture, ...]
    about: Mapping[str, Any]
    """What its file says: `label`, `needs`, `alerts_min`, …"""


class StoryResult(NamedTuple):
    """A story, its events, and the gravest verdict on each."""

    about: Mapping[str, Any]
    facts: tuple[Facts, ...]
    verdicts: tuple[Verdict, ...]
    seconds_to_high: float | None
    """From the first sighting to the first revision at high; None: there is none."""
    seconds_in_sight: float | None
    """To it from the first sight of a person in its event, or of anything if it has none."""
    notifications: int
    """How many rang."""
    scenario: str
    asked: tuple[Question, ...] = ()
    """What a language model is asked about them, if one is."""
    read: Reader | None = None
    """Finds its pictures; None: it has none."""

    @property
    def score(self) -> int:
        return max((v.risk_score for v in self.verdicts), default=0)


def scenario_of(about: Mapping[str, Any]) -> str:
    """Return what stories that vary one thing share, "" if none is named: an interval takes all of them or none."""
    return str(about.get("scenario") or re.split(r"[(,;:#/]|\s\d", str(about.get("title") or ""))[0].strip())


def read_scenarios(path: Path, key: str) -> list[Scenario]:
    """Read a file of stories or incidents: a JSON list, or an object with this list as `key`.

    Raises:
        UserError: it is not; the text says what is wrong.
    """
    try:
        content = json.loads(path.read_text())
        return [_read_scenario(row, path.parent) for row in (content[key] if isinstance(content, dict) else content)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise UserError(f"{path}: no file of {key}, as docs/judgement.md describes it: {what}") from None


def _read_scenario(row: Mapping[str, Any], folder: Path) -> Scenario:
    frames = row.get("frames", ())
    shots = row["shots"] if "shots" in row else [(second, row["camera"], boxes) for second, boxes, *_ in row["frames"]]
    sizes = row["sizes"] if "shots" in row else {row["camera"]: row["size"]}
    if not shots or row.get("label", "odd") not in get_args(Label):
        raise ValueError(f"{row['start']}: {len(shots)} pictures, label {row.get('label')!r}")
    pictures = [
        (second, camera, tuple(Detection(kind, sure, tuple(box)) for kind, sure, *box in boxes), tuple(sizes[camera]))
        for second, camera, boxes in sorted(shots, key=lambda shot: float(shot[0]))
    ]
    paths = {float(second): folder / path for second, _, *rest in frames for path in rest}
    about = {**row, "picture": partial(_open, paths)} if paths else row
    return Scenario(datetime.fromisoformat(row["start"]).replace(tzinfo=UTC), tuple(pictures), about)


def _open(paths: Mapping[float, Path], second: float) -> Image.Image | None:
    path = paths.get(second)
    return Image.open(path).convert("RGB") if path and path.is_file() else None


def from_story(story: Story, *, packages: bool = False) -> Scenario:
    """Convert a story of the drawn yard, as the default detector sees it: without packages, so no box shows a theft."""
    name = story.camera.replace("_", " ").title()
    kept = [[d for d in boxes if packages or d.object_type != "package"] for boxes in story.frames]
    pictures = tuple((float(second), name, tuple(boxes), SIZE) for second, boxes in enumerate(kept))
    needs = ["picture"] if "thief" in story.plots and not packages else []
    about = {"label": story.label, "scenario": story.plots[0], "needs": needs, "dark": sun(story.start) < SUN_BELOW}
    about["picture"] = partial(draw_picture, story)
    return Scenario(story.start.replace(tzinfo=UTC), pictures, about)


def compare_drawn(stories: Sequence[Story]) -> dict[str, Any]:
    """Play them with the packages that a detector of drawn things finds, and every third in three kinds of darkness."""

    def moved(light: str) -> Iterator[Scenario]:
        return (from_story(s._replace(start=draw_start(light, f"{s.camera}/{s.seed}"))) for s in stories[::3])

    lights = {light: _rates(judge_stories([*moved(light)])) for light in ("dark evening", "dark morning", "midnight")}
    return {
        "with_packages": _rates(judge_stories([from_story(s, packages=True) for s in stories])),
        "light": {light: {key: rates[key] for key in ("recall_high", "false_high")} for light, rates in lights.items()},
    }


def skip_pictures(pictures: Sequence[Picture], every: float) -> list[Picture]:
    """Leave one picture of each camera in so many seconds."""
    kept: list[Picture] = []
    due: dict[str, float] = {}
    for picture in pictures:
        second, camera, *_ = picture
        if second >= due.get(camera, second):
            due[camera] = second + every
            kept.append(picture)
    return kept


def habit(about: Mapping[str, Any], camera: str, start: datetime) -> Iterator[BaselineRow]:
    """Yield the baseline of what a file calls usual here at this hour, in words, as four watched weeks would have given it."""
    words = about.get("usual") or ""
    seen = next((n for pattern, n in HABITS if re.search(pattern, words, re.IGNORECASE)), None)
    kinds = [kind for kind in KIND if re.search(rf"\b{kind}s?\b", words, re.IGNORECASE)] or KIND
    if seen is not None:
        for place in ("", *{zone["kind"] for zone in about.get("zones") or []}):
            here = start.hour, start.weekday() < 5, 20.0, 28
            yield BaselineRow(camera, "", place, *here)
            for kind in KIND:
                days = seen if kind in kinds else WEEKLY
                yield BaselineRow(camera, kind, place, *here, days * 20 / 28, days)


class Simulation:
    """A record in memory, and all that decides what is notified."""

    def __init__(self) -> None:
        self.record = Record(":memory:")
        self.ledger = Ledger(self.record)
        self.batching = Batching(self.record, self.judge)
        self.incidents = Incidents(self.record, IncidentGrouping().reach())
        self.rules, self.history = Rules(zone=UTC), dict[int, Sent]()
        self.revisions: list[tuple[float, Event]] = []
        """Of the events, with the second at which each was published."""
        self.alerts: list[tuple[float, RiskLevel]] = []
        """Notifications that rang."""
        self.seconds = dict[int, float]()
        """Frame id → the second of its scenario."""
        self.about: Mapping[str, Any] = {}
        """What the file of the scenario that is played says."""

    def judge(self, surroundings: Surroundings) -> RulesJudge:
        """Make the judge of an event: the rules, with what the scenario's file says."""
        return RulesJudge(surroundings, UTC, self._is_dark)

    def _is_dark(self, at: int, is_grey: bool | None) -> bool:
        dark = self.about.get("dark")
        return by_picture(at, is_grey, UTC) if dark is None else dark(at, is_grey) if callable(dark) else bool(dark)

    def play(self, scenario: Scenario, every: float = 0, week: int | None = None) -> None:
        """Let a scenario happen; in this week with separate cameras, or when its file says."""
        prefix, start, self.about = "", scenario.start, scenario.about
        if week is not None:
            prefix, day = f"{week}/", MONDAY + timedelta(7 * week + start.weekday())
            start = datetime.combine(day, start.time(), UTC)
        zero, cameras = to_microseconds(start), set[str]()
        pictures = skip_pictures(scenario.pictures, every)
        self.revisions, self.alerts = [], []
        first = self.second = pictures[0][0]
        for n, (second, name, boxes, size) in enumerate(pictures, 1):
            self._tick_until(second, zero, first)
            at = zero + round(second * 1e6)
            found = FoundFile(prefix + name, name, f"{prefix}{name}/{n}.jpg", at * 1000, 1, at, at)
            self.ledger.discover([found], at)
            if name not in cameras:
                cameras.add(name)
                if usual := [*habit(self.about, prefix + name, start)]:
                    write_baselines(self.record, at - DAY, usual)
                zones = self.about.get("zones") or []
                zones = zones.get(name, []) if isinstance(zones, dict) else zones
                known = json.dumps(zones), self.about.get("notes"), found.camera_id
                self.record.execute("UPDATE cameras SET zones = ?, notes = ? WHERE id = ?", *known)
            (entry,) = self.ledger.todo(0, 1)
            self.seconds[entry.frame.id] = second
            self._step(Detected(entry.frame, *size, boxes), second - first, at)
        self._tick_until(float("inf"), zero, first)

    def _tick_until(self, second: float, zero: int, first: float) -> None:
        """Let time pass while an event or incident is open, then jump."""
        while self.second + TICK_SECONDS < second and self.record.rows(OPEN):
            self.second += TICK_SECONDS
            at = zero + round(self.second * 1e6)
            self._step(self.ledger.tick(at), self.second - first, at)
        self.second = max(self.second, second)

    def _step(self, item: Detected | Tick, second: float, at: int) -> None:
        events = self.batching.write([item])
        self.revisions += [(second, event) for event in events]
        news = self.incidents.update() if events else []
        for message in [*news, *(self.incidents.close_due(at) if isinstance(item, Tick) else [])]:
            decision = decide(message, self.history, self.rules, from_microseconds(at))
            self.history |= {row.incident_id: row for row in decision.rows}
            if decision.action == "loud":
                self.alerts.append((second, message.incident.risk_level))


def judge_stories(stories: Sequence[Scenario], every: float = 0, *, asks: bool = False) -> list[StoryResult]:
    """Play the stories, one after the other, with one picture in `every` seconds; the rules judge.

    `asks`: a language model is going to judge them, too.
    """
    simulation, results = Simulation(), []
    for week, story in enumerate(stories):
        simulation.play(story, every, week)
        gravest: dict[int, Verdict] = {}
        for _, event in simulation.revisions:
            gravest[event.id] = max(event.verdict, gravest.get(event.id, NO_FLOOR), key=lambda v: v.risk_score)
        first = next((second for second, _, boxes, _ in story.pictures if boxes), 0) - story.pictures[0][0]
        facts = tuple(map(simulation.batching.writer.facts, gravest))
        raised = ((second, event.id) for second, event in simulation.revisions if event.verdict.risk_score >= HIGH)
        high, event_id = next(raised, (None, 0))
        cases = map(Verdicts(simulation.record, UTC).case, gravest if asks else ())
        shows = PICTURES_MAX if "picture" in story.about else 0
        asked = tuple(question(case, simulation.judge, UTC, pictures=shows) for case in cases)
        read = partial(_read_picture, story.about["picture"], simulation.seconds) if shows else None
        wait, sight, rang = None, None, len(simulation.alerts)
        if high is not None:
            (boxes,) = (one.sightings for one, event in zip(facts, gravest, strict=True) if event == event_id)
            seen = min(boxes, key=lambda s: (s.object_type != "person", s.at))
            wait, sight = high - first, high + story.pictures[0][0] - simulation.seconds[seen.frame_id]
        name = scenario_of(story.about) or str(week)
        results.append(StoryResult(story.about, facts, tuple(gravest.values()), wait, sight, rang, name, asked, read))
    simulation.record.close()
    return results


def _read_picture(
    draw: Callable[[float], Image.Image | None], seconds: Mapping[int, float], frame: int
) -> tuple[Image.Image, str] | None:
    picture = draw(seconds[frame])
    return (picture, "story") if picture else None


def judge_incident(scenario: Scenario, every: float = 0) -> dict[str, Any]:
    """Play an incident; say what people were notified of, and whether it is what its file wants."""
    simulation, about = Simulation(), scenario.about
    simulation.play(scenario, every)
    after, within = about.get("alert_after_s") or 0, about.get("alert_within_s")
    alerts = [second for second, level in simulation.alerts if rank(level) >= rank("high")]
    first = next((second - after for second in alerts if second >= after), None)
    is_ok = len(simulation.alerts) <= about["notifications_max"] and len(alerts) >= about["alerts_min"]
    (incidents,) = simulation.record.one("SELECT count(*) FROM incidents WHERE status <> 'merged'")
    (events,) = simulation.record.one("SELECT count(*) FROM events WHERE status <> 'merged'")
    simulation.record.close()
    return {
        "name": about["name"], "events": events, "incidents": incidents, "notifications": len(simulation.alerts),
        "alerts": len(alerts), "first_alert_seconds": first,
        "ok": is_ok and (within is None or (first is not None and first <= within)),
    }  # fmt: skip


def judge_by_model(results: Sequence[StoryResult], url: str) -> list[StoryResult]:
    """Judge the same events by the language model at `url`, without the floor that the rules set.

    Stories that have pictures are shown to a model that reads them. Model, timeout and concurrency are those of the settings. An event without a valid answer keeps its verdict.

    Raises:
        UserError: no server answers there, or it gives no valid verdict at all.
    """
    events = [
        (asked._replace(floor=0, ground=asked.ground and asked.ground._replace(floor=0)), result.read)
        for result in results
        for asked in result.asked
    ]
    answers = iter(asyncio.run(_ask(url, events)))
    return [
        result._replace(verdicts=tuple(next(answers) or before for before in result.verdicts)) for result in results
    ]


def apply_floors(results: Sequence[StoryResult]) -> list[StoryResult]:
    """Raise the model's verdicts to the floor that hard signs set, as the pipeline does."""
    return [
        r._replace(verdicts=tuple(replace(v, risk_score=max(v.risk_score, asked.floor)) for v, asked in zip(r.verdicts, r.asked, strict=True)))
        for r in results
    ]  # fmt: skip


async def _ask(url: str, events: Sequence[tuple[Question, Reader | None]]) -> list[Verdict | None]:
    from hearthwatch.stages.llm_client import READS, Client

    given = settings()
    model, n = given.hearthwatch_nemotron_model, given.hearthwatch_nemotron_concurrency
    client, places = Client(url, model, given.hearthwatch_nemotron_timeout_seconds, n), asyncio.Semaphore(n)
    try:
        if not await client.is_alive():
            raise UserError(f"{url}: no language model answers there; `hearthwatch llm` starts one")
        limit = given.hearthwatch_nemotron_pictures
        reads = await client.reads_pictures() if limit == "auto" else bool(limit)
        log.info("%s %s", client.name, READS[reads])
        if not reads:
            events = [(asked._replace(shots=(), version=WITHOUT_PICTURES), None) for asked, _ in events]
        answers = await asyncio.gather(*(_verdict(client, asked, read, places) for asked, read in events))
    finally:
        await client.close()
    if not any(answers):
        raise UserError(f"{url} gave no verdict on any of {len(events)} events; the warnings say why")
    return answers


async def _verdict(client: Client, asked: Question, read: Reader | None, places: asyncio.Semaphore) -> Verdict | None:
    from hearthwatch.stages.llm_client import NemotronError
    from hearthwatch.stages.llm_queue import ask_for_verdict

    async with places:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await ask_for_verdict(client, asked, read)
            except NemotronError as error:
                log.warning("event %d, attempt %d of %d: %s", asked.facts.event_id, attempt, ATTEMPTS, error)
    return None


# -- statistics


def report(results: Sequence[StoryResult], analyzer: Analyzer = "rules") -> dict[str, Any]:
    """Compute the figures that `hearthwatch evaluate --json` prints."""
    labels, levels = get_args(Label), get_args(RiskLevel)
    count = Counter((risk_level(r.score), r.about["label"]) for r in results)
    alarms = [r for r in results if r.about["label"] == "alarming"]
    needs: dict[str, list[bool]] = {}
    for r in results:
        for tag in sorted(r.about.get("needs", ())):
            needs.setdefault(tag, []).append((r.score >= HIGH) != (r.about["label"] == "alarming"))
    cited = [
        {*v.evidence} <= {s.id for s in facts.sightings} and bool(v.evidence)
        for r in results
        for facts, v in zip(r.facts, r.verdicts, strict=True)
    ]
    return {
        **_rates(results),
        "boxes_can_tell": _rates([r for r in results if NOT_BOXES.isdisjoint(r.about.get("needs", ()))]),
        "levels": {level: {label: count[level, label] for label in labels} for level in levels},
        "seconds_to_high": _waits([r.seconds_to_high for r in alarms]),
        "seconds_in_sight": _waits([r.seconds_in_sight for r in alarms]),
        "needs": {tag: {"stories": len(wrong), "wrong": sum(wrong)} for tag, wrong in needs.items()},
        "notifications": sum(r.notifications for r in results),
        "evidence": _share([(is_so, "") for is_so in cited]),
        "unanswered": sum(v.analyzer != analyzer for r in results for v in r.verdicts),
    }


def picture_figures(results: Sequence[StoryResult]) -> dict[str, Any]:
    """Say what pictures changed: each verdict, vetoes against stories of which `nothing` is true, acts against the rules'."""
    judged = [
        (v, bool(r.about.get("nothing")), asked.ground.acts if asked.ground else frozenset[str]())
        for r in results
        for v, asked in zip(r.verdicts, r.asked, strict=False)
        if v.picture_verdict
    ]
    vetoes = [(nothing, "") for v, nothing, _ in judged if v.picture_verdict == "rejected"]
    acts: dict[str, Counter[str]] = {}
    for v, _, by_rules in judged:
        by_model = {act["act"] for act in v.analysis.get("acts", ())}
        for act, meaning in ACTS.items():
            by = ("rules", meaning.rules in by_rules), ("model", act in by_model)
            if who := " and ".join(name for name, saw in by if saw):
                acts.setdefault(act, Counter({"rules": 0, "model": 0, "rules and model": 0}))[who] += 1
    return {
        "events": len(judged), "verdicts": Counter(str(v.picture_verdict) for v, *_ in judged), "veto_precision": _share(vetoes),
        "veto_recall": _share([(v.picture_verdict == "rejected", "") for v, nothing, _ in judged if nothing]), "acts": acts,
    }  # fmt: skip


def _rates(results: Sequence[StoryResult]) -> dict[str, Any]:
    alarming = [r for r in results if r.about["label"] == "alarming"]
    rest = [r for r in results if r.about["label"] != "alarming"]
    area, low = auroc(*([(r.score, r.scenario) for r in some] for some in (alarming, rest)))
    found, false = ([(r.score >= HIGH, r.scenario) for r in some] for some in (alarming, rest))
    return {
        "stories": len(results), "auroc": area, "auroc_low": low,
        "recall_high": _share(found), "recall_high_low": _end(found, 0.025),
        "false_high": _share(false), "false_high_high": _end(false, 0.975),
    }  # fmt: skip


def _waits(seconds: Sequence[float | None]) -> dict[str, float | None]:
    known = [wait for wait in seconds if wait is not None]
    return {f"p{p}": round(float(np.percentile(known, p)), 1) if known else None for p in (50, 95)}


Marked = Sequence[tuple[float, str]]
"""Scores, or whether something is so, each with its scenario."""


def _share(values: Marked) -> float | None:
    return round(sum(value for value, _ in values) / len(values), 4) if values else None


def _end(values: Marked, quantile: float) -> float | None:
    """Return one end of the 95 % interval of a share."""
    (weights,) = _resample(values)
    return _quantile(weights @ [value for value, _ in values], weights.sum(axis=1), quantile)


def auroc(above: Marked, below: Marked) -> tuple[float | None, float | None]:
    """Return the probability that one of `above` scores higher than one of `below` (a tie is half), and how low it may be.

    That is the lower end of the 95 % interval of a bootstrap over the scenarios.
    """
    if not above or not below:
        return None, None
    a, b = np.array([score for score, _ in above])[:, None], np.array([score for score, _ in below])
    wins = (a > b) + (a == b) / 2
    rows, columns = _resample(above, below)
    low = _quantile((rows @ wins * columns).sum(axis=1), rows.sum(axis=1) * columns.sum(axis=1), 0.025)
    return round(float(wins.mean()), 4), low


def _resample(*parts: Marked) -> list[NDArray[np.int64]]:
    """Draw scenarios with replacement, the same each time; for each value of each part how often it was drawn."""
    names, index = np.unique([name for part in parts for _, name in part] or [""], return_inverse=True)
    drawn = np.random.default_rng(SEED).multinomial(len(names), [1 / len(names)] * len(names), RESAMPLINGS)[:, index]
    return np.split(drawn[:, : sum(map(len, parts))], np.cumsum([*map(len, parts)])[:-1], axis=1)


def _quantile(sums: NDArray[Any], weights: NDArray[Any], quantile: float) -> float | None:
    has = weights > 0
    return round(float(np.quantile(sums[has] / weights[has], quantile)), 4) if has.any() else None
