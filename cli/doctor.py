"""`hearthwatch doctor`: what this machine lacks to run Hearthwatch, and how to fix it. Exit code 1 if something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import typer

from hearthwatch.cli import machine_checks as checks
from hearthwatch.cli.cells import all_cells, settings_of
from hearthwatch.cli.machine_checks import Finding
from hearthwatch.flows.graph import DEFAULT, Graph, GraphError, configured_graph
from hearthwatch.schemas.settings import Settings, settings, warnings
from hearthwatch.schemas.text import plural
from hearthwatch.sources.files import Files

CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    checks.check_uploads, checks.check_inotify, checks.check_data, checks.check_record, checks.check_pipeline, checks.check_clock,
)  # fmt: skip
OF_PICTURES = checks.check_uploads, checks.check_inotify, checks.check_clock
SIGNS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


def doctor() -> None:
    """Check permissions, limits, disk, model, services, clock and time zone, and print how to fix what is wrong."""
    problems = 0
    for finding in find(settings()):
        print(f"{SIGNS[finding.health]}  {finding.subject:<10}{finding.words}", flush=True)
        problems += finding.health == "wrong"
    print(plural(problems, "problem") if problems else "no problems")
    if problems:
        raise typer.Exit(1)


def find(s: Settings) -> Iterator[Finding]:
    """Check everything, one finding after the other."""
    yield from (Finding("note", "settings", line) for line in warnings())
    try:
        graph = configured_graph()
        yield Finding("ok", "flow", "; ".join(f"{name} is off" for name in graph.off()) or "everything in it is on")
    except GraphError as error:
        yield from (Finding("wrong", "flow", mistake) for mistake in error.mistakes)
        graph = Graph.from_toml(DEFAULT)  # so that the services in the settings are probed, too
    cells = all_cells()
    for n, cell in enumerate(cells):
        known = cell.base_path in [other.base_path for other in cells[:n]]
        of_cell = settings_of(cell) if len(cells) > 1 else s
        for check in CHECKS:
            if check not in OF_PICTURES or (graph.first(Files) and not known):
                found = check(of_cell)
                yield from (
                    found if len(cells) == 1 else (f._replace(words=f"cell {cell.name}: {f.words}") for f in found)
                )
    for node in graph.nodes.values():
        yield from checks.check_node(node.name, node.component) if node.component else ()
