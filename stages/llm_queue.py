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
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from dataclasses import replace
from datetime import tzinfo
from functools import partial
from typing import TYPE_CHECKING

from hearthwatch.record.verdicts import FailedAttempt
from hearthwatch.schemas.case import Case, Surroundings
from hearthwatch.schemas.context import QUESTIONS_STOP_SECONDS_MAX
from hearthwatch.schemas.items import Event, Verdict
from hearthwatch.stages import prompt
from hearthwatch.stages.crops import PICTURES_MAX, Drawn, Reader, draw
from hearthwatch.stages.llm_client import (
    ANSWER_TOKENS_MAX,
    PICTURES_TOKENS_MAX,
    READS,
    Breaker,
    Client,
    NemotronError,
    Permanent,
    Unavailable,
    Wrong,
)
from hearthwatch.stages.rules import RulesJudge

if TYPE_CHECKING:
    from hearthwatch.stages.analyze import Nemotron

log = logging.getLogger(__name__)

PROBE_PAUSE_SECONDS, PROBE_PAUSE_SECONDS_MAX = 0.5, 8.0  # between probes, doubled each time: used again within 20 s
SILENT_SECONDS = 10.0  # questions in flight and no answer for so long: probe the server
SILENT_PROBES = 2  # so many probes without an answer and it is down: the questions would wait for their whole time-out
RETRY_SECONDS_MAX = 60.0
DRAW_SECONDS_MAX = 5.0  # six pictures take 0.1 s; a disk that hangs takes longer
DRAWING = threading.BoundedSemaphore(
    64
)  # threads that may be stuck there: then no more are started until one comes back
PROBE_AGAIN_SECONDS = 60.0  # after a picture probe without an answer

Finished = tuple[Case, Event | FailedAttempt | None]
"""A case with its verdict, with a failed attempt, or with nothing: it was not asked, submit it again."""


async def ask_for_verdict(client: Client, asked: prompt.Question, read: Reader | None = None) -> Verdict:
    """Ask about one event, with its pictures as far as `read` finds them and the server takes them.

    Raises:
        NemotronError: there is no verdict.
    """
    began = time.perf_counter()
    if asked.shots and read:
        asked = asked._replace(drawn=await _draw(asked, read))
    tokens_max = PICTURES_TOKENS_MAX if asked.drawn else ANSWER_TOKENS_MAX
    try:
        answer = await client.ask(prompt.messages(asked), prompt.schema(asked), tokens_max)
    except Permanent as error:
        if not asked.drawn:
            raise
        log.warning("event %d is judged without pictures: %s", asked.facts.event_id, error)
        asked = asked._replace(drawn=())
        answer = await client.ask(prompt.messages(asked), prompt.schema(asked))
    try:
        verdict = prompt.verdict(answer, asked)
    except ValueError as error:
        raise Wrong(f"the answer is no verdict: {error}") from None
    took = round((time.perf_counter() - began) * 1e3, 1)
    used = {"tokens": answer.usage} if answer.usage else {}
    analysis = {**verdict.analysis, **used, "frames": asked.facts.frame_count}
    return replace(verdict, model=client.model, prompt_version=asked.version, latency_ms=took, analysis=analysis)


async def _draw(asked: prompt.Question, read: Reader) -> tuple[Drawn, ...]:
    """Draw its pictures on a new thread, within seconds; none if that takes longer, on a disk that hangs."""
    drawn: Future[tuple[Drawn, ...]] = Future()
    drawn.set_running_or_notify_cancel()  # the question may be cancelled, the drawing cannot

    def work() -> None:
        try:
            drawn.set_result(tuple(draw(asked.shots, asked.facts, read)))
        except BaseException as error:
            drawn.set_exception(error)
        finally:
            DRAWING.release()

    if DRAWING.acquire(blocking=False):
        threading.Thread(target=work, name=f"pictures of event {asked.facts.event_id}", daemon=True).start()
        waiting = asyncio.wrap_future(drawn)
        try:
            await asyncio.wait([waiting], timeout=DRAW_SECONDS_MAX)
            if waiting.done():
                return waiting.result()
        finally:
            waiting.cancel()
    log.warning("event %d: its pictures could not be read in %.0f s", asked.facts.event_id, DRAW_SECONDS_MAX)
    return ()


def failed_attempt(
    options: Nemotron, stage: str, case: Case, words: str, final: bool = False, pictures: bool = False
) -> FailedAttempt:
    """Return and log an attempt that gave no verdict."""
    attempt = case.attempts + 1
    final = final or attempt >= options.attempts
    pause = random.uniform(0, min(RETRY_SECONDS_MAX, 2.0**case.attempts))
    then = "the rules' verdict stays" if final else f"again in {pause:.1f} s"
    log.warning("event %d: attempt %d of %d: %s; %s", case.event.id, attempt, options.attempts, words, then)
    event = case.event
    return FailedAttempt(stage, words, event.id, event.revision, final, pause, pictures, event.status)


class LlmQueue:
    """Asks one server. Call its methods from one thread."""

    def __init__(
        self,
        options: Nemotron,
        zone: tzinfo | None = None,
        stage: str = "analyze",
        rules: Callable[[Surroundings], RulesJudge] | None = None,
        read: Reader | None = None,
    ) -> None:
        """`read` finds the pictures of events; None: none are shown."""
        assert options.url
        self.options, self.zone, self.stage = options, zone, stage
        self.rules = rules or partial(RulesJudge, zone=zone)
        self.client = Client(options.url, options.model, options.timeout_seconds, options.concurrency)
        self.breaker = Breaker()
        self.read = read if options.pictures else None
        self.pictures = PICTURES_MAX if options.pictures == "auto" else options.pictures
        self.reads_pictures = None if options.pictures == "auto" else bool(options.pictures)
        """Whether the model is shown pictures; None: that has to be probed."""
        self._probing, self._probe_due = asyncio.Lock(), 0.0
        self._learning: asyncio.Task[None] | None = None
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

    def asks_early(self) -> bool:
        """Whether open events are worth a question: only pictures show more than the rules know by then."""
        return self.read is not None and self.reads_pictures is True

    def room(self) -> int:
        return max(0, self.capacity() - len(self._questions))

    def submit(self, case: Case) -> None:
        """Ask about this one, unless it is asked about already."""
        if case.event.id not in self._questions:
            pictures = self.pictures if self.read and self.reads_pictures is not False else 0
            asked = prompt.question(case, self.rules, self.zone, self.options.prompt, pictures)
            self._questions[case.event.id] = case, asyncio.run_coroutine_threadsafe(self._judge(asked), self._loop)

    def probe_pictures(self) -> None:
        """Find out now whether the model reads pictures; a server that cannot be asked is probed with the first question."""
        with suppress(NemotronError):
            asyncio.run_coroutine_threadsafe(self._takes_pictures(), self._loop).result()

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
            final, pictures = isinstance(error, Permanent), bool(self.reads_pictures)
            return failed_attempt(self.options, self.stage, case, str(error), final, pictures)

    # -- on the loop

    async def _judge(self, asked: prompt.Question) -> Verdict:
        task = asyncio.current_task()
        assert task is not None
        if not self._tasks:
            self._last_answer = self._loop.time()
        self._tasks.add(task)
        try:
            if asked.shots and not await self._takes_pictures():
                asked = asked._replace(shots=(), version=prompt.WITHOUT_PICTURES)
            verdict = await ask_for_verdict(self.client, asked, self.read)
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

    async def _takes_pictures(self) -> bool:
        """Probe once, and again after an outage: another model may be served then."""
        async with self._probing:
            if self.reads_pictures is None and self._loop.time() >= self._probe_due:
                self.reads_pictures = await self.client.reads_pictures()
                self._probe_due = self._loop.time() + PROBE_AGAIN_SECONDS
                log.info("%s %s", self.client.name, READS[self.reads_pictures])
        return bool(self.reads_pictures)

    async def _learn(self) -> None:
        """Find out before there is a question: open events are asked about only once it is known."""
        try:
            await self._takes_pictures()
        except NemotronError as error:
            self.breaker.record_failure(error)
            self._report_outage(error)
        else:
            if self.reads_pictures is not None:
                self.breaker.record_success()
                self._report_recovery()

    async def _watch(self) -> None:
        while True:
            patience = min(PROBE_PAUSE_SECONDS_MAX, PROBE_PAUSE_SECONDS * 2.0**self.breaker.trips)
            await asyncio.sleep(random.uniform(patience / 2, patience))
            is_unknown = self.read and self.reads_pictures is None and self.breaker.state != "open"
            if is_unknown and (self._learning is None or self._learning.done()):
                self._learning = asyncio.create_task(self._learn())
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
            if self.options.pictures == "auto":
                self.reads_pictures, self._probe_due = None, 0.0
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
