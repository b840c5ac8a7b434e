"""`hearthwatch replay`: judge stored events again, with another prompt or another model, or as a shadow.

A verdict replaces the one in force, as a new revision that the feed publishes; a shadow verdict goes into the history only.
It may run beside the pipeline: a verdict is stored only if the event has not changed since the question.
"""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import typer

from hearthwatch.cli.cells import incidents_path
from hearthwatch.flows.graph import configured_graph
from hearthwatch.record import Record
from hearthwatch.record.thumbnails import read_picture
from hearthwatch.record.verdicts import OFF, FailedAttempt, Verdicts
from hearthwatch.schemas.case import Case
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import Event, to_microseconds
from hearthwatch.stages.analyze import Nemotron
from hearthwatch.stages.llm_queue import Finished, LlmQueue
from hearthwatch.stages.prompt import LATEST, PROMPTS, WITHOUT_PICTURES
from hearthwatch.stages.rules import judge_by_rules

WAIT_SECONDS = 0.5
AT_ONCE = 64  # questions in flight: no alert waits for one, and vLLM answers that many together
AWAY_SECONDS_MAX = 60.0  # a server that is unavailable for so long ends the replay; the rest is left as it was
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def replay(
    prompt: Annotated[str, typer.Option(help="Version of the prompt.")] = LATEST,
    since: Annotated[
        str | None, typer.Option(help="From then on: 2026-11-22, 2026-11-22T18:00, or 36h, 7d ago.")
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Into the history only; continues where it was interrupted.")
    ] = False,
) -> None:
    """Ask the language model about stored events again; its verdicts replace those in force, except with --shadow."""
    if prompt not in PROMPTS:
        raise UserError(f"--prompt {prompt}: there is no such prompt; there are {', '.join(PROMPTS)}")
    graph = configured_graph()
    judge, zone = graph.options_of(Nemotron), graph.context.zone
    if judge.judge:
        raise UserError(f"{judge.judge} judges here, and replay asks a language model: remove `judge`")
    if not judge.url:
        raise UserError(f"{OFF}; set it to judge events again")
    start = moment(since, datetime.now(zone or UTC).astimezone(zone)) if since else 0
    queue = LlmQueue(
        judge.model_copy(update={"prompt": prompt, "concurrency": max(AT_ONCE, judge.concurrency)}),
        zone,
        "replay",
        judge_by_rules(graph.context),
        partial(read_picture, graph.context),
    )
    run = Replay(Verdicts(Record(graph.context.record_path), zone, incidents_path()), queue, shadow)
    try:
        queue.probe_pictures()
        finished = run.judge_all(replace(case, attempts=0) for case in run.verdicts.closed(start))
    finally:
        run.analyst.close()
    print(run.text())
    if not finished:
        print(
            f"{run.analyst.client.name} has been unavailable for {AWAY_SECONDS_MAX:.0f} s: run this again when it works"
        )
    if not finished or run.counts["failed"]:
        raise typer.Exit(1)


class Replay:
    """One replay: every case gets an answer or is counted as failed."""

    def __init__(self, verdicts: Verdicts, analyst: LlmQueue, shadow: bool) -> None:
        self.verdicts, self.analyst, self.shadow = verdicts, analyst, shadow
        self.counts: Counter[str] = Counter()
        self.again: deque[Case] = deque()
        self.heard = time.monotonic()
        self.read = False

    def judge_all(self, cases: Iterator[Case]) -> bool:
        """Ask about all of them; False: the server became unavailable, and the rest was left as it was."""
        while not self.read or self.again or self.analyst.is_busy():
            for case in self._next(cases):
                self.analyst.submit(case)
            self.analyst.wait(WAIT_SECONDS)
            for one in self.analyst.take_finished():
                self._settle(one)
            if not self.analyst.breaker.trips:
                self.heard = time.monotonic()
            elif time.monotonic() - self.heard > AWAY_SECONDS_MAX:
                return False
        return True

    def _next(self, cases: Iterator[Case]) -> Iterator[Case]:
        """Take as many as may be asked about now, retries first."""
        for _ in range(self.analyst.room()):
            case = self.again.popleft() if self.again else next(cases, None)
            if case is None:
                self.read = True
                return
            if not self._has_shadow(case):
                yield case

    def _has_shadow(self, case: Case) -> bool:
        o = self.analyst.options
        without = o.prompt == LATEST and not self.analyst.reads_pictures
        version = WITHOUT_PICTURES if without else o.prompt
        known = self.shadow and self.verdicts.has_shadow(case.event, o.model, version)
        self.counts["known"] += known
        return known

    def _settle(self, one: Finished) -> None:
        case, outcome = one
        match outcome:
            case None:
                self.again.append(case)
            case FailedAttempt(final=False):
                self.again.append(replace(case, attempts=case.attempts + 1))
            case FailedAttempt():
                self.counts["failed"] += 1
            case Event():
                self._keep(outcome)

    def _keep(self, event: Event) -> None:
        if self.shadow:
            self.verdicts.shadow(event)
            self.counts["judged"] += 1
        else:
            self.counts["judged" if self.verdicts.write([event]) else "changed"] += 1

    def text(self) -> str:
        """Summarize it."""
        c = self.counts
        parts = [
            f"{c['judged']} events judged by {self.analyst.options.model} with prompt {self.analyst.options.prompt}"
        ]
        parts[0] += ", as shadows" if self.shadow else ""
        parts += [f"{c['known']} had such a shadow already"] if c["known"] else []
        parts += [f"{c['changed']} changed meanwhile and were left alone"] if c["changed"] else []
        parts += [f"{c['failed']} without a verdict"] if c["failed"] else []
        return "; ".join(parts)


def moment(text: str, now: datetime) -> int:
    """Read `2026-11-22`, `2026-11-22T18:00` or `36h` (ago) as microseconds.

    Raises:
        UserError: it is none of these.
    """
    if ago := re.fullmatch(r"(\d{1,6})([mhd])", text):
        return to_microseconds(now - timedelta(**{UNITS[ago[2]]: int(ago[1])}))
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"--since {text}: write 2026-11-22, 2026-11-22T18:00, or 90m, 36h, 7d for so long ago"
        ) from None
    return to_microseconds(when if when.tzinfo else when.replace(tzinfo=now.tzinfo))
