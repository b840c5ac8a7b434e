"""Ask the language model about events: `Case` in, `Event` with its verdict out, in the order in which answers come.

Up to `concurrency` questions are in flight, none of them on the dataflow's thread, so nothing else waits for them. What
brings no verdict comes out as a `FailedAttempt`, and is the port `errors`; what could not be asked comes out as nothing at all
and is asked again, because the queue is the record. So there is nothing to snapshot, and a killed process loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from hearthwatch.record.verdicts import OFF, Case, FailedAttempt
from hearthwatch.schemas.components import Stage, StageWorker
from hearthwatch.schemas.context import Context, InFlight
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import Event
from hearthwatch.schemas.settings import HttpUrl, from_settings, masked
from hearthwatch.stages.llm_queue import Analyst, Options
from hearthwatch.stages.prompt import LATEST, PROMPTS

if TYPE_CHECKING:
    from bytewax.dataflow import Stream

POLL = timedelta(seconds=0.02)  # looks so often whether an answer has come, while it waits for one


def known(version: str) -> str:
    """The name of a prompt that exists."""
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
    prompt: Annotated[str, AfterValidator(known)] = LATEST
    """Version of the prompt."""

    def label(self) -> str:
        return f"{self.model}, prompt {self.prompt}" + (f" at {masked('NEMOTRON_URL', self.url)}" if self.url else "")

    def off(self) -> str | None:
        return None if self.url else OFF

    def build(self, context: Context) -> AnalyzeWorker:
        return AnalyzeWorker(self, context)


class AnalyzeWorker(StageWorker):
    """Keeps the questions to one server."""

    def __init__(self, options: Nemotron, context: Context) -> None:
        self.options, self.context = options, context
        self.analyst: Analyst | None = None

    def open(self) -> None:
        """Make the client; the server may come later."""
        o = self.options
        if o.url:
            asked = Options(o.url, o.model, o.concurrency, o.timeout_seconds, o.attempts, o.prompt, self.context.zone)
            self.analyst = Analyst(asked)
            self.context.in_flight.limit = self.analyst.places

    def attach(self, step_id: str, up: Stream[Any]) -> Stream[Any]:
        import bytewax.operators as op

        keyed = op.key_on(f"{step_id}_key", up, lambda item: "record")
        judged = op.stateful_batch(f"{step_id}_judge", keyed, self._logic(step_id))
        return op.map(f"{step_id}_verdicts", judged, lambda pair: pair[1])

    def close(self) -> None:
        """Drop the questions in flight: they will be asked again."""
        if self.analyst:
            self.analyst.close()
            self.analyst = None

    def _logic(self, step_id: str) -> Callable[[None], Any]:
        from bytewax.operators import StatefulBatchLogic

        worker, in_flight = self, self.context.in_flight

        class Logic(StatefulBatchLogic[Any, Event | FailedAttempt, None]):
            """Resumed before the stage is opened, so it looks for the analyst when there is something to ask."""

            def __init__(self, resumed: None) -> None:
                self.analyst: Analyst | None = None

            def on_batch(self, values: list[Any]) -> tuple[list[Event | FailedAttempt], bool]:
                self.analyst = self.analyst or worker.opened(step_id)
                for item in values:
                    if isinstance(item, Case):
                        self.analyst.take(item)
                others = [item for item in values if not isinstance(item, Case)]
                return others + self._done(), False

            def on_notify(self) -> tuple[list[Event | FailedAttempt], bool]:
                return self._done(), False

            def on_eof(self) -> tuple[list[Event | FailedAttempt], bool]:
                return self._done(), False

            def _done(self) -> list[Event | FailedAttempt]:
                return take_answers(self.analyst, in_flight) if self.analyst else []

            def notify_at(self) -> datetime | None:
                return datetime.now(UTC) + POLL if self.analyst and self.analyst.busy() else None

            def snapshot(self) -> None:
                return None

        return Logic

    def opened(self, step_id: str) -> Analyst:
        """Return who asks. Raises UserError if there is no server to ask."""
        if self.analyst is None:
            raise UserError(f"`{step_id}` has events to judge and no `url`: set NEMOTRON_URL")
        self.analyst.stage = step_id
        return self.analyst


def take_answers(analyst: Analyst, in_flight: InFlight) -> list[Event | FailedAttempt]:
    """Return what was answered; what could not be asked is no longer in flight, and is queued again."""
    out: list[Event | FailedAttempt] = []
    for case, outcome in analyst.done():
        if outcome is None:
            in_flight.ids.discard(case.event.id)
        else:
            out.append(outcome)
    return out
