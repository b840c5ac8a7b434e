"""Questions to the language model in flight: bounded, on an event loop in a thread of its own.

Nobody waits here: `take` a case, ask for what is `done`. A server that is away is noticed within seconds even if it only
went silent: the questions in flight come back unanswered and uncounted, no new one may be asked, and a sign of life is
looked for until there is one. Then one question goes first, and if it is answered, all places are free again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from concurrent.futures import CancelledError, Future, wait
from dataclasses import replace
from datetime import tzinfo
from typing import NamedTuple

from hearthwatch.record.verdicts import Case, FailedAttempt
from hearthwatch.schemas.items import Event, Verdict
from hearthwatch.stages import prompt, rules
from hearthwatch.stages.llm_client import Breaker, Client, NemotronError, Permanent, Unavailable, Wrong

log = logging.getLogger(__name__)

LOOK_SECONDS, LOOK_SECONDS_MAX = 0.5, 8.0  # between looks for a sign of life, doubled each time: back within 20 s
SILENT_SECONDS = 10.0  # questions in flight and no answer for so long: look whether the server lives
SILENT_LOOKS = 2  # so many looks in vain and it is gone: the questions would wait for their whole time-out
RETRY_SECONDS_MAX = 60.0
STOP_SECONDS = 2.0

Done = tuple[Case, Event | FailedAttempt | None]
"""A case with its verdict, with a missed attempt, or with nothing: not asked, ask again when there is a place."""


async def judge(client: Client, case: Case, version: str = prompt.LATEST, zone: tzinfo | None = None) -> Verdict:
    """One event, one question. Raises `NemotronError`."""
    began, facts, standing = time.perf_counter(), case.facts, case.event.verdict
    told = prompt.messages(facts, case.notes, case.baseline, version, zone)
    answer = await client.ask(told, prompt.schema(facts))
    by_rules = standing if standing.analyzer == "rules" else rules.judge(facts, zone)
    try:
        verdict = prompt.verdict(answer, facts, by_rules)
    except ValueError as error:
        raise Wrong(f"the answer is no verdict: {error}") from None
    took = (time.perf_counter() - began) * 1e3
    return replace(verdict, model=client.model, prompt_version=version, latency_ms=round(took, 1))


class Options(NamedTuple):
    """Whom to ask, and how."""

    url: str
    model: str = "nemotron"
    concurrency: int = 8
    timeout_seconds: float = 60.0
    attempts: int = 5
    prompt: str = prompt.LATEST
    zone: tzinfo | None = None


class Analyst:
    """Asks one server. All methods are for one thread, that of whoever made it."""

    def __init__(self, options: Options, stage: str = "analyze") -> None:
        self.options, self.stage = options, stage
        self.client = Client(options.url, options.model, options.timeout_seconds, options.concurrency)
        self.breaker = Breaker()
        self._calls: dict[int, tuple[Case, Future[Verdict]]] = {}
        self._away_since = 0.0
        self._tasks: set[asyncio.Task[Verdict]] = set()  # these three belong to the loop
        self._heard = 0.0
        self._silent = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{stage} questions", daemon=True)
        self._thread.start()
        self._watching = asyncio.run_coroutine_threadsafe(self._watch(), self._loop)

    def places(self) -> int:
        """How many questions may be in flight now."""
        return self.breaker.places(self.options.concurrency)

    def busy(self) -> bool:
        return bool(self._calls)

    def free(self) -> int:
        return max(0, self.places() - len(self._calls))

    def take(self, case: Case) -> None:
        """Ask about this one."""
        if case.event.id not in self._calls:
            self._calls[case.event.id] = case, asyncio.run_coroutine_threadsafe(self._judge(case), self._loop)

    def wait(self, seconds: float) -> None:
        """Until something is done, for so long at most."""
        wait([call for _, call in self._calls.values()] or [Future[Verdict]()], seconds, "FIRST_COMPLETED")

    def done(self) -> list[Done]:
        """What has come to an end since the last time."""
        if self._watching.done():
            self._watching.result()
        ended = [(case, call) for case, call in self._calls.values() if call.done()]
        for case, _ in ended:
            del self._calls[case.event.id]
        return [(case, self._outcome(case, call)) for case, call in ended]

    def close(self) -> None:
        """Let go of the questions in flight: nothing was written, so they will be asked again."""
        if self._thread.is_alive():
            ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
            wait([ending], STOP_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_SECONDS)
            if not self._thread.is_alive():
                self._loop.close()

    def _outcome(self, case: Case, call: Future[Verdict]) -> Event | FailedAttempt | None:
        try:
            return case.with_verdict(call.result())
        except (CancelledError, Unavailable):
            return None
        except NemotronError as error:
            return self._missed(case, error)

    def _missed(self, case: Case, error: NemotronError) -> FailedAttempt:
        attempt = case.attempts + 1
        final = isinstance(error, Permanent) or attempt >= self.options.attempts
        pause = random.uniform(0, min(RETRY_SECONDS_MAX, 2.0**case.attempts))
        then = "the rules' verdict stays" if final else f"again in {pause:.1f} s"
        log.warning("event %d: attempt %d of %d: %s; %s", case.event.id, attempt, self.options.attempts, error, then)
        return FailedAttempt(self.stage, str(error), case.event.id, case.event.revision, final, pause)

    # -- on the loop

    async def _judge(self, case: Case) -> Verdict:
        task = asyncio.current_task()
        assert task is not None
        if not self._tasks:
            self._heard = self._loop.time()
        self._tasks.add(task)
        try:
            verdict = await judge(self.client, case, self.options.prompt, self.options.zone)
        except NemotronError as error:
            self.breaker.failed(error)
            self._is_back() if isinstance(error, Wrong) else self._is_away(error)
            raise
        finally:
            self._tasks.discard(task)
            self._heard = self._loop.time()
        self.breaker.answered()
        self._is_back()
        return verdict

    async def _watch(self) -> None:
        while True:
            patience = min(LOOK_SECONDS_MAX, LOOK_SECONDS * 2.0**self.breaker.trips)
            await asyncio.sleep(random.uniform(patience / 2, patience))
            if self.breaker.state == "open":
                self.breaker.looked(await self.client.alive())
            elif self._tasks and self._loop.time() - self._heard > SILENT_SECONDS:
                await self._look_at_the_silent()

    async def _look_at_the_silent(self) -> None:
        """Slow or gone? A slow server still says which models it has."""
        self._silent = 0 if await self.client.alive() else self._silent + 1
        if self._silent >= SILENT_LOOKS and self._tasks:
            error = Unavailable(f"{self.client.name} has gone silent")
            self.breaker.failed(error)
            self._is_away(error)
            for task in self._tasks:
                task.cancel()
            self._silent = 0

    def _is_away(self, error: NemotronError) -> None:
        if self.breaker.state == "open" and not self._away_since:
            self._away_since = self._loop.time()
            log.warning("%s; until it works again, events wait with the rules' verdict", error)

    def _is_back(self) -> None:
        if self._away_since:
            log.info("%s answers again after %.0f s", self.client.name, self._loop.time() - self._away_since)
            self._away_since = 0.0

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.client.close()
