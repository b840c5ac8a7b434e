"""`hearthwatch doctor`: what this machine lacks to run Hearthwatch, and how to mend it. Exit code 1 if something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import typer

from hearthwatch.cli.machine_checks import Finding, clock, data, inotify, record, uploads
from hearthwatch.cli.service_checks import detector, model, nemotron, redis, torch
from hearthwatch.flows.graph import GraphError, configured
from hearthwatch.schemas.settings import Settings, settings, warnings

CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    *(uploads, inotify, data, record, clock),
    *(model, torch, detector, redis, nemotron),
)

SIGNS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


def doctor() -> None:
    """Look at permissions, limits, disk, model, services, clock and zone, and say what to mend."""
    s, wrong = settings(), 0
    for finding in (Finding("note", "settings", line) for line in warnings()):
        tell(finding)
    try:
        off = configured().off()
        tell(Finding("ok", "flow", "; ".join(f"{name} is off" for name in off) or "everything in it is on"))
    except GraphError as error:
        for mistake in error.mistakes:
            wrong += tell(Finding("wrong", "flow", mistake))
    for check in CHECKS:
        for finding in check(s):
            wrong += tell(finding)
    if wrong:
        print(f"{wrong} to mend")
        raise typer.Exit(1)
    print("nothing to mend")


def tell(finding: Finding) -> bool:
    """Print it; whether it is wrong."""
    print(f"{SIGNS[finding.health]}  {finding.subject:<10}{finding.words}", flush=True)
    return finding.health == "wrong"
