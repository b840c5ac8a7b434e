"""Ask the language model about events: `Case` in, `Event` with its verdict out, in the order in which answers come.

Up to `concurrency` questions are in flight, none of them on the dataflow's thread, so nothing else waits for them. A
question without a verdict is emitted as a `FailedAttempt`, on the port `errors`; one that could not be asked is not emitted
and is asked again, because the queue is the record. So there is nothing to snapshot, and a killed process loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from hearthwatch.record.thumbnails import read_picture
from hearthwatch.record.verdicts import OFF, FailedAttempt
from hearthwatch.schemas.case import Case
from hearthwatch.schemas.components import AT_ONCE, Stage, StageWorker
from hearthwatch.schemas.context import Context, InFlight
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import Event
from hearthwatch.schemas.probe import probe_http
from hearthwatch.schemas.settings import HttpUrl, from_settings, masked
from hearthwatch.stages.crops import PICTURES_MAX
from hearthwatch.stages.llm_client import PROBE_SECONDS, READS, Client, NemotronError
from hearthwatch.stages.llm_queue import LlmQueue
from hearthwatch.stages.local import attach_here
from hearthwatch.stages.own_judge import OwnJudge
from hearthwatch.stages.own_rules import OwnFunction
from hearthwatch.stages.prompt import LATEST, PROMPTS
from hearthwatch.stages.rules import judge_by_rules

if TYPE_CHECKING:
    from bytewax.dataflow import Stream


def check_prompt(version: str) -> str:
    """Return the name of a prompt that exists.

    Raises:
        ValueError: there is none of this name.
    """
    if version not in PROMPTS:
        raise ValueError(f"there is no such prompt; there are {', '.join(PROMPTS)}")
    return version


class Nemotron(Stage):
    """A language model behind vLLM, or anything that speaks its protocol, judges closed events."""

    accepts = Case
    emits = Event
    durable = True

    url: HttpUrl = from_settings("nemotron_url")
    """Base URL of the server, such as http://localhost:8002; unset: rules alone judge."""
    model: str = from_settings("hearthwatch_nemotron_model")
    """The model's name on that server."""
    judge: OwnFunction | None = None
    """A function `(Case) -> Verdict` of yours, as `module:function`, that judges in place of the model."""
    concurrency: Annotated[int, Field(ge=1)] = from_settings("hearthwatch_nemotron_concurrency")
    """Questions in flight at most; the server answers several together in hardly more time than one."""
    timeout_seconds: Annotated[float, Field(gt=0)] = from_settings("hearthwatch_nemotron_timeout_seconds")
    """How long one answer may take."""
    attempts: Annotated[int, Field(ge=1)] = from_settings("hearthwatch_nemotron_attempts")
    """How often an event is asked about before the rules' verdict stays for good."""
    prompt: Annotated[str, AfterValidator(check_prompt)] = LATEST
    """Version of the prompt."""
    pictures: Literal["auto"] | Annotated[int, Field(ge=0, le=PICTURES_MAX)] = from_settings(
        "hearthwatch_nemotron_pictures"
    )
    """Pictures of an event that the model is shown at most; `auto`: 6 if a probe finds that it can read them."""

    def label(self) -> str:
        if self.judge:
            return self.judge
        return f"{self.model}, prompt {self.prompt}" + (f" at {masked('NEMOTRON_URL', self.url)}" if self.url else "")

    def off(self) -> str | None:
        return None if self.url or self.judge else OFF

    def probe(self) -> str:
        if self.judge:
            return f"judges with {self.judge}"
        assert self.url, "it is off"
        name = masked("NEMOTRON_URL", self.url)
        try:
            response = probe_http("GET", f"{self.url.rstrip('/').removesuffix('/v1')}/v1/models")
            served = [str(model["id"]) for model in response.json()["data"]]
        except (UserError, ValueError, LookupError, TypeError) as error:
            why = error if isinstance(error, UserError) else "it answers, but not as vLLM does"
            raise UserError(f"{name}: {why}: start it with `hearthwatch llm`, or unset NEMOTRON_URL") from None
        if self.model not in served:
            fix = "set HEARTHWATCH_NEMOTRON_MODEL, or start it with --served-model-name"
            raise UserError(f"{name} serves {', '.join(served) or 'nothing'}, not {self.model}: {fix}")
        return f"{name} serves {self.model}"

    def reads_pictures(self, seconds: float = PROBE_SECONDS) -> str:
        """Probe the model with a picture; `, and it reads pictures`."""
        assert self.url, "it is off"
        client = Client(self.url, self.model)

        async def ask() -> bool | None:
            try:
                return await client.reads_pictures(seconds)
            finally:
                await client.close()

        try:
            return f", and it {READS[asyncio.run(ask())]}"
        except NemotronError as error:
            return f", and its picture probe failed: {error}"

    def build(self, context: Context) -> AnalyzeWorker:
        return AnalyzeWorker(self, context)


class AnalyzeWorker(StageWorker):
    """Asks one server."""

    def __init__(self, options: Nemotron, context: Context) -> None:
        self.options, self.context = options, context
        self.queue: LlmQueue | OwnJudge | None = None

    def open(self) -> None:
        """Make the client; the server may come later."""
        if self.options.judge:
            self.queue = OwnJudge(self.options, self.context.failures)
        elif self.options.url:
            read = partial(read_picture, self.context)
            self.queue = LlmQueue(self.options, self.context.zone, rules=judge_by_rules(self.context), read=read)
            self.context.in_flight.asks_early = self.queue.asks_early
        if self.queue:
            self.context.in_flight.limit = self.queue.capacity

    def attach(self, step_id: str, up: Stream[Any]) -> Stream[Any]:
        import bytewax.operators as op

        keyed = op.key_on(f"{step_id}_key", up, lambda item: "record")
        judged = op.stateful_batch(f"{step_id}_judge", keyed, self._logic(step_id))
        return op.map(f"{step_id}_verdicts", judged, lambda pair: pair[1])

    def attach_local(self, step_id: str, up: Stream[Any], pulse: Stream[Any]) -> Stream[Any]:
        """Do the same on the worker that reads the cell."""
        logic = self._logic(step_id)(None)
        return attach_here(f"{step_id}_judge", up, pulse, lambda items: logic.on_batch(items)[0])

    def close(self) -> None:
        """Cancel the questions in flight: they will be asked again."""
        if self.queue:
            self.queue.close()
            self.queue = None

    def _logic(self, step_id: str) -> Callable[[None], Any]:
        from bytewax.operators import StatefulBatchLogic

        worker, in_flight = self, self.context.in_flight

        class Logic(StatefulBatchLogic[Any, Event | FailedAttempt, None]):
            """Built before the stage is opened, so it takes the queue when there is something to ask."""

            def __init__(self, resumed: None) -> None:
                self.queue: LlmQueue | OwnJudge | None = None

            def on_batch(self, values: list[Any]) -> tuple[list[Event | FailedAttempt], bool]:
                self.queue = self.queue or (worker.open_queue(step_id) if values else None)
                for item in values:
                    if self.queue and isinstance(item, Case):
                        self.queue.submit(item)
                others = [item for item in values if not isinstance(item, Case)]
                return others + self._done(), False

            def on_notify(self) -> tuple[list[Event | FailedAttempt], bool]:
                return self._done(), False

            def on_eof(self) -> tuple[list[Event | FailedAttempt], bool]:
                return self._done(), False

            def _done(self) -> list[Event | FailedAttempt]:
                return take_answers(self.queue, in_flight) if self.queue else []

            def notify_at(self) -> datetime | None:
                return AT_ONCE if self.queue and self.queue.is_busy() else None

            def snapshot(self) -> None:
                return None

        return Logic

    def open_queue(self, step_id: str) -> LlmQueue | OwnJudge:
        """Return the open queue.

        Raises:
            UserError: there is no server to ask.
        """
        if self.queue is None:
            raise UserError(f"`{step_id}` has events to judge and no `url`: set NEMOTRON_URL")
        self.queue.stage = step_id
        return self.queue


def take_answers(queue: LlmQueue | OwnJudge, in_flight: InFlight) -> list[Event | FailedAttempt]:
    """Return what was answered; what could not be asked is no longer in flight, so it is read from the record again."""
    out: list[Event | FailedAttempt] = []
    for case, outcome in queue.take_finished():
        if outcome is None:
            in_flight.ids.discard(case.event.id)
        else:
            out.append(outcome)
    return out
