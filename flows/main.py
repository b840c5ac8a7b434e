"""From settings to a dataflow, for `flow.py`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hearthwatch.flows.graph import configured
from hearthwatch.flows.runtime import is_pipeline, take_over
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import settings

if TYPE_CHECKING:
    from bytewax.dataflow import Dataflow


def dataflow() -> Dataflow:
    """The configured graph, ready to run. Exits with code 2 after telling every mistake."""
    try:
        flow = configured().build()
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201  (a person started this)
        raise SystemExit(2) from None
    if is_pipeline():
        take_over(settings().debug)
    return flow
