"""Ask the language model about events: `Case` in, `Event` with its verdict out, in the order in which answers come.

Up to `concurrency` questions are in flight, none of them on the dataflow's thread, so nothing else waits for them. A
question without a verdict is emitted as a `FailedAttempt`, on the port `errors`; one that could not be asked is not emitted
and is asked again, because the queue is the record. So there is nothing to snapshot, and a killed process loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from hearthwatch.record.verdicts import OFF, Case, FailedAttempt
from hearthwatch.schemas.components import AT_ONCE, Stage, StageWorker
from hearthwatch.schemas.context import Context, InFlight
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import Event
from hearthwatch.schemas.probe import probe_http
from hearthwatch.schemas.settings import HttpUrl, from_settings, masked
from hearthwatch.stages.darkness import darkness
from hearthwatch.stages.llm_queue import LlmQueue
from hearthwatch.stages.prompt import LATEST, PROMPTS

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
    concurrency: Annotated[int, Field(ge=1)] = from_settings("hearthwatch_nemotron_concurrency")
    """Questions in flight at most; the server answers several together in hardly more time than one."""
    timeout_seconds: Annotated[float, Field(gt=0)] = from_settings("hearthwatch_nemotron_timeout_seconds")
    """How long one answer may take."""
    attempts: Annotated[int, Field(ge=1)] = from_settings("hearthwatch_nemotron_attempts")
    """How often an event is asked about before the rules' verdict stays for good."""
    prompt: Annotated[str, AfterValidator(check_prompt)] = LATEST
    """Version of the prompt."""

    def label(self) -> str:
        return f"{self.model}, prompt {self.prompt}" + (f" at {masked('NEMOTRON_URL', self.url)}" if self.url else "")

    def off(self) -> str | None:
        return None if self.url else OFF

    def probe(self) -> str:
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

    def build(self, context: Context) -> AnalyzeWorker:
        return AnalyzeWorker(self, context)


class AnalyzeWorker(StageWorker):
    """Asks one server."""

    def __init__(self, options: Nemotron, context: Context) -> None:
        self.options, self.context = options, context
        self.queue: LlmQueue | None = None

    def open(self) -> None:
        """Make the client; the server may come later."""
        if self.options.url:
            self.queue = LlmQueue(self.options, self.context.zone, darkness=darkness(self.context))
            self.context.in_flight.limit = self.queue.capacity

    def attach(self, step_id: str, up: Stream[Any]) -> Stream[Any]:
        import bytewax.operators as op

        keyed = op.key_on(f"{step_id}_key", up, lambda item: "record")
        judged = op.stateful_batch(f"{step_id}_judge", keyed, self._logic(step_id))
        return op.map(f"{step_id}_verdicts", judged, lambda pair: pair[1])

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
                self.queue: LlmQueue | None = None

            def on_batch(self, values: list[Any]) -> tuple[list[Event | FailedAttempt], bool]:
                self.queue = self.queue or worker.open_queue(step_id)
                for item in values:
                    if isinstance(item, Case):
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

    def open_queue(self, step_id: str) -> LlmQueue:
        """Return the open queue.

        Raises:
            UserError: there is no server to ask.
        """
        if self.queue is None:
            raise UserError(f"`{step_id}` has events to judge and no `url`: set NEMOTRON_URL")
        self.queue.stage = step_id
        return self.queue


def take_answers(queue: LlmQueue, in_flight: InFlight) -> list[Event | FailedAttempt]:
    """Return what was answered; what could not be asked is no longer in flight, so it is read from the record again."""
    out: list[Event | FailedAttempt] = []
    for case, outcome in queue.take_finished():
        if outcome is None:
            in_flight.ids.discard(case.event.id)
        else:
            out.append(outcome)
    return out
