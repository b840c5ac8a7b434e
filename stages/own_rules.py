"""Judge with functions of the graph's author, named `module:function` in a flow file, beside or instead of our rules.

A function that raises costs its own terms and nothing else; it is named in the event's reasons, and in health for a minute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from importlib import import_module
from inspect import isfunction
from typing import Annotated, Any

from pydantic import AfterValidator

from hearthwatch.schemas.case import Facts, Surroundings, Term
from hearthwatch.schemas.context import Failures
from hearthwatch.schemas.text import did_you_mean

log = logging.getLogger(__name__)

TERMS_MAX, POINTS_MAX, WHY_MAX = 16, 100, 120  # of one function; characters of a reason
SECONDS_MAX = 1.0  # on the dataflow's thread: nothing else runs meanwhile


def find_function(target: str) -> Callable[..., Any]:
    """Import a function.

    Raises:
        ValueError: there is none of this name, with what to do about it.
    """
    module, _, name = target.partition(":")
    if not name:
        raise ValueError("names no function: write `module:function`")
    try:
        found = vars(import_module(module))
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported, it is reported
        where = f"put `{module.partition('.')[0]}.py` into the folder where you start, or install its package"
        fix = where if isinstance(error, ModuleNotFoundError) else f"correct `{module}`"
        raise ValueError(f"cannot import `{module}` ({type(error).__name__}: {error}): {fix}") from error
    if not callable(found.get(name)):
        hint = did_you_mean(name, [key for key, value in found.items() if isfunction(value)])
        raise ValueError(f"`{module}` has no function `{name}`{hint or ': define it there'}")
    return found[name]  # type: ignore[no-any-return]


def _check_function(target: str) -> str:
    find_function(target)
    return target


OwnFunction = Annotated[str, AfterValidator(_check_function)]
"""`module:function`, which can be imported."""


class OwnRule:
    """One function `(Facts, Surroundings) -> terms` of the graph's author."""

    def __init__(self, name: str, failures: Failures) -> None:
        self.name, self.function, self.failures = name, find_function(name), failures

    def __call__(self, facts: Facts, surroundings: Surroundings) -> list[Term]:
        """Return its terms, with its name in their reasons."""
        began = time.monotonic()
        try:
            terms = [_check_term(term) for term in self.function(facts, surroundings)]
            if len(terms) > TERMS_MAX:
                raise ValueError(f"{len(terms)} terms; {TERMS_MAX} are allowed")
        except Exception as error:
            self.failures.add(self.name, f"{type(error).__name__}: {error}")
            log.warning("%s failed on event %d", self.name, facts.event_id, exc_info=error)
            return [Term(0, f"{self.name} failed with {type(error).__name__}")]
        if (took := time.monotonic() - began) > SECONDS_MAX:
            self.failures.add(self.name, f"it took {took:.1f} s, and nothing else runs meanwhile")
        return [term._replace(why=f"{term.why} ({self.name})") for term in terms]


def _check_term(term: Any) -> Term:
    points, why, *hard = term
    if not isinstance(points, int) or abs(points) > POINTS_MAX or not isinstance(why, str) or not why.strip():
        raise ValueError(f"{term!r} is no term: return `Term(points, why)`, points from -100 to 100")
    return Term(points, " ".join(why.split())[:WHY_MAX], bool(hard and hard[0]))
