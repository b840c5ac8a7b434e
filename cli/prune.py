"""`hearthwatch prune`: apply retention now, or print what it would delete and why."""

from __future__ import annotations

from typing import Annotated

import typer


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be deleted, and why.")] = False,
    unreviewed: Annotated[
        bool, typer.Option("--unreviewed", help="Delete unreviewed high and critical events, too.")
    ] = False,
) -> None:
    """Delete what is older than RETENTION_DAYS, or over HEARTHWATCH_RETENTION_GB, now. A pipeline may be running."""
    from hearthwatch.flows.graph import configured_graph
    from hearthwatch.record import now, open_existing
    from hearthwatch.record.lake.export import Lake
    from hearthwatch.record.lake.views import export
    from hearthwatch.record.retention.age_clock import RetentionTime, keep_clock
    from hearthwatch.record.retention.run import RetentionRun, counted, gigabytes
    from hearthwatch.sinks.retention import Retention

    graph = configured_graph()
    context, rules = graph.context, graph.options_of(Retention).policy(unreviewed)
    record = open_existing(context.record_path)
    keeper = RetentionRun(record, context.data_dir, context.base_path, rules)
    at = now()
    if dry_run:
        for part in keeper.plan(at):
            size = gigabytes(part.bytes)
            print(f"{counted(part.events, 'event')}, {counted(part.frames, 'picture')}, about {size}: {part.reason}")
        print(f"uploads would {'be deleted, too' if rules.originals else 'stay'}")
        if kept := keeper.count_kept(at):
            print(f"{counted(kept, 'event')} would stay, although old: high or critical, and not reviewed")
        return
    outcome = keeper.run(at)
    keep_clock(record, RetentionTime(at, 0))
    export(Lake(record, context.data_dir))
    print(outcome)
    if outcome.kept:
        print(f"{counted(outcome.kept, 'event')} stay, although old: high or critical, and not reviewed")
    for problem in outcome.problems():
        print(problem)
    if outcome.problems():
        raise typer.Exit(1)
