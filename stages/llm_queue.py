"""Keep questions to the language model in flight: bounded, on an event loop in a separate thread.

`submit` and `take_finished` do not block. A server that is down is noticed within seconds even if it only stops answering:
the questions in flight come back unanswered and do not count as attempts, no new one is asked, and the server is probed
until it answers. Then one question is asked, and if it is answered, as many as `concurrency` allows.
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
from functools import partial
from typing import TYPE_CHECKING

from hearthwatch.record.verdicts import Case, FailedAttempt
from hearthwatch.schemas.context import QUESTIONS_STOP_SECONDS_MAX
from hearthwatch.schemas.items import Event, Verdict
from hearthwatch.stages import prompt
from hearthwatch.stages.darkness import Darkness
from hearthwatch.stages.llm_client import Breaker, Client, NemotronError, Permanent, Unavailable, Wrong
from hearthwatch.stages.rules import RulesJudge

if TYPE_CHECKING:
    from hearthwatch.stages.analyze import Nemotron

log = logging.getLogger(__name__)

PROBE_PAUSE_SECONDS, PROBE_PAUSE_SECONDS_MAX = 0.5, 8.0  # between probes, doubled each time: used again within 20 s
SILENT_SECONDS = 10.0  # questions in flight and no answer for so long: probe the server
SILENT_PROBES = 2  # so many probes without an answer and it is down: the questions would wait for their whole time-out
RETRY_SECONDS_MAX = 60.0

Finished = tuple[Case, Event | FailedAttempt | None]
"""A case with its verdict, with a failed attempt, or with nothing: it was not asked, submit it again."""


async def ask_for_verdict(client: Client, asked: prompt.Question) -> Verdict:
    """Ask about one event.

    Raises:
        NemotronError: there is no verdict.
    """
    began = time.perf_counter()
    answer = await client.ask(prompt.messages(asked), prompt.schema(asked.facts))
    try:
        verdict = prompt.verdict(answer, asked)
    except ValueError as error:
        raise Wrong(f"the answer is no verdict: {error}") from None
    took = (time.perf_counter() - began) * 1e3
    return replace(verdict, model=client.model, prompt_version=asked.version, latency_ms=round(took, 1))


class LlmQueue:
    """Asks one server. Call its methods from one thread."""

    def __init__(
        self,
        options: Nemotron,
        zone: tzinfo | None = None,
        stage: str = "analyze",
        darkness: Darkness | None = None,
    ) -> None:
        assert options.url
        self.options, self.zone, self.stage = options, zone, stage
        self.rules = partial(RulesJudge, zone=zone, darkness=darkness)
        self.client = Client(options.url, options.model, options.timeout_seconds, options.concurrency)
        self.breaker = Breaker()
        self._questions: dict[int, tuple[Case, Future[Verdict]]] = {}
        self._down_since = 0.0
        self._tasks: set[asyncio.Task[Verdict]] = set()  # these three belong to the loop
        self._last_answer = 0.0
        self._silent_probes = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{stage} questions", daemon=True)
        self._thread.start()
        self._watchdog = asyncio.run_coroutine_threadsafe(self._watch(), self._loop)

    def capacity(self) -> int:
        """How many questions may be in flight now."""
        return self.breaker.capacity(self.options.concurrency)

    def is_busy(self) -> bool:
        return bool(self._questions)

    def room(self) -> int:
        return max(0, self.capacity() - len(self._questions))

    def submit(self, case: Case) -> None:
        """Ask about this one, unless it is asked about already."""
        if case.event.id not in self._questions:
            asked = prompt.question(case, self.rules, self.zone, self.options.prompt)
            self._questions[case.event.id] = case, asyncio.run_coroutine_threadsafe(self._judge(asked), self._loop)

    def wait(self, seconds: float) -> None:
        """Wait until a question is finished, for so long at most."""
        wait([call for _, call in self._questions.values()] or [Future[Verdict]()], seconds, "FIRST_COMPLETED")

    def take_finished(self) -> list[Finished]:
        """Return what has finished since the last call."""
        if self._watchdog.done():
            self._watchdog.result()
        ended = [(case, call) for case, call in self._questions.values() if call.done()]
        for case, _ in ended:
            del self._questions[case.event.id]
        return [(case, self._outcome(case, call)) for case, call in ended]

    def close(self) -> None:
        """Cancel the questions in flight: nothing was written, so they will be asked again."""
        if self._thread.is_alive():
            ending = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
            wait([ending], QUESTIONS_STOP_SECONDS_MAX)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(QUESTIONS_STOP_SECONDS_MAX)
            if not self._thread.is_alive():
                self._loop.close()

    def _outcome(self, case: Case, call: Future[Verdict]) -> Event | FailedAttempt | None:
        try:
            return case.with_verdict(call.result())
        except (CancelledError, Unavailable):
            return None
        except NemotronError as error:
            return self._failed_attempt(case, error)

    def _failed_attempt(self, case: Case, error: NemotronError) -> FailedAttempt:
        attempt = case.attempts + 1
        final = isinstance(error, Permanent) or attempt >= self.options.attempts
        pause = random.uniform(0, min(RETRY_SECONDS_MAX, 2.0**case.attempts))
        then = "the rules' verdict stays" if final else f"again in {pause:.1f} s"
        log.warning("event %d: attempt %d of %d: %s; %s", case.event.id, attempt, self.options.attempts, error, then)
        return FailedAttempt(self.stage, str(error), case.event.id, case.event.revision, final, pause)

    # -- on the loop

    async def _judge(self, asked: prompt.Question) -> Verdict:
        task = asyncio.current_task()
        assert task is not None
        if not self._tasks:
            self._last_answer = self._loop.time()
        self._tasks.add(task)
        try:
            verdict = await ask_for_verdict(self.client, asked)
        except NemotronError as error:
            self.breaker.record_failure(error)
            self._report_recovery() if isinstance(error, Wrong) else self._report_outage(error)
            raise
        finally:
            self._tasks.discard(task)
            self._last_answer = self._loop.time()
        self.breaker.record_success()
        self._report_recovery()
        return verdict

    async def _watch(self) -> None:
        while True:
            patience = min(PROBE_PAUSE_SECONDS_MAX, PROBE_PAUSE_SECONDS * 2.0**self.breaker.trips)
            await asyncio.sleep(random.uniform(patience / 2, patience))
            if self.breaker.state == "open":
                self.breaker.record_probe(await self.client.is_alive())
            elif self._tasks and self._loop.time() - self._last_answer > SILENT_SECONDS:
                await self._probe_silent_server()

    async def _probe_silent_server(self) -> None:
        """Distinguish a slow server, which still lists its models, from one that is down."""
        self._silent_probes = 0 if await self.client.is_alive() else self._silent_probes + 1
        if self._silent_probes >= SILENT_PROBES and self._tasks:
            error = Unavailable(f"{self.client.name} does not answer")
            self.breaker.record_failure(error)
            self._report_outage(error)
            for task in self._tasks:
                task.cancel()
            self._silent_probes = 0

    def _report_outage(self, error: NemotronError) -> None:
        if self.breaker.state == "open" and not self._down_since:
            self._down_since = self._loop.time()
            log.warning("%s; until it works again, events wait with the rules' verdict", error)

    def _report_recovery(self) -> None:
        if self._down_since:
            log.info("%s answers again after %.0f s", self.client.name, self._loop.time() - self._down_since)
            self._down_since = 0.0

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.client.close()
