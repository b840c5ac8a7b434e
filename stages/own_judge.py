"""Ask a function of the graph's author, `(Case) -> Verdict`, in place of a language model.

Each case has a thread: a function may wait. What it raises is a failed attempt, as one of a language model.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hearthwatch.record.verdicts import FailedAttempt
from hearthwatch.schemas.case import Case
from hearthwatch.schemas.context import Failures
from hearthwatch.schemas.items import Event, Verdict
from hearthwatch.stages.llm_queue import Finished, failed_attempt
from hearthwatch.stages.own_rules import find_function

if TYPE_CHECKING:
    from hearthwatch.stages.analyze import Nemotron


class OwnJudge:
    """Runs the function for up to `concurrency` cases at a time. Call its methods from one thread."""

    stage = "analyze"

    def __init__(self, options: Nemotron, failures: Failures) -> None:
        assert options.judge
        self.options, self.failures, self.function = options, failures, find_function(options.judge)
        self._asked: dict[int, tuple[Case, Future[Verdict]]] = {}

    def capacity(self) -> int:
        """How many cases may be judged at a time."""
        return self.options.concurrency

    def is_busy(self) -> bool:
        return bool(self._asked)

    def submit(self, case: Case) -> None:
        """Judge this one, unless it is being judged already."""
        if case.event.id not in self._asked:
            answer = Future[Verdict]()
            self._asked[case.event.id] = case, answer
            name = f"{self.stage} {case.event.id}"
            threading.Thread(target=self._judge, args=(case, answer), name=name, daemon=True).start()

    def take_finished(self) -> list[Finished]:
        """Return what has finished since the last call."""
        ended = [(case, answer) for case, answer in self._asked.values() if answer.done()]
        for case, _ in ended:
            del self._asked[case.event.id]
        return [(case, self._outcome(case, answer)) for case, answer in ended]

    def close(self) -> None:
        """Drop what is being judged: nothing was written, so it will be asked again."""
        self._asked.clear()

    def _judge(self, case: Case, answer: Future[Verdict]) -> None:
        began = time.perf_counter()
        try:
            verdict = self._check(self.function(case), case)
            took = round((time.perf_counter() - began) * 1e3, 1)
            answer.set_result(replace(verdict, latency_ms=took))
        except BaseException as error:
            answer.set_exception(error)

    def _check(self, verdict: Any, case: Case) -> Verdict:
        if not isinstance(verdict, Verdict):
            raise TypeError(f"it returned {type(verdict).__name__}: return a `Verdict`")
        score = verdict.risk_score
        if not isinstance(score, int) or not 0 <= score <= 100 or not verdict.summary:
            raise ValueError(f"{verdict!r} is no verdict: a score from 0 to 100, and a summary")
        known = {sighting.id for sighting in case.facts.sightings}
        if unknown := {*verdict.evidence} - known:
            raise ValueError(f"detection {min(unknown)} is none of this event")
        return replace(verdict, analyzer="nemotron", model=verdict.model or self.options.judge)

    def _outcome(self, case: Case, answer: Future[Verdict]) -> Event | FailedAttempt:
        error = answer.exception()
        if error is None:
            return case.with_verdict(answer.result())
        words = f"{self.options.judge}: {type(error).__name__}: {error}"
        self.failures.add(str(self.options.judge), words)
        return failed_attempt(self.options, self.stage, case, words)
