"""Run a stage's `process` inside the dataflow: other items go around it, in order; what fails continues as a value.

Ticks, dead letters, pictures that could not be read and frames that were decided before a resume never reach `process`.
Where frames flow, as many items come out as went in, for the same frames; a node that breaks this ends the pipeline with a
message that names it. Elsewhere an item of a type that its node does not declare becomes a dead letter, and an error in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from hearthwatch.flows.node import name_of, types
from hearthwatch.flows.runtime import exit_on_user_error
from hearthwatch.schemas import DeadLetter, Detected, Event, Frame, Reject, Stage, StageWorker, Tick
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import find_alert_error, find_attribute_error, has_failed

log = logging.getLogger(__name__)

LOG_SECONDS = 60.0  # between two lines about one type of one node
DESCRIBED_MAX = 160  # characters of an item that names it in a reason


class StageError(UserError):
    """A node broke its promise: items vanished, changed places or changed type."""


class DeclaredTypes:
    """Passes items of the types that a node declares; any other becomes a dead letter, or ends a pipeline whose frames it holds."""

    def __init__(self, node: str, emits: type | None, *others: type) -> None:
        self.node, self.emits = node, emits
        self.allowed = tuple(filter(None, (emits, DeadLetter, Tick, *others)))
        self._refused: dict[str, tuple[int, float]] = {}
        """By type: how many, and when that was logged (monotonic seconds)."""

    def __call__(self, items: list[Any]) -> list[Any]:
        return [
            check_added(self.node, item) if isinstance(item, self.allowed) else self._refuse(item) for item in items
        ]

    def _refuse(self, item: object) -> DeadLetter:
        kind = type(item).__name__
        words = f"emitted {kind} but declares `emits = {name_of(self.emits)}`"
        if self.emits and issubclass(self.emits, Frame | Detected):
            with exit_on_user_error(1):
                raise StageError(f"`{self.node}` {words}")
        count, logged = self._refused.get(kind, (0, -LOG_SECONDS))
        if time.monotonic() - logged >= LOG_SECONDS:
            logged = time.monotonic()
            log.error("`%s` %s: no node gets it (%d so far)", self.node, words, count + 1)
        self._refused[kind] = count + 1, logged
        return DeadLetter(self.node, words)


def is_for(item: object, accepts: tuple[type, ...]) -> bool:
    """Whether an item is for a component that accepts these: a Tick is only for those that name it."""
    return isinstance(item, accepts) and (not isinstance(item, Tick) or Tick in accepts)


def is_decided(item: object) -> bool:
    """Whether this frame needs no processing: it failed, or was decided before a resume."""
    match item:
        case Frame(opened=opened, recorded=recorded):
            return recorded is not None or (opened is not None and has_failed(opened.error))
        case Detected(frame=frame, error=error):
            return has_failed(error) or frame.recorded is not None
    return False


def check_added(node: str, item: Any) -> Any:
    """Return the item, with an error if it has alerts, or a detection attributes, that cannot be stored."""
    if isinstance(item, Detected):
        if item.alerts and (reason := find_alert_error(item.alerts)):
            return _as_failed(item, DeadLetter(node, reason))
        for found in item.detections:
            if found.attributes and (reason := find_attribute_error(found.attributes)):
                return _as_failed(item, DeadLetter(node, reason))
    return item


class Process:
    """What Bytewax calls with each chunk: the worker's `process`, guarded."""

    def __init__(self, name: str, stage: Stage, worker: StageWorker) -> None:
        self.name, self.stage, self.worker = name, stage, worker
        self.declared = DeclaredTypes(name, stage.emits)
        self.accepts = types(stage.accepts)
        self.one_to_one = stage.emits in (Frame, Detected)

    def __call__(self, items: list[Any]) -> list[Any]:
        with exit_on_user_error(1):
            return self._process_one_to_one(items) if self.one_to_one else self._process_runs(items)

    def _process_one_to_one(self, items: list[Any]) -> list[Any]:
        """Process all items that the stage wants in one call; the others keep their place."""
        wanted = [self._wants(item) for item in items]
        own = [item for item, want in zip(items, wanted, strict=True) if want]
        done = iter(self._try(own)) if own else iter(())
        return [next(done) if want else self._pass_by(item) for item, want in zip(items, wanted, strict=True)]

    def _process_runs(self, items: list[Any]) -> list[Any]:
        """Process each run of items that the stage wants: it may return more or fewer, and ticks keep their place."""
        out: list[Any] = []
        for wanted, group in groupby(items, self._wants):
            run = list(group)
            out += self._try(run) if wanted else [item for item in run if self._is_own(item)]
        return out

    def _is_own(self, item: object) -> bool:
        """Whether what passes by may leave: no frame may, where this stage makes something else of frames."""
        return isinstance(item, (Tick, DeadLetter, self.stage.emits or Tick))

    def _wants(self, item: object) -> bool:
        return isinstance(item, self.accepts) and not isinstance(item, Tick) and not is_decided(item)

    def _pass_by(self, item: object) -> object:
        """Pass an item by; where detections flow out, a decided frame becomes what is known about it."""
        if self.stage.emits is Detected and isinstance(item, Frame):
            if item.recorded is not None:
                return replace(item.recorded, frame=item)
            if item.opened is not None:
                return _failed(item, item.opened.error)
        return item

    def _try(self, items: list[Any]) -> list[Any]:
        """Process these; if that fails for several items, process each alone to find the one that fails."""
        try:
            return self._call(items)
        except (MemoryError, UserError):
            raise  # not this item's fault
        except Exception as caught:
            error = caught
        if len(items) > 1:
            return [result for item in items for result in self._try([item])]
        return [self._fail(items[0], error)]

    def _call(self, items: list[Any]) -> list[Any]:
        results = self.worker.process(list(items))
        if not isinstance(results, Sequence):
            raise StageError(
                f"`{self.name}` returned {type(results).__name__}: `process` has to return a list of items"
            )
        if self.one_to_one:
            self._check(items, results)
            return [check_added(self.name, _keep_error(*pair)) for pair in zip(items, results, strict=True)]
        return self.declared(list(results))

    def _check(self, items: list[Any], results: Sequence[Any]) -> None:
        if len(results) != len(items):
            raise StageError(
                f"`{self.name}` was given {len(items)} items and returned {len(results)}: between `files` and `batch` "
                "no item may vanish; a filter there removes detections, never the item"
            )
        for item, result in zip(items, results, strict=True):
            if not isinstance(result, Frame | Detected) or not isinstance(result, self.stage.emits or ()):
                raise StageError(
                    f"`{self.name}` returned {type(result).__name__} but declares `emits = {name_of(self.stage.emits)}`"
                )
            if _frame(result).id != _frame(item).id:
                raise StageError(
                    f"`{self.name}` returned frame {_frame(result).id} in the place of frame {_frame(item).id}: order has to stay"
                )

    def _fail(self, item: Any, error: Exception) -> object:
        reason = str(error) if isinstance(error, Reject) else f"{type(error).__name__}: {error}"
        if not isinstance(error, Reject):
            log.warning("%s failed on %s", self.name, _describe(item), exc_info=error)
        if self.one_to_one:
            return _as_failed(item, DeadLetter(self.name, reason))
        log.warning("%s left out %s: %s", self.name, _describe(item), reason)
        return DeadLetter(self.name, f"{_describe(item)}: {reason}")

    def failures(self, items: list[Any]) -> list[Any]:
        """Return what failed in this stage, of its output: the port `errors`."""
        return [item for item in items if self._has_failed(item)]

    def _has_failed(self, item: object) -> bool:
        match item:
            case Detected(error=DeadLetter(stage=stage) as error):
                return not error.is_settled and (stage == self.name or Frame in self.accepts)
            case DeadLetter(stage=stage):
                return stage == self.name
        return False


def _frame(item: Frame | Detected) -> Frame:
    return item if isinstance(item, Frame) else item.frame


def _as_failed(item: Frame | Detected, letter: DeadLetter) -> Detected:
    if isinstance(item, Detected):
        return replace(item, detections=(), error=letter)
    return _failed(item, letter)


def _failed(frame: Frame, letter: DeadLetter | None) -> Detected:
    """Return what is known about a frame in which nothing is detected, as a detector of ours would."""
    opened = frame.opened
    if opened is None:
        return Detected(frame, 0, 0, (), letter)
    return Detected(frame, opened.width, opened.height, (), letter, is_grey=getattr(opened, "is_grey", None))


def _keep_error(item: Frame | Detected, result: Frame | Detected) -> Frame | Detected:
    """Keep the error of a picture that was processed all the same."""
    error = item.error if isinstance(item, Detected) else item.opened and item.opened.error
    return replace(result, error=error) if error and isinstance(result, Detected) and not result.error else result


def _describe(item: object) -> str:
    match item:
        case Event(id=id, revision=revision):
            return f"event {id} revision {revision}"
        case Frame() | Detected():
            return f"frame {_frame(item).id} ({_frame(item).path})"
    return f"{type(item).__name__} {repr(item)[:DESCRIBED_MAX]}"
